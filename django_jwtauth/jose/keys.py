"""Keys: each has one algorithm and is loaded once. A key ring is private and ordered; its JWK Set
is public."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from django.views.decorators.debug import sensitive_variables
from jwt.algorithms import Algorithm

from .encoding import b64url_encode
from .key_parsing import (
    CURVES,
    IMPLEMENTATIONS,
    MINIMUM_SECRET_BYTES,
    UnusableKeyError,
    read_algorithm,
    read_key,
    read_secret,
)

THUMBPRINT_MEMBERS = {
    "RSA": ("e", "kty", "n"),
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "oct": ("k", "kty"),
}
"""The required members of each kind of key, in the order in which they are hashed."""


@dataclass(frozen=True, eq=False, slots=True)
class Key:
    """A key with the one algorithm it is used with."""

    kid: str
    """Names the key in a token's header and in the JWK Set (RFC 7515 section 4.1.4)."""
    algorithm: str
    """``alg`` (RFC 7518 section 3.1)."""
    verifying_key: Any = field(repr=False)
    signing_key: Any = field(repr=False)
    """None: this key only verifies."""
    implementation: Algorithm = field(repr=False)

    @classmethod
    @sensitive_variables()
    def from_dict(cls, entry: Mapping[str, Any]) -> "Key":
        """Load a key written as in ``SIGNING_KEYS``. Raises ``UnusableKeyError``.

        Its ``kid`` is the ``KID``, or that of a JWK, or the beginning of its thumbprint.
        """
        algorithm = read_algorithm(entry)
        implementation = IMPLEMENTATIONS[algorithm]
        signing_key = own_kid = None
        if algorithm in MINIMUM_SECRET_BYTES:
            signing_key = verifying_key = read_secret(entry["SECRET"], algorithm)
        elif private := entry.get("PRIVATE_KEY"):
            # An empty passphrase is none: a variable that is not set.
            signing_key, own_kid = read_key(
                "PRIVATE_KEY", private, algorithm, entry.get("PASSPHRASE") or None
            )
            verifying_key = signing_key.public_key()
        else:
            verifying_key, own_kid = read_key("PUBLIC_KEY", entry["PUBLIC_KEY"], algorithm)
        kid = own_kid if entry.get("KID") is None else entry["KID"]
        if kid is None:
            kid = thumbprint(implementation.to_jwk(verifying_key, as_dict=True))[:8]
        elif not isinstance(kid, str) or not kid or not kid.isprintable():
            raise UnusableKeyError(
                'KID is not printable text. Write one such as "2026-01", or leave it out.'
            )
        return cls(kid, algorithm, verifying_key, signing_key, implementation)

    def sign(self, data: bytes) -> bytes:
        """Return the JWS signature of ``data`` (RFC 7518 section 3)."""
        return self.implementation.sign(data, self.signing_key)

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Tell whether ``signature`` is one of this key for ``data``; compared in constant time
        where it matters."""
        return self.implementation.verify(data, self.verifying_key, signature)

    @property
    def is_symmetric(self) -> bool:
        """Whether the verifying key can sign, too."""
        return self.algorithm in MINIMUM_SECRET_BYTES

    def public_jwk(self) -> dict[str, Any]:
        """Return the public key as a JWK with ``kid``, ``use`` and ``alg`` (RFC 7517 section 4)."""
        if self.is_symmetric:
            raise UnusableKeyError("A secret is never published.")
        jwk: dict[str, Any] = self.implementation.to_jwk(self.verifying_key, as_dict=True)
        jwk.pop("key_ops", None)
        return {**jwk, "kid": self.kid, "use": "sig", "alg": self.algorithm}


class KeyRing:
    """Keys in order: the first that can sign signs, all verify, all but secrets are published."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = tuple(keys)
        self.by_kid = {key.kid: key for key in self.keys}
        if len(self.by_kid) < len(self.keys):
            raise UnusableKeyError("Two keys have the same KID. Give each key a KID of its own.")
        self.signing_key = next((key for key in self.keys if key.signing_key is not None), None)

    def find(self, kid: str) -> Key | None:
        """Return the key of this id, or None."""
        return self.by_kid.get(kid)

    @cached_property
    def jwk_set(self) -> dict[str, Any]:
        """The public keys as a JWK Set (RFC 7517 section 5)."""
        return {"keys": [key.public_jwk() for key in self.keys if not key.is_symmetric]}


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Return the SHA-256 thumbprint of a JWK in base64url (RFC 7638 section 3)."""
    required = {name: jwk[name] for name in THUMBPRINT_MEMBERS[jwk["kty"]]}
    return b64url_encode(
        hashlib.sha256(json.dumps(required, separators=(",", ":")).encode()).digest()
    )


def generate_private_key(algorithm: str) -> str:
    """Return a new private key for an asymmetric algorithm as PKCS #8 PEM text."""
    private_key: Any
    if algorithm in CURVES:
        private_key = ec.generate_private_key(CURVES[algorithm]())
    elif algorithm == "EdDSA":
        private_key = ed25519.Ed25519PrivateKey.generate()
    else:
        private_key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    pem: bytes = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode("ascii")
