"""B. Algorithms and keys"""

from __future__ import annotations

import builtins
import hmac
import json
import os
import secrets
from http import HTTPStatus

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from django.core.checks import ERROR, run_checks

from django_jwtauth.jose.keys import thumbprint
from tests.conformance.registry import OWN, states
from tests.conformance.tokens import KIDS, header, segment, signing_key, token
from tests.support import keys
from tests.support.statements import statements

pytestmark = pytest.mark.usefixtures("_issuer")


def signing_input(**members):
    return f"{segment(header(**members))}.{segment(keys.current_claims())}"


@states(
    16,
    "An unsigned token is refused, however `none` is spelt.",
    "RFC 7519 section 6",
    "RFC 9068 section 2.1",
    "RFC 8725bis section 2.11",
    "RFC 8725bis section 3.1",
)
@pytest.mark.parametrize("algorithm", ["none", "nOnE", "None", "NONE", ""])
def test_none(refuses, algorithm):
    for kid in (*KIDS.values(), "none", ""):
        unsigned = signing_input(alg=algorithm, kid=kid)
        for text in (f"{unsigned}.", unsigned, f"{unsigned}.{segment(b'x')}", f"{unsigned}.{token().split('.')[2]}"):
            refuses(text)


@states(17, "`alg` must be there, be text and be in its own case.", "RFC 7515 section 4.1.1")
@pytest.mark.parametrize("own", KIDS)
def test_alg_of_another_form(refuses, own):
    refuses(token(keys.without(header(own), "alg"), algorithm=own))
    for algorithm in (None, 1, True, [own], {own: own}, own.swapcase(), f" {own}", f"{own}\0", "HS", 256):
        refuses(token(header(own, alg=algorithm), algorithm=own))


@states(
    18,
    "A public key is no secret: HMAC under its PEM, DER or JWK is refused.",
    "RFC 8725 section 2.1",
    "RFC 8725 section 3.1",
)
@pytest.mark.parametrize("owner", ["ES256", "RS256", "EdDSA"])
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_public_key_as_a_secret(refuses, owner, algorithm):
    public = signing_key(owner).public_key()
    info = serialization.PublicFormat.SubjectPublicKeyInfo
    jwk = jwt.get_algorithm_by_name(owner).to_jwk(public, as_dict=True)
    pem = public.public_bytes(serialization.Encoding.PEM, info)
    der = public.public_bytes(serialization.Encoding.DER, info)
    texts = [pem, pem.strip(), der, json.dumps(jwk).encode(), json.dumps(jwk, separators=(",", ":")).encode()]
    for key in texts:
        for alg in (algorithm, owner):
            start = signing_input(alg=alg, kid=KIDS[owner])
            refuses(f"{start}.{segment(hmac.digest(key, start.encode(), f'sha{algorithm[2:]}'))}")


@states(
    19,
    "Each key has one algorithm; another one that would suit it is refused.",
    "RFC 8725bis section 3.1",
)
@pytest.mark.parametrize(
    ("owner", "other"),
    [("RS256", "PS256"), ("RS256", "RS384"), ("RS256", "RS512"), ("HS256", "HS384"), ("HS256", "HS512")],
)
def test_another_algorithm_of_the_same_key(call, refuses, owner, other):
    key = signing_key(owner)
    assert call(token(algorithm=owner, key=key)).status_code == HTTPStatus.OK
    if owner == "HS256":
        # PyJWT would warn that it is short for that.
        for alg in (other, owner):
            start = signing_input(alg=alg, kid=KIDS[owner])
            refuses(f"{start}.{segment(hmac.digest(key, start.encode(), f'sha{other[2:]}'))}")
        return
    for alg in (other, owner):
        refuses(token(header(alg, kid=KIDS[owner]), algorithm=other, key=key))


@states(20, "An ES256 signature has 64 bytes; one in DER is refused.", "RFC 7518 section 3.4")
def test_ecdsa_signatures(call, refuses):
    start = signing_input()
    der = signing_key("ES256").sign(start.encode(), ec.ECDSA(hashes.SHA256()))
    r, s = (number.to_bytes(32, "big") for number in decode_dss_signature(der))
    assert call(f"{start}.{segment(r + s)}").status_code == HTTPStatus.OK
    for signature in (der, r + s + b"\0", b"\0" + r + s, (r + s)[:-1], b"\0" + r + b"\0" + s, r, r + s + r + s, s + r):
        refuses(f"{start}.{segment(signature)}")
    for numbers in (bytes(64), r + bytes(32), bytes(32) + s, b"\xff" * 64):
        refuses(f"{start}.{segment(numbers)}")


@states(
    21,
    "A weak key, or one that does not suit its algorithm, is an error of the system checks.",
    "RFC 7518 section 3.2",
    "RFC 7518 section 3.3",
    "RFC 7518 section 3.4",
    "RFC 8725 section 3.5",
)
@pytest.mark.parametrize(
    "entry",
    [
        {"ALGORITHM": "HS256", "SECRET": secrets.token_bytes(31)},
        {"ALGORITHM": "HS384", "SECRET": secrets.token_bytes(47)},
        {"ALGORITHM": "HS512", "SECRET": secrets.token_bytes(63)},
        {"ALGORITHM": "RS256", "PRIVATE_KEY": lambda: keys.as_pem(keys.rsa_key(1024))},
        {"ALGORITHM": "PS256", "PRIVATE_KEY": lambda: keys.as_pem(keys.rsa_key(1024))},
        {"ALGORITHM": "ES256", "PRIVATE_KEY": lambda: keys.private_pem("ES384")},
        {"ALGORITHM": "ES384", "PRIVATE_KEY": lambda: keys.private_pem("ES256")},
        {"ALGORITHM": "ES512", "PUBLIC_KEY": lambda: keys.public_pem("ES384")},
        {"ALGORITHM": "EdDSA", "PRIVATE_KEY": lambda: keys.private_pem("ES256")},
        {"ALGORITHM": "RS256", "PUBLIC_KEY": lambda: keys.public_pem("ES256")},
    ],
)
def test_unsuitable_keys(jwtauth, entry):
    entry = {name: value() if callable(value) else value for name, value in entry.items()}
    jwtauth(SIGNING_KEYS=[entry])
    assert [message.level for message in run_checks() if message.id.startswith("jwtauth.")] == [ERROR]


def signed_and_published(client, log_in):
    """Log in; return the header of the access token, and its claims as PyJWT reads them by the published key."""
    access_token = log_in().json()["access_token"]
    assert client.get("/api/ping/", HTTP_AUTHORIZATION=f"Bearer {access_token}").status_code == HTTPStatus.OK
    members = jwt.get_unverified_header(access_token)
    (published,) = client.get("/.well-known/jwks.json").json()["keys"]
    assert published["kid"] == members["kid"]
    return members, jwt.decode(
        access_token, jwt.PyJWK(published), [members["alg"]], audience=keys.AUDIENCE, issuer=keys.ISSUER
    )


@states(22, "RS256 can be chosen to sign and to verify.", "RFC 9068 section 2.1")
def test_rs256(client, log_in, user, jwtauth):
    jwtauth(SIGNING_KEYS=[keys.entry("RS256")])
    members, claims = signed_and_published(client, log_in)
    assert (members["alg"], claims["sub"]) == ("RS256", str(user.pk))


@states(
    23,
    "Ed25519 keys sign and verify as `EdDSA`. Other names of the algorithm are refused.",
    "RFC 9864 section 2.2",
    "RFC 8725bis section 3.2",
)
class TestEd25519:
    def test_the_name(self, client, log_in, user, jwtauth):
        jwtauth(SIGNING_KEYS=[keys.entry("EdDSA")])
        members, claims = signed_and_published(client, log_in)
        assert (members["alg"], claims["sub"]) == ("EdDSA", str(user.pk))

    @pytest.mark.parametrize("name", ["Ed25519", "Ed448", "eddsa", "ED25519"])
    def test_other_names(self, refuses, jwtauth, name):
        refuses(token(header("EdDSA", alg=name), algorithm="EdDSA"))
        jwtauth(SIGNING_KEYS=[keys.entry("EdDSA", ALGORITHM=name)])
        assert [message.level for message in run_checks() if message.id.startswith("jwtauth.")] == [ERROR]


@states(
    24,
    "`kid` must be there and name a key; a trusted issuer may leave it out where one key has the `alg`.",
    "RFC 7515 section 4.1.4",
    OWN,
)
@pytest.mark.parametrize("algorithm", KIDS)
def test_an_unknown_kid(refuses, algorithm):
    refuses(token(keys.without(header(algorithm), "kid"), algorithm=algorithm))
    others = [kid for name, kid in KIDS.items() if name != algorithm]
    for kid in ("unknown", "", KIDS[algorithm].upper(), KIDS[algorithm] + " ", *others):
        refuses(token(header(algorithm, kid=kid), algorithm=algorithm))


@states(
    25,
    "A `kid` is compared and nothing else: no file and no query is made of it.",
    "RFC 7515 section 4.1.4",
    "RFC 8725 section 3.10",
)
@pytest.mark.parametrize(
    "kid",
    [
        *(None, 1, True, 1.5, ["ec"], {"ec": 1}, "../../../../dev/zero", "/etc/passwd", "file:///etc/passwd"),
        *(
            "' OR '1'='1",
            "1; DROP TABLE auth_user",
            "ec\0",
            "k" * 5_900,
            "é",
            "\ud800",
            "{0}",
            "%s",
            "${jndi:ldap://x}",
        ),
    ],
)
def test_a_hostile_kid(refuses, monkeypatch, kid):
    text, opened = token(header(kid=kid)), []
    for module, name in ((builtins, "open"), (os, "open")):
        monkeypatch.setattr(module, name, lambda *arguments, **options: opened.append(arguments))
    with statements() as executed:
        refuses(text)
    assert (executed, opened) == ([], [])


@states(
    26,
    "By default a `kid` begins the thumbprint of its key, which is that of the standards for theirs.",
    "RFC 7638 section 3",
    "RFC 7638 section 3.1",
    "RFC 8037 appendix A.3",
)
@pytest.mark.parametrize(
    ("algorithm", "jwk", "expected"),
    [
        ("RS256", keys.without(keys.RSA_JWK, "kid"), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        ("EdDSA", keys.without(keys.ED25519_JWK, "d"), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
    ],
)
def test_thumbprints(client, jwtauth, algorithm, jwk, expected):
    jwtauth(SIGNING_KEYS=[{"ALGORITHM": algorithm, "PUBLIC_KEY": jwk}])
    (published,) = client.get("/auth/jwks.json").json()["keys"]
    assert published["kid"] == expected[:8]
    assert thumbprint(published) == expected
