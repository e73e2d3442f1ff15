"""C. The JWK Set and replacing keys"""

from __future__ import annotations

import re
from http import HTTPStatus

import jwt
import pytest

from tests.conformance.registry import OWN, ROOT, states
from tests.support import keys

JWKS = "/.well-known/jwks.json"
ASYMMETRIC = ("ES256", "RS256", "EdDSA", "ES512", "PS384")
EVERY = [keys.entry(algorithm, KID=f"key of {algorithm}") for algorithm in ("HS256", *ASYMMETRIC)]
PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
ES256, EDDSA = keys.entry("ES256", KID="old"), keys.entry("EdDSA", KID="new")


@pytest.fixture
def sign_with(jwtauth):
    return lambda *entries: jwtauth(ISSUER=keys.ISSUER, SIGNING_KEYS=list(entries))


@pytest.fixture
def published(client):
    """Return a function that asks for the published keys."""
    return lambda: client.get(JWKS).json()["keys"]


def kid_of(tokens):
    return jwt.get_unverified_header(tokens["access_token"])["kid"]


@states(
    27,
    "Anybody may fetch the JWK Set, a JSON object with `keys`; there are none where all keys are secrets.",
    "RFC 7517 section 5",
    "RFC 7517 section 8.5",
)
def test_the_set(client, sign_with):
    for entries in ([], EVERY[:1], EVERY):
        if entries:
            sign_with(*entries)
        answer = client.get(JWKS, HTTP_AUTHORIZATION="Bearer garbage")
        assert (answer.status_code, answer["Content-Type"]) == (HTTPStatus.OK, "application/json")
        assert set(answer.json()) == {"keys"}
        assert len(answer.json()["keys"]) == max(len(entries) - 1, 0)


@states(
    28,
    "No secret and no private member of a key is published.",
    "RFC 7517 section 9.2",
    "RFC 7518 section 6",
)
def test_nothing_private(sign_with, published):
    sign_with(*EVERY)
    for jwk in published():
        assert PRIVATE.isdisjoint(jwk)
        assert jwk["kty"] in {"RSA", "EC", "OKP"}


@states(
    29,
    "Each published key has `kty`, a `kid` of its own, `use` `sig` and its `alg`, and nothing that contradicts them.",
    "RFC 7517 section 4.1",
    "RFC 7517 section 4.2",
    "RFC 7517 section 4.3",
    "RFC 7517 section 4.4",
    "RFC 7517 section 4.5",
)
def test_members(sign_with, published):
    sign_with(*EVERY)
    jwks = published()
    assert [(jwk["kid"], jwk["alg"]) for jwk in jwks] == [(f"key of {name}", name) for name in ASYMMETRIC]
    assert all(jwk["kty"] and jwk["use"] == "sig" and "verify" in jwk.get("key_ops", ["verify"]) for jwk in jwks)


@states(30, "The key of every access token is in the set when the token is handed out, unless it is a secret.", OWN)
@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_the_key_of_a_token(sign_with, published, log_in, refresh, algorithm):
    sign_with(keys.entry(algorithm), keys.entry("ES384"))
    tokens = log_in().json()
    later = refresh(tokens["refresh_token"]).json()
    assert {kid_of(tokens), kid_of(later)} <= {jwk["kid"] for jwk in published()}


@states(
    31,
    "The place of a key is its life: standing by it verifies and is published, first it signs, behind it or by its "
    "public half it verifies and is published, removed its tokens are refused at once, those seen before too.",
    OWN,
    also=("tests/databases/test_rotation.py::test_no_request_fails_and_no_session_ends_while_keys_change",),
)
def test_the_life_of_a_key(sign_with, published, log_in, call, refuses):
    issued = {}
    for entries, signer in (
        ([ES256], "old"),
        ([ES256, EDDSA], "old"),
        ([EDDSA, ES256], "new"),
        ([EDDSA, keys.public_entry("ES256", KID="old")], "new"),
    ):
        sign_with(*entries)
        assert [jwk["kid"] for jwk in published()] == [entry["KID"] for entry in entries]
        tokens = log_in().json()
        assert kid_of(tokens) == signer
        issued[signer] = tokens["access_token"]
        assert {call(token).status_code for token in issued.values()} == {HTTPStatus.OK}
    # A key that stands by verifies already.
    sign_with(ES256, EDDSA)
    assert call(issued["new"]).status_code == HTTPStatus.OK
    sign_with(EDDSA)
    refuses(issued["old"])
    assert call(issued["new"]).status_code == HTTPStatus.OK


@states(
    32,
    "It is documented how long a key stands by, the `max-age` of the set, and how long it stays behind, "
    "the access token's lifetime and the leeway.",
    OWN,
    also=("tests/docs/test_docs.py::test_five_minutes_are_what_the_view_says",),
)
def test_the_documented_waits(client):
    assert client.get(JWKS)["Cache-Control"] == f"public, max-age={5 * 60}"
    page = (ROOT / "docs" / "howto" / "keys.md").read_text()
    standby, signing, removed = re.findall(
        r"^\d\. \*\*(?:Standby|Signing|Removed)\.\*\*.*?(?=^\d\. |^#|^To )", page, re.S | re.M
    )
    assert "wait **five minutes**, the `max-age` of the JWK Set" in standby
    assert "wait for **`ACCESS_TOKEN_LIFETIME` plus `LEEWAY`**, 605 seconds by default" in signing
    assert "wait" not in removed


@states(33, "Caches may keep the set for a time it tells, and are told when it has not changed.", OWN)
def test_caching(client, sign_with):
    sign_with(ES256)
    answer = client.get(JWKS)
    assert re.fullmatch(r"public, max-age=\d+", answer["Cache-Control"])
    again = client.get(JWKS, HTTP_IF_NONE_MATCH=answer["ETag"])
    assert (again.status_code, again.content, again["ETag"]) == (HTTPStatus.NOT_MODIFIED, b"", answer["ETag"])
    sign_with(EDDSA)
    changed = client.get(JWKS, HTTP_IF_NONE_MATCH=answer["ETag"])
    assert (changed.status_code, changed["ETag"] != answer["ETag"]) == (HTTPStatus.OK, True)


@states(34, "With the default keys, tokens made under a key of `SECRET_KEY_FALLBACKS` are accepted.", OWN)
def test_secret_key_fallbacks(settings, tokens, call, refuses, refresh):
    old, settings.SECRET_KEY = settings.SECRET_KEY, "n" * 50
    refuses(tokens["access_token"])
    assert refresh(tokens["refresh_token"]).status_code == HTTPStatus.UNAUTHORIZED
    settings.SECRET_KEY_FALLBACKS = [old]
    assert call(tokens["access_token"]).status_code == HTTPStatus.OK
    assert refresh(tokens["refresh_token"]).status_code == HTTPStatus.OK
