import hashlib
import hmac
import string
import uuid

import pytest

from django_jwtauth.errors import InvalidTokenError
from django_jwtauth.jose.encoding import b64url_decode, b64url_encode
from django_jwtauth.tokens.refresh import derive, is_genuine, read

ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
SESSION = uuid.UUID("00112233-4455-4677-8899-aabbccddeeff")
NONCE = bytes(range(16))
ISSUER = b"https://id.example.com"
GENERATIONS = [
    (0, b"\x00"),
    (1, b"\x01"),
    (127, b"\x7f"),
    (128, b"\x80\x01"),
    (300, b"\xac\x02"),
    (16_383, b"\xff\x7f"),
    (16_384, b"\x80\x80\x01"),
    (2_097_151, b"\xff\xff\x7f"),
    (2_097_152, b"\x80\x80\x80\x01"),
    (2**31 - 1, b"\xff\xff\xff\xff\x07"),
]


@pytest.fixture(autouse=True)
def _secret(settings):
    settings.SECRET_KEY = "a secret"
    settings.SECRET_KEY_FALLBACKS = []
    settings.JWTAUTH = {"ISSUER": ISSUER.decode()}


def is_accepted(token, nonce=NONCE):
    """Whether a text is a refresh token that we derived. Any error but InvalidTokenError ends the test."""
    try:
        return is_genuine(read(token), nonce)
    except InvalidTokenError:
        return False


def is_read(token):
    try:
        read(token)
    except InvalidTokenError:
        return False
    return True


def token_of(data):
    return f"jrt_{b64url_encode(data)}"


def data_of(token):
    return b64url_decode(token.removeprefix("jrt_"))


class TestFormat:
    @pytest.mark.parametrize(("generation", "varint"), GENERATIONS)
    def test_is_version_session_generation_and_mac(self, generation, varint):
        body = b"\x01" + SESSION.bytes + varint
        secret = hashlib.sha256(b"django_jwtauth.refresh_token" + b"a secret").digest()
        key = hmac.digest(secret, NONCE + ISSUER, "sha256")
        assert derive(SESSION, generation, NONCE) == token_of(body + hmac.digest(key, body, "sha256")[:20])

    def test_never_changes_because_those_of_today_are_presented_to_the_next_release(self):
        assert derive(SESSION, 300, NONCE) == "jrt_AQARIjNEVUZ3iJmqu8zd7v-sAppHsf3J0mkl-C30utOQlucjFQXe"

    def test_is_55_characters_long(self):
        assert [len(derive(SESSION, generation, NONCE)) for generation in (0, 127, 128, 2**31 - 1)] == [55, 55, 56, 60]

    @pytest.mark.parametrize(("generation", "varint"), GENERATIONS)
    def test_what_was_derived_is_read(self, generation, varint):
        presented = read(derive(SESSION, generation, NONCE))
        assert (presented.session_id, presented.generation) == (SESSION, generation)
        assert is_read(derive(SESSION, generation, NONCE))
        assert presented.body + presented.mac == data_of(derive(SESSION, generation, NONCE))
        assert is_genuine(presented, NONCE)

    def test_tokens_differ_by_session_generation_and_nonce(self):
        others = [
            derive(uuid.UUID(int=1, version=4), 0, NONCE),
            derive(SESSION, 0, NONCE),
            derive(SESSION, 1, NONCE),
            derive(SESSION, 0, bytes(16)),
        ]
        assert len({data_of(token)[-20:] for token in others}) == len(others)

    @pytest.mark.parametrize(
        "other", ["https://id.example.co", "https://id.example.com/", "https://ID.example.com", "é"]
    )
    def test_the_token_of_another_issuer_is_not_genuine(self, settings, other):
        token = derive(SESSION, 0, NONCE)
        settings.JWTAUTH = {"ISSUER": other}
        assert not is_accepted(token)
        assert is_accepted(derive(SESSION, 0, NONCE))
        settings.JWTAUTH = {"ISSUER": "https://id.example.com"}
        assert is_accepted(token)

    def test_the_same_generation_has_the_same_token(self):
        assert derive(SESSION, 5, NONCE) == derive(SESSION, 5, NONCE)


class TestMalformed:
    @pytest.mark.parametrize(
        "change",
        [
            lambda token: "",
            lambda token: "jrt_",
            lambda token: token[:-1],
            lambda token: token + "A",
            lambda token: token + "=",
            lambda token: token + "==",
            lambda token: token + "\n",
            lambda token: token + " ",
            lambda token: " " + token,
            lambda token: token + "\0",
            lambda token: token.removeprefix("jrt_"),
            lambda token: token.replace("jrt_", "JRT_"),
            lambda token: token.replace("jrt_", "jrt-"),
            lambda token: token.replace("jrt_", "jat_"),
            lambda token: "jrt_" + token,
            lambda token: token * 2,
            lambda token: token.upper(),
            lambda token: token.lower(),
            lambda token: token[:-1] + "é",
            lambda token: token[:-1] + "\ud800",
            lambda token: token[:-1] + "+",
            lambda token: token[:-1] + "/",
            lambda token: token[:20] + "." + token[21:],
            lambda token: token.replace("A", "\uff21"),
            lambda token: "jrt_" + "A" * 1_000_000,
            lambda token: "jrt_" + "=" * 51,
            lambda token: "eyJhbGciOiJIUzI1NiJ9.e30.AAAA",
        ],
    )
    def test_a_text_that_is_not_exactly_a_token_is_refused(self, change):
        assert not is_accepted(change(derive(SESSION, 0, NONCE)))

    @pytest.mark.parametrize("text", ["", "jrt_", "x", "\ud800", "jrt_" + "A" * 50, "jrt_" + "A" * 53, "a.b.c"])
    def test_is_refused_before_anything_is_looked_up(self, text):
        # No fixture gives this test a database.
        assert not is_read(text)

    @pytest.mark.parametrize("length", [0, 1, 17, 20, 36, 37, 43, 44, 64, 1000])
    def test_other_lengths_are_refused(self, length):
        assert not is_read(token_of((b"\x01" + bytes(length))[:length]))

    def test_an_id_that_no_session_can_have_is_refused(self):
        assert is_read(derive(SESSION, 0, NONCE))
        assert not is_read(derive(uuid.UUID(int=1), 0, NONCE))

    @pytest.mark.parametrize("zeros", [5, 6, 100])
    def test_a_generation_too_large_for_a_row_is_refused(self, zeros):
        assert not is_read(token_of(b"\x01" + SESSION.bytes + b"\x80" * zeros + b"\x01" + bytes(20)))

    @pytest.mark.parametrize("version", [0, 2, 3, 0x81, 0xFF])
    def test_another_version_is_refused(self, version):
        assert not is_read(token_of(bytes([version]) + data_of(derive(SESSION, 0, NONCE))[1:]))

    @pytest.mark.parametrize(
        "varint",
        [
            b"\x80\x00",
            b"\x81\x00",
            b"\xff\x80\x00",
            b"\x80\x80\x80\x80\x00",
            b"\x80",
            b"\xff",
            b"\x80\x80",
            b"\xff\xff\xff\xff\xff",
            b"\x00\x00",
            b"\x01\x01",
            b"\x7f\x80\x01",
        ],
    )
    def test_a_generation_that_is_not_written_the_shortest_way_is_refused(self, varint):
        assert not is_read(token_of(b"\x01" + SESSION.bytes + varint + bytes(20)))

    def test_the_unused_bits_of_the_last_character_must_be_zero(self):
        for generation, unused in ((0, 2), (128, 0), (16_384, 4)):
            token = derive(SESSION, generation, NONCE)
            for bits in range(1, 2**unused):
                assert not is_read(token[:-1] + ALPHABET[ALPHABET.index(token[-1]) | bits])


class TestGenuine:
    @pytest.mark.parametrize("generation", [0, 127, 128, 2**31 - 1])
    def test_one_flipped_bit_anywhere_is_refused(self, generation):
        data = data_of(derive(SESSION, generation, NONCE))
        assert is_accepted(token_of(data))
        for at in range(len(data)):
            for bit in range(8):
                changed = bytearray(data)
                changed[at] ^= 1 << bit
                assert not is_accepted(token_of(bytes(changed)))

    def test_one_other_character_anywhere_is_refused(self):
        token = derive(SESSION, 0, NONCE)
        for at in range(len(token)):
            for character in set(ALPHABET) - {token[at]}:
                assert not is_accepted(token[:at] + character + token[at + 1 :])

    @pytest.mark.parametrize("nonce", [b"", bytes(16), NONCE[:-1], NONCE + b"\0", NONCE[::-1]])
    def test_the_nonce_of_another_session_is_refused(self, nonce):
        assert not is_accepted(derive(SESSION, 0, NONCE), nonce)

    def test_the_mac_of_another_session_or_generation_is_refused(self):
        data = data_of(derive(SESSION, 0, NONCE))
        for other in (derive(uuid.UUID(int=1, version=4), 0, NONCE), derive(SESSION, 1, NONCE)):
            assert not is_accepted(token_of(data[:-20] + data_of(other)[-20:]))
            assert not is_accepted(token_of(data_of(other)[:-20] + data[-20:]))

    def test_a_longer_part_of_the_mac_is_no_second_token(self):
        body = data_of(derive(SESSION, 0, NONCE))[:-20]
        key = hmac.digest(hashlib.sha256(b"django_jwtauth.refresh_tokena secret").digest(), NONCE + ISSUER, "sha256")
        whole = hmac.digest(key, body, "sha256")
        assert is_accepted(token_of(body + whole[:20]))
        assert not any(is_accepted(token_of(body + whole[:length])) for length in (16, 19, 21, 24, 32))

    def test_another_secret_key_is_refused(self, settings):
        token = derive(SESSION, 0, NONCE)
        settings.SECRET_KEY = "another secret"
        assert not is_accepted(token)

    def test_every_fallback_verifies_and_none_derives(self, settings):
        old = derive(SESSION, 0, NONCE)
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["between", "a secret"]
        assert is_accepted(old)
        assert is_accepted(derive(SESSION, 0, NONCE))
        assert derive(SESSION, 0, NONCE) != old
        settings.SECRET_KEY_FALLBACKS = ["between"]
        assert not is_accepted(old)

    def test_every_key_is_tried_whichever_fits(self, settings, monkeypatch):
        presented = read(derive(SESSION, 0, NONCE))
        settings.SECRET_KEY_FALLBACKS = ["b", "c"]
        tried = []
        compare = hmac.compare_digest
        monkeypatch.setattr(hmac, "compare_digest", lambda *macs: tried.append(macs) or compare(*macs))
        assert is_genuine(presented, NONCE)
        assert len(tried) == 3

    @pytest.mark.parametrize("secret", [b"a secret", "a secret"])
    def test_a_secret_key_may_be_bytes(self, settings, secret):
        token = derive(SESSION, 0, NONCE)
        settings.SECRET_KEY = secret
        assert derive(SESSION, 0, NONCE) == token
        assert is_accepted(token)
