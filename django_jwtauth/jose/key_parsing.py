"""Key material: what stands in a key's members is read, or a sentence says what to write there.

No sentence repeats a value, because what stands in the wrong place may be a secret.
"""

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import InvalidKeyError

from ..rules.members import suggest

MINIMUM_RSA_BITS = 2048
MINIMUM_SECRET_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}
FAMILIES = {
    "RS": ("RSA", rsa.RSAPrivateKey, rsa.RSAPublicKey),
    "PS": ("RSA", rsa.RSAPrivateKey, rsa.RSAPublicKey),
    "ES": ("EC", ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey),
    "Ed": ("Ed25519", ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey),
}
ALGORITHMS = (
    *MINIMUM_SECRET_BYTES,
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    *CURVES,
    "EdDSA",
)
MEMBERS = ("ALGORITHM", "KID", "PRIVATE_KEY", "PUBLIC_KEY", "PASSPHRASE", "SECRET")
IMPLEMENTATIONS = get_default_algorithms()
"""PyJWT's, by the name of the algorithm."""

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_MORE = re.compile(rb"-----END [A-Z0-9 ]+-----\s*\S")
# openssl writes these before a key, which says the same itself.
_PARAMETERS = re.compile(
    rb"-----BEGIN EC PARAMETERS-----.*?-----END EC PARAMETERS-----\s*", re.DOTALL
)
_PATH = re.compile(
    rb"(?:~|\.{0,2}/|[A-Za-z]:[\\/])[^\n]*|[^\n]+\.(?:pem|key|p8|jwk|json|crt|pub)", re.IGNORECASE
)
_MIXED_UP = {
    "PRIVATE_KEY": "PRIVATE_KEY holds a public key. Write it as PUBLIC_KEY; it only verifies.",
    "PUBLIC_KEY": "PUBLIC_KEY holds a private key. Write it as PRIVATE_KEY, or keep it off this "
    "machine.",
}


class UnusableKeyError(ValueError):
    """A key cannot be used; the text says what is wrong and what to write, never the key itself."""


def read_algorithm(entry: Any) -> str:
    """Return the algorithm of a key written as in ``SIGNING_KEYS``. Raises ``UnusableKeyError``."""
    if not isinstance(entry, Mapping):
        raise UnusableKeyError(
            'The key is not a dict. Write {"ALGORITHM": "ES256", "PRIVATE_KEY": Path("key.pem")}.'
        )
    unknown = sorted(str(name) for name in entry if name not in MEMBERS)
    if unknown:
        hint = suggest(unknown[0], MEMBERS, "members of a key")
        raise UnusableKeyError(f"Unknown member {unknown[0]!r}. {hint}")
    algorithm = entry.get("ALGORITHM")
    if algorithm not in ALGORITHMS:
        raise UnusableKeyError(
            f"ALGORITHM is not one of ours. Write one of {', '.join(ALGORITHMS)}."
        )
    material = "SECRET" if algorithm in MINIMUM_SECRET_BYTES else "PRIVATE_KEY or PUBLIC_KEY"
    present = [name for name in ("SECRET", "PRIVATE_KEY", "PUBLIC_KEY") if entry.get(name)]
    if len(present) != 1 or present[0] not in material.split(" or "):
        raise UnusableKeyError(f"{algorithm} takes {material}, exactly one and not empty.")
    if "PASSPHRASE" in entry and "PRIVATE_KEY" not in entry:
        raise UnusableKeyError(
            "PASSPHRASE opens a PRIVATE_KEY and there is none here. Leave it out."
        )
    return str(algorithm)


def read_secret(secret: Any, algorithm: str) -> bytes:
    """Return the bytes of a ``SECRET``. Raises ``UnusableKeyError``."""
    least = MINIMUM_SECRET_BYTES[algorithm]
    try:
        prepared: bytes = IMPLEMENTATIONS[algorithm].prepare_key(_to_bytes(secret, "SECRET"))
    except InvalidKeyError as error:
        raise UnusableKeyError(
            f"SECRET is a key of another kind: {algorithm} takes random text or bytes."
        ) from error
    if len(prepared) < least:
        raise UnusableKeyError(
            f"SECRET has {len(prepared)} bytes and {algorithm} needs {least} (RFC 7518 section "
            "3.2). "
            f"Write {least} random bytes, such as those of secrets.token_bytes({least}), kept "
            "outside the code."
        )
    return prepared


def read_key(member: str, material: Any, algorithm: str, passphrase: Any = None) -> tuple[Any, Any]:
    """Return the key of a ``PRIVATE_KEY`` or ``PUBLIC_KEY``, and the ``kid`` that a JWK gives it or
    None.

    Raises ``UnusableKeyError``.
    """
    if isinstance(material, Path):
        material = _read_file(member, material)
    if isinstance(material, str | bytes):
        material = _to_bytes(material, member)
        if material.lstrip()[:1] in {b'"', b"'"}:
            raise UnusableKeyError(
                f"{member} is in quotation marks, which docker --env-file keeps. Remove them."
            )
        material = _read_json(member, material) if material.lstrip().startswith(b"{") else material
    if isinstance(material, Mapping):
        if passphrase is not None:
            raise UnusableKeyError("PASSPHRASE opens a PEM and this is a JWK. Leave it out.")
        return _fitting(member, _read_jwk(member, material, algorithm), algorithm), material.get(
            "kid"
        )
    return _fitting(member, _read_pem(member, material, passphrase), algorithm), None


def _read_file(member: str, path: Path) -> bytes:
    if "-----BEGIN" in str(path) or str(path).lstrip().startswith("{"):
        raise UnusableKeyError(
            f"{member} is a Path made of the key itself. Write the key without Path()."
        )
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no possible path"
        # What does not look like a path may be the key in base64. Nor is the error the cause: it
        # repeats the path.
        file = f"the file {path}" if path.is_absolute() or path.suffix else "the file of its Path"
        raise UnusableKeyError(
            f"{member}: {file} cannot be read ({reason}). Write a path to a PEM file."
        ) from None


def _read_json(member: str, text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        # Not named as the cause, because it carries the whole text.
        raise UnusableKeyError(
            f"{member} begins as a JWK does but is no JSON. Write the whole JWK."
        ) from None


def _read_jwk(member: str, jwk: Mapping[str, Any], algorithm: str) -> Any:
    if "keys" in jwk:
        raise UnusableKeyError(f"{member} is a JWK Set. Write one of its keys.")
    if jwk.get("alg", algorithm) != algorithm or jwk.get("use", "sig") != "sig":
        raise UnusableKeyError(
            f'The "alg" or "use" of the JWK says that it is not for {algorithm}. Write another key.'
        )
    try:
        return IMPLEMENTATIONS[algorithm].from_jwk(dict(jwk))
    except Exception:
        raise UnusableKeyError(
            f"The JWK is no key for {algorithm}. {_what_it_needs(algorithm)}"
        ) from None


def _read_pem(member: str, pem: Any, passphrase: Any) -> Any:
    if not isinstance(pem, bytes) or b"-----BEGIN" not in pem:
        raise UnusableKeyError(_why_no_pem(member, pem))
    # Environment variables and .env files carry line breaks as the two characters \n, or the four
    # \r\n.
    if b"\\\\n" in pem:
        raise UnusableKeyError(
            f"{member} has its line breaks escaped twice, with two backslashes. Write one: \\n"
        )
    pem = _PARAMETERS.sub(b"", pem.replace(b"\\r", b"").replace(b"\\n", b"\n"))
    if _MORE.search(pem):
        raise UnusableKeyError(
            f"{member} goes on after its first PEM block. Write the block of one key alone."
        )
    _check_label(member, next(iter(_BLOCK.findall(pem)), b""))
    return _load_private(pem, passphrase) if member == "PRIVATE_KEY" else _load_public(pem)


def _check_label(member: str, label: bytes) -> None:
    if label == b"CERTIFICATE":
        raise UnusableKeyError(
            f"{member} is a certificate. Write the key in it as PUBLIC_KEY: openssl x509 -in FILE "
            "-noout -pubkey"
        )
    if label == b"OPENSSH PRIVATE KEY":
        raise UnusableKeyError(
            f"{member} is in the format of OpenSSH. Write another key: `manage.py "
            "jwtauth_generate_key` makes one."
        )
    if label.endswith(b"PUBLIC KEY" if member == "PRIVATE_KEY" else b"PRIVATE KEY"):
        raise UnusableKeyError(_MIXED_UP[member])


def _why_no_pem(member: str, material: Any) -> str:
    if isinstance(material, bytes) and material.startswith(b"\x30"):
        options = "-pubin -inform DER" if member == "PUBLIC_KEY" else "-inform DER"
        return f"{member} is DER. Write it as PEM: openssl pkey {options} -in FILE"
    if isinstance(material, bytes) and material.startswith((b"ssh-", b"ecdsa-sha2-")):
        return (
            f"{member} is in the format of OpenSSH. Write it as PEM: ssh-keygen -e -m PKCS8 -f FILE"
        )
    if isinstance(material, bytes) and (found := _what_it_looks_like(material.strip())):
        return f"{member} looks like {found}"
    return (
        f"{member} is no PEM. Write PEM text, a pathlib.Path of a PEM file, or a JWK as a dict "
        "or text."
    )


def _what_it_looks_like(material: bytes) -> str | None:
    if _PATH.fullmatch(material):
        return "a path. Write it as a path: Path(…) of pathlib."
    try:
        decoded = base64.b64decode(b"".join(material.split()), validate=True)
    except ValueError:
        return None
    if b"-----BEGIN" in decoded or decoded.lstrip().startswith(b"{"):
        return "base64 of a key. Decode it first: base64.b64decode(…)."
    if decoded.startswith(b"\x30"):
        return "a PEM without its lines BEGIN and END. Write those as well."
    return None


def _load_private(pem: bytes, passphrase: Any) -> Any:
    password = None if passphrase is None else _to_bytes(passphrase, "PASSPHRASE")
    try:
        return serialization.load_pem_private_key(pem, password)
    except TypeError as error:
        wrong = (
            "is not encrypted; leave out PASSPHRASE"
            if password
            else "is encrypted; write its PASSPHRASE"
        )
        raise UnusableKeyError(f"PRIVATE_KEY {wrong}.") from error
    except Exception as error:
        wrong = "PRIVATE_KEY cannot be read: it is damaged or of an unknown kind"
        also = (
            ", or PASSPHRASE is not its passphrase (a line break at the end and quotation marks "
            "count)"
            if password
            else ""
        )
        raise UnusableKeyError(f"{wrong}{also}.") from error


def _load_public(pem: bytes) -> Any:
    try:
        return serialization.load_pem_public_key(pem)
    except Exception as error:
        raise UnusableKeyError(
            "PUBLIC_KEY cannot be read: it is damaged or of an unknown kind."
        ) from error


def _fitting(member: str, key: Any, algorithm: str) -> Any:
    _, private, public = FAMILIES[algorithm[:2]]
    wanted: Any
    wanted, opposite = (private, public) if member == "PRIVATE_KEY" else (public, private)
    if isinstance(key, opposite):
        raise UnusableKeyError(_MIXED_UP[member])
    if not isinstance(key, wanted):
        kind = re.sub("^_|(Private|Public)Key$", "", type(key).__name__)
        raise UnusableKeyError(f"{member} is of the kind {kind}. {_what_it_needs(algorithm)}")
    if isinstance(key, rsa.RSAPrivateKey | rsa.RSAPublicKey) and key.key_size < MINIMUM_RSA_BITS:
        raise UnusableKeyError(
            f"{member} has {key.key_size} bits and {algorithm} needs {MINIMUM_RSA_BITS} (RFC 7518 "
            "section 3.3). "
            f"Write another key: `manage.py jwtauth_generate_key --algorithm {algorithm}` makes "
            "one."
        )
    if algorithm in CURVES and key.curve.name != CURVES[algorithm].name:
        raise UnusableKeyError(
            f"{member} is on the curve {key.curve.name}. {_what_it_needs(algorithm)}"
        )
    return key


def _what_it_needs(algorithm: str) -> str:
    kind, _, _ = FAMILIES[algorithm[:2]]
    on_curve = f" on the curve {CURVES[algorithm].name}" if algorithm in CURVES else ""
    needed = f"{algorithm} needs an {kind} key{on_curve}."
    return f"{needed} Write one, or the ALGORITHM that suits this one."


def _to_bytes(value: Any, member: str) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise UnusableKeyError(f"{member} is neither text nor bytes.")
    try:
        return value.encode()
    except UnicodeEncodeError:
        # Not named as the cause, because it carries the whole text.
        raise UnusableKeyError(f"{member} has characters that UTF-8 cannot express.") from None
