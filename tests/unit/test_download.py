"""Downloads from a real server on this machine that does what it likes."""

from __future__ import annotations

import datetime
import http.client
import socket
import ssl
import threading
import time
from contextlib import ExitStack

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from django_jwtauth.issuers import download as module
from django_jwtauth.issuers.download import SIZE_LIMIT, DownloadError, download
from tests.support.publisher import publisher

BODY = b'{"keys": []}'


@pytest.fixture
def server():
    with publisher() as server:
        server.send(BODY)
        yield server


def test_a_body_is_returned_as_it_came(server):
    assert download(server.url) == BODY


def test_the_request_is_a_plain_get_of_path_and_query(server):
    download(server.url + "?a=b")
    (request,) = server.requests
    assert request.decode().split("\r\n") == [
        "GET /jwks.json?a=b HTTP/1.1",
        f"Host: localhost:{server.port}",
        "User-Agent: django_jwtauth",
        "Accept: application/jwk-set+json, application/json",
        "Accept-Encoding: identity",
        "Connection: close",
        "",
        "",
    ]


def test_an_url_without_a_path_asks_for_the_root(server):
    download(f"http://127.0.0.1:{server.port}")
    assert server.requests[0].startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" + BODY,  # until the connection ends
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n"
        + BODY[:4]
        + b"\r\n8\r\n"
        + BODY[4:]
        + b"\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" + BODY,
    ],
)
def test_every_framing_of_http_is_read(server, answer):
    server.send_raw(answer)
    assert download(server.url) == BODY


@pytest.mark.parametrize("status", ["201 Created", "204 No Content", "304 Not Modified", "404 Not Found", "500 Oops"])
def test_another_status_is_no_answer(server, status):
    server.send(BODY, status)
    with pytest.raises(DownloadError, match=rf"^the answer has status {status[:3]}$"):
        download(server.url)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_no_redirect_is_followed(server, status):
    with publisher() as elsewhere:
        server.send(b"", status, headers=f"Location: {elsewhere.url}\r\n")
        with pytest.raises(DownloadError, match=r"^the answer has status 30"):
            download(server.url)
        assert elsewhere.requests == []
    assert len(server.requests) == 1


def test_no_proxy_is_asked(server, monkeypatch):
    with publisher() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert download(server.url) == BODY
        assert proxy.requests == []


class TestSize:
    HEAD = b"HTTP/1.1 200 OK\r\n\r\n"

    def test_an_answer_of_64_kib_is_read_and_a_longer_one_is_not(self, server):
        body = b"x" * (SIZE_LIMIT - len(self.HEAD))
        server.send_raw(self.HEAD + body)
        assert download(server.url) == body
        server.send_raw(self.HEAD + body + b"x")
        with pytest.raises(DownloadError, match=r"^the answer is longer than 65536 bytes$"):
            download(server.url)

    @pytest.mark.parametrize(
        "endless",
        [b"x" * 1000, b"X-Header: x\r\n", b"1\r\nx\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"],
        ids=["body", "headers", "chunks", "continues"],
    )
    def test_an_answer_without_end_is_given_up(self, server, endless):
        heads = {
            b"x" * 1000: self.HEAD,
            b"X-Header: x\r\n": self.HEAD[:-2],
            b"1\r\nx\r\n": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        }

        def answer(connection: socket.socket) -> None:
            connection.sendall(heads.get(endless, b""))
            while True:
                connection.sendall(endless)

        server.answer = answer
        with pytest.raises((DownloadError, http.client.HTTPException)):
            download(server.url)

    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"\0" * 100,
            b"hello",
            b"HTTP/1.1\r\n\r\n",
            b"HTTP/9.9 200 OK\r\n\r\n",
            b"HTTP/1.1 OK 200\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + BODY,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
        ],
    )
    def test_what_is_no_http_is_an_error_of_a_kind_that_is_named(self, server, answer):
        server.send_raw(answer)
        with pytest.raises((OSError, http.client.HTTPException)):
            download(server.url)


class TestTime:
    @pytest.fixture(autouse=True)
    def _short(self, monkeypatch):
        monkeypatch.setattr(module, "TIME_LIMIT", 0.3)

    @pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"])
    def test_bytes_that_trickle_in_do_not_extend_it(self, server, begin):
        ended = threading.Event()

        def answer(connection: socket.socket) -> None:
            connection.sendall(begin)
            while not ended.wait(0.02):
                connection.sendall(b"x")

        server.answer = answer
        with pytest.raises(DownloadError, match=r"^it took longer than 0\.3 seconds$"):
            download(server.url)
        ended.set()

    def test_silence_does_not_extend_it(self, server):
        ended = threading.Event()
        server.answer = lambda connection: ended.wait(10)
        with pytest.raises(DownloadError, match=r"^it took longer than"):
            download(server.url)
        ended.set()

    def test_no_address_is_tried_when_it_is_over(self, server, monkeypatch):
        now = time.monotonic()
        moments = iter([now, now + 1, now + 1, now + 1, now + 1])
        monkeypatch.setattr(module.time, "monotonic", lambda: next(moments))
        with pytest.raises(DownloadError, match=r"^it took longer"):
            download(server.url)
        assert server.requests == []


class TestAddresses:
    def test_the_next_address_of_a_name_is_tried(self, server, monkeypatch):
        good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        with socket.create_server(("127.0.0.1", 0)) as closed:
            bad = (*good[:4], ("127.0.0.1", closed.getsockname()[1]))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [bad, good])
        assert download(server.url) == BODY

    def test_an_address_that_does_not_answer_leaves_time_for_the_next(self, server, monkeypatch):
        monkeypatch.setattr(module, "TIME_LIMIT", 1.0)
        good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
            address = full.getsockname()
            for _ in range(3):
                # What is not accepted fills the queue; then nothing answers.
                one = waiting.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(address)
            bad = (*good[:4], address)
            monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [bad, good])
            assert download(server.url) == BODY
            monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [bad])
            begun = time.monotonic()
            with pytest.raises(DownloadError, match=r"^it took longer"):
                download(server.url)
            assert time.monotonic() - begun >= 0.95

    def test_a_family_that_this_machine_does_not_speak_is_passed_over(self, server, monkeypatch):
        good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        bad = (socket.AF_INET, 99, 99, *good[3:])
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [bad, good])
        assert download(server.url) == BODY

    def test_nobody_at_any_address_is_an_error(self):
        with publisher() as server:
            url = server.url
        with pytest.raises(ConnectionRefusedError):
            download(url)

    def test_a_name_without_addresses_is_an_error(self, monkeypatch):
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: [])
        with pytest.raises(OSError, match=r"^the name has no address$"):
            download("https://other.example.com/")


class TestTLS:
    """Over HTTPS, with a certificate made for the test."""

    @pytest.fixture
    def authority(self, tmp_path):
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        (tmp_path / "certificate.pem").write_bytes(certificate.public_bytes(pem))
        (tmp_path / "key.pem").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return tmp_path

    @pytest.fixture
    def server(self, authority):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(authority / "certificate.pem", authority / "key.pem")
        with publisher(context) as server:
            server.send(BODY)
            yield server

    def test_a_certificate_that_is_trusted_is_enough(self, server, authority, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority / "certificate.pem"))
        assert download(server.url) == BODY

    def test_a_certificate_that_is_not_trusted_is_an_error(self, server):
        with pytest.raises(ssl.SSLCertVerificationError):
            download(server.url)
        assert server.requests == []

    def test_a_certificate_for_another_name_is_an_error(self, server, authority, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority / "certificate.pem"))
        with pytest.raises(ssl.SSLCertVerificationError):
            download(server.url.replace("localhost", "127.0.0.1"))

    def test_plain_http_behind_https_is_an_error(self, monkeypatch):
        monkeypatch.setattr(module, "TIME_LIMIT", 0.3)
        with publisher() as server, pytest.raises(OSError):  # noqa: PT011
            download(server.url.replace("http:", "https:"))
