"""A. The form of an access token"""

from __future__ import annotations

import json
import socket
import string
import time
from http import HTTPStatus

import jwt
import pytest

from tests.conformance.registry import OWN, shown_elsewhere, states
from tests.conformance.tokens import KIDS, content_of, header, segment, signed, signing_key, token, with_members
from tests.support import keys

pytestmark = pytest.mark.usefixtures("_issuer")

ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
FOREIGN = [*sorted({chr(code) for code in range(256)} - set(ALPHABET) - {".", " "}), "\uff21", "\u0661", "\u200b"]


def replaced(text, position, changed):
    """A token with one of its segments changed as a text, the signature made before."""
    segments = text.split(".")
    segments[position] = changed(segments[position])
    return ".".join(segments)


@states(1, "A good access token in `Authorization: Bearer` is let in.", "RFC 6750 section 2.1")
@pytest.mark.parametrize("algorithm", KIDS)
def test_a_good_token(call, algorithm):
    answer = call(token(algorithm=algorithm))
    assert (answer.status_code, answer.json()) == (HTTPStatus.OK, {"user_id": 1})


@states(
    2,
    "Anything but three segments is refused, and so is an empty segment.",
    "RFC 7515 section 7.1",
    "RFC 7519 section 7.2",
    "RFC 8725bis section 3.3",
)
def test_other_numbers_of_segments(refuses):
    segments = token().split(".")
    for count in (1, 2, 4, 5):
        refuses(".".join((segments * 2)[:count]))
    for text in ("", ".", "..", "..."):
        refuses(text)
    for position in range(3):
        refuses(replaced(token(), position, lambda segment: ""))


@states(
    3,
    "Any character outside of `A-Z a-z 0-9 - _ .` is refused, wherever it stands.",
    "RFC 7515 section 2",
    "RFC 8725bis section 3.14",
)
class TestAlphabet:
    def test_any_other_character(self, refuses):
        for number, character in enumerate(FOREIGN):
            refuses(replaced(token(algorithm="HS256"), number % 3, lambda text: text[:5] + character + text[5:]))  # noqa: B023

    @pytest.mark.parametrize("character", ["{", '"', "+", "/", "=", "\r", "\n", "\0", "é"])
    def test_at_the_edges(self, refuses, character):
        for text in (character + token(), token() + character, token().replace(".", character + ".", 1)):
            refuses(text)

    def test_even_under_a_good_signature(self, refuses):
        # 0xfb and 0xff make "-" and "_" of base64url, which are "+" and "/" of plain base64.
        claims = segment(with_members(keys.current_claims(), '"x": "\u06fb\u07ff\u0bff"'))
        assert set("-_") & set(claims)
        refuses(signed(f"{segment(header())}.{claims.replace('-', '+').replace('_', '/')}"))


@states(4, "Padding by `=` is refused in any segment, under a good signature too.", "RFC 7515 section 2")
@pytest.mark.parametrize("padding", ["=", "==", "===="])
def test_padding(refuses, padding):
    protected, claims = segment(header()), segment(keys.current_claims())
    refuses(signed(f"{protected}{padding}.{claims}"))
    refuses(signed(f"{protected}.{claims}{padding}"))
    refuses(token() + padding)


@states(
    5,
    "The JSON serializations of a JWS are refused.",
    "RFC 7519 section 1",
    "RFC 8725bis section 2.13",
    "RFC 8725bis section 3.14",
)
def test_json_serializations(refuses):
    protected, payload, signature = token().split(".")
    flattened = {"protected": protected, "payload": payload, "signature": signature}
    general = {"payload": payload, "signatures": [{"protected": protected, "signature": signature}]}
    for text in (json.dumps(flattened), json.dumps(general), segment(flattened), segment(general)):
        refuses(text)


@states(6, "Header and claims must be JSON objects.", "RFC 7515 section 5.2", "RFC 7519 section 7.2")
@pytest.mark.parametrize(
    "content", [b"[]", b'"text"', b"1", b"null", b"true", b" ", b"{", b"{}}", b"{}{}", b"\0", b"()"]
)
def test_no_object(refuses, content):
    refuses(token(content))
    refuses(token(claims=content))


@states(
    7,
    "Header and claims must be UTF-8 without a byte order mark.",
    "RFC 7515 section 5.2",
    "RFC 8725 section 3.7",
)
class TestEncoding:
    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
    def test_another_one(self, refuses, encoding):
        refuses(token(json.dumps(header()).encode(encoding)))
        refuses(token(claims=json.dumps(keys.current_claims()).encode(encoding)))

    @pytest.mark.parametrize("invalid", [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe4"])
    def test_invalid_bytes(self, refuses, invalid):
        refuses(token(with_members(header(), '"x": "?"').replace(b"?", invalid)))
        refuses(token(claims=with_members(keys.current_claims(), '"x": "?"').replace(b"?", invalid)))


@states(
    8, "A member name that stands twice in header or claims is refused.", "RFC 7515 section 4", "RFC 7519 section 4"
)
class TestDuplicates:
    @pytest.mark.parametrize("name", ["alg", "kid", "typ"])
    def test_in_the_header(self, refuses, name):
        refuses(token(with_members(header(), f'"{name}": {json.dumps(header()[name])}')))

    @pytest.mark.parametrize("name", keys.claims())
    def test_in_the_claims(self, refuses, name):
        claims = keys.current_claims()
        refuses(token(claims=with_members(claims, f'"{name}": {json.dumps(claims[name])}')))

    @pytest.mark.parametrize("more", ['"x": 1, "x": 1', '"x": 1, "\\u0078": 1', '"x": {"y": 1, "y": 2}'])
    def test_in_what_is_of_no_account(self, refuses, more):
        refuses(token(with_members(header(), more)))
        refuses(token(claims=with_members(keys.current_claims(), more)))


@states(9, "`crit` is refused, whatever it names.", "RFC 7515 section 4.1.11")
@pytest.mark.parametrize(
    "members",
    [
        {"crit": ["x"], "x": 1},
        {"crit": ["x"]},
        {"crit": []},
        {"crit": ["alg"]},
        {"crit": ["exp"], "exp": keys.NOW},
        {"crit": "x", "x": 1},
        {"crit": None},
    ],
)
def test_critical_extensions(refuses, members):
    refuses(token(header(**members)))


@states(10, "An unencoded payload, `b64: false`, is refused in any form.", "RFC 7797 section 7")
def test_unencoded_payload(refuses):
    for members in ({"b64": False}, {"b64": False, "crit": ["b64"]}, {"b64": True, "crit": ["b64"]}):
        refuses(token(header(**members)))
        protected, claims = segment(header(**members)), json.dumps(keys.current_claims())
        unencoded = signed(f"{protected}.{claims}")
        refuses(unencoded)
        refuses(f"{protected}..{unencoded.rpartition('.')[2]}")


@states(
    11,
    "One flipped bit in any segment, no signature, or that of another token is refused.",
    "RFC 7515 section 5.2",
)
class TestIntegrity:
    @pytest.mark.parametrize("algorithm", ["ES256", "HS256"])
    @pytest.mark.parametrize("position", range(3))
    def test_flipped_bits(self, refuses, algorithm, position):
        text = token(algorithm=algorithm)
        data = content_of(text.split(".")[position])
        for at in range(0, len(data), 3):
            flipped = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
            refuses(replaced(text, position, lambda _: segment(flipped)))  # noqa: B023

    @pytest.mark.parametrize("algorithm", KIDS)
    def test_no_signature_or_that_of_another_token(self, refuses, algorithm):
        text = token(algorithm=algorithm)
        refuses(replaced(text, 2, lambda signature: ""))
        refuses(replaced(text, 2, lambda signature: token(algorithm=algorithm).split(".")[2]))


@states(
    12,
    "A key that a token brings along, or points to, is never used and never fetched.",
    "RFC 7515 section 4.1.2",
    "RFC 7515 section 4.1.3",
    "RFC 7515 section 4.1.5",
    "RFC 7515 section 4.1.6",
    "RFC 8725bis section 3.10",
)
@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c"])
@pytest.mark.parametrize("kid", ["ec", "attacker", None])
def test_keys_in_the_header(refuses, monkeypatch, name, kid):
    attempts = []

    def connect(*arguments, **options):
        attempts.append(arguments)
        raise OSError

    for function in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, function, connect)
    attacker = signing_key("ES256", "attacker")
    content = {
        "jwk": jwt.get_algorithm_by_name("ES256").to_jwk(attacker.public_key(), as_dict=True) | {"kid": kid},
        "jku": "https://attacker.example/jwks.json",
        "x5u": "https://attacker.example/chain.pem",
        "x5c": ["MIIB" + "A" * 96],
    }
    refuses(token(header(kid=kid, **{name: content[name]}), key=attacker))
    assert attempts == []


@states(13, "What is deep, long or large is refused at once; nothing above 8192 characters is read.", OWN)
class TestBurdens:
    NESTED = "[" * 1200 + "]" * 1200
    LONG = "9" * 5000

    @pytest.mark.parametrize(
        "value", [NESTED, LONG, '{"a":' * 900 + "1" + "}" * 900], ids=["nested", "long", "objects"]
    )
    def test_deep_and_long_values(self, refuses, value):
        began = time.perf_counter()
        refuses(token(with_members(header(), f'"x": {value}')))
        refuses(token(claims=with_members(keys.current_claims(), f'"x": {value}')))
        refuses(token(value.encode()))
        assert time.perf_counter() - began < 1

    def test_a_megabyte(self, refuses):
        large = token(claims=keys.current_claims(x="x" * 700_000))
        assert len(large) > 900_000
        began = time.perf_counter()
        refuses(large)
        assert time.perf_counter() - began < 1

    def test_the_limit(self, call, refuses):
        accepted = {}
        for size in range(5800, 5900):
            text = token(claims=keys.current_claims(x="x" * size), algorithm="HS256")
            accepted[len(text)] = call(text).status_code == HTTPStatus.OK
        assert {length for length in accepted if length <= 8192}
        assert all(good is (length <= 8192) for length, good in accepted.items())
        assert not all(accepted.values())


@states(14, "Bits of a last character that stand for nothing must be zero.", "RFC 4648 section 3.5")
@pytest.mark.parametrize("algorithm", KIDS)
def test_unused_bits(refuses, algorithm):
    def loosened(text):
        unused = {2: 4, 3: 2}.get(len(text) % 4, 0)
        return [text[:-1] + ALPHABET[ALPHABET.index(text[-1]) | bits] for bits in range(1, 2**unused)]

    changed = 0
    for size in range(3):
        protected = segment(header(algorithm, x="x" * size))
        claims = segment(keys.current_claims(x="x" * size))
        text = signed(f"{protected}.{claims}", algorithm)
        signing_inputs = [f"{loose}.{claims}" for loose in loosened(protected)]
        signing_inputs += [f"{protected}.{loose}" for loose in loosened(claims)]
        texts = [signed(signing_input, algorithm) for signing_input in signing_inputs]
        for loose in texts + [replaced(text, 2, lambda _: end) for end in loosened(text.split(".")[2])]:  # noqa: B023
            refuses(loose)
            changed += 1
    assert changed > 20


shown_elsewhere(
    __name__,
    15,
    "No token is accepted that PyJWT refuses with the same key and algorithm.",
    OWN,
    by=(
        "tests/unit/test_differential.py::TestOurs::test_whatever_is_accepted_the_others_accept_with_the_same_claims",
        "tests/unit/test_differential.py::test_whatever_is_accepted_of_another_issuer_pyjwt_accepts_too",
    ),
)
