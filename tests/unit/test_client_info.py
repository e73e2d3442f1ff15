import pytest

from django_jwtauth import client_info

AGENTS = {
    "Firefox on Linux": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Firefox on Windows": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Firefox on Android": "Mozilla/5.0 (Android 14; Mobile; rv:128.0) Gecko/128.0 Firefox/128.0",
    "Firefox on iOS": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 FxiOS/127.0 "
    "Mobile/15E148 Safari/605.1.15",
    "Chrome on macOS": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36",
    "Chrome on Android": "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Mobile Safari/537.36",
    "Chrome on iOS": "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 CriOS/126.0 Safari/604.1",
    "Chrome on ChromeOS": "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36",
    "Safari on macOS": "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.4.1 Safari/605.1.15",
    "Safari on iOS": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
    "Edge on Windows": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0",
    "Edge on Android": "Mozilla/5.0 (Linux; Android 10; Pixel 3 XL) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/126.0.0.0 Mobile Safari/537.36 EdgA/125.0",
    "Opera on Windows": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/125.0.0.0 Safari/537.36 OPR/111.0.0.0",
    "Samsung Internet on Android": "Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S928B) AppleWebKit/537.36 "
    "(KHTML, like Gecko) SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36",
}


@pytest.fixture
def proxies(settings):
    def count(number):
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": number}

    return count


def address(rf, remote="192.0.2.1", forwarded=None):
    headers = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    return client_info.address(rf.get("/", REMOTE_ADDR=remote, **headers))


class TestAddress:
    @pytest.mark.parametrize("number", [None, 0])
    def test_without_proxies_the_header_is_not_believed(self, rf, proxies, number):
        proxies(number)
        assert address(rf, forwarded="198.51.100.7") == "192.0.2.1"

    def test_without_settings_of_the_rest_framework_the_header_is_not_believed(self, rf, settings):
        del settings.REST_FRAMEWORK
        assert address(rf, forwarded="198.51.100.7") == "192.0.2.1"

    def test_a_proxy_that_nobody_counts_is_a_warning_once_a_process(self, rf, proxies, caplog):
        address(rf)
        for number in (0, 1, 2):
            proxies(number)
            address(rf, forwarded="198.51.100.7")
        assert caplog.records == []
        proxies(None)
        for _ in range(3):
            address(rf, forwarded="198.51.100.7")
        [record] = caplog.records
        assert (record.name, record.levelname) == ("django_jwtauth", "WARNING")
        assert "NUM_PROXIES" in record.getMessage()
        assert "198.51.100.7" not in record.getMessage()

    @pytest.mark.parametrize(
        ("number", "forwarded", "expected"),
        [
            (1, "198.51.100.7", "198.51.100.7"),
            (1, "203.0.113.66, 198.51.100.7", "198.51.100.7"),
            (1, "203.0.113.66,203.0.113.67 , 198.51.100.7 ", "198.51.100.7"),
            (2, "198.51.100.7, 10.0.0.1", "198.51.100.7"),
            (2, "203.0.113.66, 198.51.100.7, 10.0.0.1", "198.51.100.7"),
            (2, "garbage, 198.51.100.7, 10.0.0.1", "198.51.100.7"),
            (3, "198.51.100.7, 10.0.0.1", "198.51.100.7"),
            (100, "198.51.100.7", "198.51.100.7"),
        ],
    )
    def test_as_many_hops_as_there_are_proxies_are_believed(self, rf, proxies, number, forwarded, expected):
        proxies(number)
        assert address(rf, remote="10.0.0.2", forwarded=forwarded) == expected

    @pytest.mark.parametrize("forwarded", [None, ""])
    def test_without_the_header_it_is_the_remote_address(self, rf, proxies, forwarded):
        proxies(1)
        assert address(rf, forwarded=forwarded) == "192.0.2.1"

    @pytest.mark.parametrize("forwarded", ["unknown", ",", "203.0.113.66,", "_hidden", "198.51.100.7, unknown"])
    def test_a_hop_that_is_no_address_gives_none_rather_than_one_the_client_wrote(self, rf, proxies, forwarded):
        proxies(1)
        assert address(rf, forwarded=forwarded) is None

    @pytest.mark.parametrize(
        ("remote", "expected"),
        [
            ("2001:db8::1", "2001:db8::1"),
            ("2001:0DB8:0000::0001", "2001:db8::1"),
            ("::1", "::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            (" 192.0.2.1 ", "192.0.2.1"),
        ],
    )
    def test_every_spelling_of_an_address_is_written_in_one_way(self, rf, remote, expected):
        assert address(rf, remote=remote) == expected

    @pytest.mark.parametrize(
        ("forwarded", "expected"),
        [
            ("198.51.100.7:49152", "198.51.100.7"),
            ("[2001:db8::1]:49152", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[fe80::1%eth0]:443", "fe80::1"),
        ],
    )
    def test_a_port_that_a_proxy_appends_is_left_out(self, rf, proxies, forwarded, expected):
        proxies(1)
        assert address(rf, forwarded=forwarded) == expected

    @pytest.mark.parametrize(
        "remote",
        [
            *("", "unix:", "localhost", "192.0.2", "192.0.2.256", "192.0.2.01", "192.0.2.1/24", "192.0.2.1 x", "::g"),
            *(
                "192.0.2.1:",
                "192.0.2.1:x",
                "[::1]x",
                "[::1",
                "::1]",
                "[]",
                "[]:80",
                ":80",
                "%",
                "\0",
                "\uff11\uff19\uff12.0.2.1",
            ),
            *("9" * 5000, "1:" * 5000, "192.0.2.1:" + "9" * 5000 + "x"),
        ],
    )
    def test_what_is_no_address_is_none(self, rf, remote):
        assert address(rf, remote=remote) is None

    def test_a_server_that_knows_none_is_none(self, rf):
        request = rf.get("/")
        del request.META["REMOTE_ADDR"]
        assert client_info.address(request) is None


class TestLabel:
    @pytest.mark.parametrize("label", AGENTS)
    def test_names_browser_and_system(self, rf, label):
        assert client_info.label(rf.get("/", HTTP_USER_AGENT=AGENTS[label])) == label

    @pytest.mark.parametrize(
        ("agent", "label"),
        [
            ("curl/8.5.0", "curl"),
            ("python-requests/2.32.3", "python-requests"),
            ("okhttp/4.12.0", "okhttp"),
            ("Our App 2.1 (build 7)", "Our App 2.1"),
            ("Mozilla/5.0 (compatible)", "Mozilla"),
            ("Firefox/128.0", "Firefox"),
            ("Mozilla/5.0 (Haiku) Gecko/20100101 Firefox/128.0", "Firefox"),
            ("Dalvik/2.1.0 (Linux; U; Android 14)", "Dalvik"),
            ("x" * 10_000, "x" * 40),
            ("<script>alert(1)</script>", ""),
            ("日本", ""),
            (" ", ""),
            ("", ""),
            ("app\r\nSet-Cookie: x", "app"),
        ],
    )
    def test_is_short_and_harmless_whatever_was_sent(self, rf, agent, label):
        assert client_info.label(rf.get("/", HTTP_USER_AGENT=agent)) == label

    def test_is_empty_where_nothing_was_sent(self, rf):
        assert client_info.label(rf.get("/")) == ""
