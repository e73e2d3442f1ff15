"""Keys, claims and tokens that the tests share; a key is made once a run, because making one is slow."""

from __future__ import annotations

import json
import time
import uuid
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from django_jwtauth.issuers.issuer import Issuer
from django_jwtauth.issuers.own import OwnIssuer
from django_jwtauth.jose.encoding import b64url_encode, encode_id, new_id
from django_jwtauth.jose.key_parsing import ALGORITHMS, MINIMUM_SECRET_BYTES
from django_jwtauth.jose.keys import Key, KeyRing, generate_private_key
from django_jwtauth.tokens.access import TokenCodec

ASYMMETRIC = tuple(name for name in ALGORITHMS if name not in MINIMUM_SECRET_BYTES)
FAST = ("HS256", "ES256", "EdDSA")
"""One algorithm of each kind whose keys are made quickly."""

ISSUER = "https://id.example.com"
AUDIENCE = "notes"
NOW = 1_900_000_000
JTI = encode_id(uuid.UUID(int=1, version=4))
SID = encode_id(uuid.UUID(int=2, version=4))


# RFC 7638 section 3.1
RSA_JWK = {
    "kty": "RSA",
    "n": (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3o"
        "knjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHz"
        "u6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8"
        "awapJzKnqDKgw"
    ),
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
# RFC 8037 appendix A.1 to A.3
ED25519_JWK = {
    "kty": "OKP",
    "crv": "Ed25519",
    "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}


@cache
def _private_pem(kind: str, name: str) -> str:
    if kind.isdecimal():
        return as_pem(rsa.generate_private_key(public_exponent=65537, key_size=int(kind)))
    return generate_private_key(kind)


def private_pem(algorithm: str, name: str = "first") -> str:
    """A private key for an algorithm; another name is another key."""
    return _private_pem("2048" if algorithm[:2] in {"RS", "PS"} else algorithm, name)


def rsa_key(bits: int) -> Any:
    return loaded(_private_pem(str(bits), "first"))


def as_pem(
    private_key: Any,
    form: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
    passphrase: bytes | None = None,
) -> str:
    lock = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    pem: bytes = private_key.private_bytes(serialization.Encoding.PEM, form, lock)
    return pem.decode()


def loaded(pem: str) -> Any:
    return serialization.load_pem_private_key(pem.encode(), None)


def public_pem(algorithm: str, name: str = "first") -> str:
    pem: bytes = (
        loaded(private_pem(algorithm, name))
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return pem.decode()


def secret(algorithm: str, name: str = "first") -> bytes:
    length = MINIMUM_SECRET_BYTES[algorithm]
    return (name.encode() * length)[:length]


def entry(algorithm: str, name: str = "first", **members: Any) -> dict[str, Any]:
    """A key as SIGNING_KEYS has it, that can sign."""
    if algorithm in MINIMUM_SECRET_BYTES:
        return {"ALGORITHM": algorithm, "SECRET": secret(algorithm, name), **members}
    return {"ALGORITHM": algorithm, "PRIVATE_KEY": private_pem(algorithm, name), **members}


def public_entry(algorithm: str, name: str = "first", **members: Any) -> dict[str, Any]:
    return {"ALGORITHM": algorithm, "PUBLIC_KEY": public_pem(algorithm, name), **members}


@cache
def _key(algorithm: str, name: str) -> Key:
    return Key.from_dict(entry(algorithm, name))


def key(algorithm: str, name: str = "first") -> Key:
    return _key(algorithm, name)


def issuer(*keys: Key, iss: str = ISSUER, audiences: frozenset[str] = frozenset()) -> OwnIssuer:
    return OwnIssuer(iss=iss, ring=KeyRing(keys), accepted_audiences=audiences)


def codec(*keys: Key, audiences: frozenset[str] = frozenset(), **options: Any) -> TokenCodec:
    return TokenCodec(issuer(*keys, audiences=audiences), **options)


def replace_keys(issuer: Issuer, *keys: Key) -> None:
    """Give an issuer other keys, as a JWK Set does that was fetched again."""
    object.__setattr__(issuer, "ring", KeyRing(keys))


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a valid token."""
    return {
        "iss": ISSUER,
        "sub": "1",
        "aud": AUDIENCE,
        "exp": NOW + 600,
        "iat": NOW,
        "jti": JTI,
        "sid": SID,
        **changes,
    }


def current_claims(**changes: Any) -> dict[str, Any]:
    """The claims of a token that is valid now, of a session of its own."""
    now = int(time.time())
    return claims(**{"exp": now + 600, "iat": now, "jti": encode_id(new_id()), "sid": encode_id(new_id()), **changes})


def header(key: Key, **changes: Any) -> dict[str, Any]:
    """The header of a valid token."""
    return {"alg": key.algorithm, "kid": key.kid, "typ": "at+jwt", **changes}


def without(members: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in members.items() if key != name}


def segment(content: Any) -> str:
    """base64url of bytes, of text, or of anything else as JSON."""
    if not isinstance(content, bytes | str):
        content = json.dumps(content)
    return b64url_encode(content if isinstance(content, bytes) else content.encode())


def compact(key: Key, header: Any, claims: Any) -> str:
    """A token with a good signature, whatever is in it."""
    signing_input = f"{segment(header)}.{segment(claims)}"
    return f"{signing_input}.{segment(key.sign(signing_input.encode()))}"
