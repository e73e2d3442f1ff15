"""Nothing is accepted that PyJWT or joserfc refuses with the same key: changed tokens are shown to all three."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import Any

import joserfc.jwk
import joserfc.jwt
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jws import JWSRegistry

from django_jwtauth.claims import REGISTERED, Claims, ReadOnlyDict
from django_jwtauth.errors import TokenError
from django_jwtauth.issuers.claim_rules import check_current
from django_jwtauth.issuers.trusted import TrustedIssuer
from django_jwtauth.jose.keys import Key
from django_jwtauth.tokens.access import TokenCodec
from tests.support import keys
from tests.support.forging import attacks, families
from tests.support.fuzzing import examples

pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")

LEEWAY = 5
REQUIRED = ["iss", "sub", "aud", "exp", "iat", "jti", "sid"]


class Lenient(JWSRegistry):
    """joserfc without its limits for headers: whatever is not asked for there may be anything (RFC 7515 section 4)."""

    default_header_registry = {  # noqa: RUF012
        name: JWSRegistry.default_header_registry[name] for name in ("alg", "kid", "typ", "crit")
    }
    max_header_length = 8192


def thawed(value: Any) -> Any:
    if isinstance(value, ReadOnlyDict):
        return {name: thawed(item) for name, item in value.items()}
    return [thawed(item) for item in value] if isinstance(value, tuple) else value


def as_payload(claims: Claims, payload: dict[str, Any]) -> dict[str, Any]:
    """Claims as PyJWT returns them: only those that were there, an audience as it was written."""
    members = {name: getattr(claims, name) for name in ("iss", "sub", "exp", "iat", "jti", "sid", "nbf", "scope")}
    audience = list(claims.aud) if isinstance(payload["aud"], list) else claims.aud[0]
    present = {name: value for name, value in members.items() if value is not None}
    return {**present, "aud": audience, **thawed(claims.extra)}


def by_pyjwt(token: str, key: Key, required: list[str] = REQUIRED, **options: Any) -> dict[str, Any]:
    """Read a token that must be good."""
    return jwt.decode(
        token,
        key.verifying_key,
        algorithms=[key.algorithm],
        audience=options.pop("audience", keys.AUDIENCE),
        issuer=keys.ISSUER,
        leeway=LEEWAY,
        options={"require": required, **options},
    )


def by_joserfc(token: str, key: Key) -> dict[str, Any]:
    """Read a token whose signature must be good."""
    jwk = key.implementation.to_jwk(key.verifying_key, as_dict=True)
    jwk.pop("key_ops", None)
    lenient = Lenient(algorithms=[key.algorithm], strict_check_header=False)
    return joserfc.jwt.decode(token, joserfc.jwk.import_key(jwk), registry=lenient).claims


@pytest.fixture
def verdicts() -> Counter[str]:
    return Counter()


def verdict(codec: TokenCodec, token: Any, audiences: frozenset[str] | None) -> Any:
    """Return the claims of a token, or how it is refused. Any error that is none of ours ends the test."""
    try:
        claims = codec.decode(token)
        check_current(claims, audiences, time.time(), LEEWAY)
    except TokenError as error:
        return error.code
    return claims


def compare(codecs: list[TokenCodec], token: str, key: Key) -> str:
    """Show a token to all readers, to ours more than once; return what became of it."""
    audiences = frozenset({keys.AUDIENCE})
    claims = verdict(codecs[0], token, audiences)
    assert all(verdict(codec, token, audiences) == claims for codec in codecs)
    assert not isinstance(verdict(codecs[0], token.encode("utf-8", "surrogatepass"), audiences), Claims)
    if isinstance(claims, str):
        return claims
    payload = by_pyjwt(token, key)
    assert as_payload(claims, payload) == {**payload, "exp": math.floor(payload["exp"])}
    assert by_joserfc(token, key) == payload
    return "accepted"


@pytest.fixture
def codecs(algorithm: str) -> list[TokenCodec]:
    """One that remembers nothing, and one that does and is asked twice."""
    remembering = keys.codec(keys.key(algorithm), cache_size=64)
    return [keys.codec(keys.key(algorithm)), remembering, remembering]


@pytest.mark.parametrize("algorithm", ["HS256", "ES256", "EdDSA", "RS256"])
class TestOurs:
    def test_whatever_is_accepted_the_others_accept_with_the_same_claims(
        self, algorithm: str, codecs: list[TokenCodec], verdicts: Counter[str]
    ) -> None:
        @examples(60)
        @given(families(algorithm))
        def check(texts: list[str]) -> None:
            verdicts.update(compare(codecs, token, keys.key(algorithm)) for token in texts)

        check()
        print(f"\n{algorithm}: {dict(verdicts)}")
        # Neither side may be all there is, or nothing would have been compared.
        assert verdicts["accepted"] > 5
        assert verdicts["token_invalid"] > 200

    def test_so_it_is_with_each_attack_by_itself(
        self, algorithm: str, codecs: list[TokenCodec], verdicts: Counter[str]
    ) -> None:
        verdicts.update(compare(codecs, token, keys.key(algorithm)) for token in attacks(algorithm))
        # Of what a header brings along nothing is looked at.
        assert verdicts["accepted"] > 10
        assert verdicts["token_invalid"] > 30


@pytest.mark.parametrize("required", [{}, {"role": ["1", 1, "notes"]}])
@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA", "RS256"])
def test_whatever_is_accepted_of_another_issuer_pyjwt_accepts_too(
    algorithm: str, required: dict[str, Any], verdicts: Counter[str]
) -> None:
    key = keys.key(algorithm)
    audience = None if required else keys.AUDIENCE
    trusted = TrustedIssuer(
        iss=keys.ISSUER, keys=[keys.public_entry(algorithm)], audience=audience, required_claims=required
    )
    codec = TokenCodec(keys.issuer(iss="own"), {keys.ISSUER: trusted}, 64)

    def check(texts: list[str]) -> None:
        for token in texts:
            claims = verdict(codec, token, trusted.accepted_audiences)
            if isinstance(claims, str):
                verdicts[claims] += 1
                continue
            verdicts["accepted"] += 1
            payload = by_pyjwt(token, key, ["iss", "sub", "exp"], audience=audience, verify_aud=not required)
            for name in ("iss", "sub", "iat", "jti", "sid", "nbf"):
                assert getattr(claims, name) == payload.get(name)
            assert claims.exp == math.floor(payload["exp"])
            assert thawed(claims.extra) == {name: value for name, value in payload.items() if name not in REGISTERED}
            assert not required or payload["role"] in required["role"] or set(payload["role"]) & set(required["role"])
            assert by_joserfc(token, key) == payload

    examples(40)(given(families(algorithm, role="1"))(check))()
    check(attacks(algorithm, role="1"))
    print(f"\n{algorithm}: {dict(verdicts)}")
    assert verdicts["accepted"] > 5
    assert verdicts["token_invalid"] > 200


def test_the_forger_makes_tokens_that_only_pyjwt_accepts() -> None:
    key, codec = keys.key("HS256"), keys.codec(keys.key("HS256"))
    stricter = Counter[str]()

    @examples(60)
    @given(families("HS256"))
    def check(texts: list[str]) -> None:
        for token in texts:
            try:
                codec.decode(token)
            except TokenError as error:
                try:
                    jwt.decode(token, key.verifying_key, algorithms=["HS256"], audience=keys.AUDIENCE)
                except (jwt.PyJWTError, ValueError, RecursionError):
                    continue
                stricter[error.stage] += 1

    check()
    # How many depends on the versions of PyJWT and of Hypothesis.
    assert stricter


@examples(200)
@given(st.one_of(st.text(), st.binary(), st.from_regex(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")))
def test_any_text_and_any_bytes_are_refused_as_a_token_is(text: str | bytes) -> None:
    assert verdict(keys.codec(keys.key("HS256"), cache_size=8), text, None) == "token_invalid"
