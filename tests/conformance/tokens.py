"""Access tokens made by PyJWT and cryptography alone: what reads them has no part in making them."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

import jwt

from tests.support import keys

PING, ME = "/api/ping/", "/api/me/"
KIDS = {"ES256": "ec", "HS256": "secret", "RS256": "rsa", "EdDSA": "ed"}
ISSUER: dict[str, Any] = {
    "ISSUER": keys.ISSUER,
    "AUDIENCE": keys.AUDIENCE,
    "SIGNING_KEYS": [
        keys.entry("ES256", KID="ec"),
        keys.entry("HS256", KID="secret"),
        keys.public_entry("RS256", KID="rsa"),
        keys.entry("EdDSA", KID="ed"),
    ],
}
"""Settings under which the tokens below are good, one key of each kind."""


@cache
def signing_key(algorithm: str, name: str = "first") -> Any:
    """A key as PyJWT takes it, of those that tests.support.keys has."""
    if algorithm.startswith("HS"):
        return keys.secret(algorithm, name)
    return keys.loaded(keys.private_pem(algorithm, name))


def header(algorithm: str = "ES256", **changes: Any) -> dict[str, Any]:
    """The header of a good token."""
    return {"alg": algorithm, "kid": KIDS.get(algorithm), "typ": "at+jwt", **changes}


def segment(content: Any) -> str:
    """base64url of bytes, or of anything else as JSON."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def content_of(text: str) -> bytes:
    """What a segment stands for."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def signed(signing_input: str, algorithm: str = "ES256", key: Any = None) -> str:
    """A token with a good signature, whatever its first two segments are."""
    signature = jwt.get_algorithm_by_name(algorithm).sign(signing_input.encode(), key or signing_key(algorithm))
    return f"{signing_input}.{segment(signature)}"


def token(header_or_bytes: Any = None, claims: Any = None, algorithm: str = "ES256", key: Any = None) -> str:
    """A token with a good signature, whatever its header and claims are."""
    header_or_bytes = header(algorithm) if header_or_bytes is None else header_or_bytes
    claims = keys.current_claims() if claims is None else claims
    return signed(f"{segment(header_or_bytes)}.{segment(claims)}", algorithm, key)


def with_members(members: dict[str, Any], more: str) -> bytes:
    """An object in JSON, with more members as they would be written there."""
    return f"{json.dumps(members)[:-1]}, {more}}}".encode()
