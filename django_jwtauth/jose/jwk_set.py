"""JWK Sets as others publish them (RFC 7517 section 5)."""

import logging
from collections import Counter
from typing import Any

from ..rules.values import is_text
from .key_parsing import ALGORITHMS, MINIMUM_SECRET_BYTES, UnusableKeyError
from .keys import THUMBPRINT_MEMBERS, Key
from .strict_json import read_object

logger = logging.getLogger("django_jwtauth")

ASYMMETRIC = tuple(name for name in ALGORITHMS if name not in MINIMUM_SECRET_BYTES)
LARGEST_RSA_BITS = 8192
"""A larger key would make every verification a burden."""
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""Of a JWK (RFC 7518 section 6)."""
SUITING = {
    ("RSA", None): tuple(name for name in ASYMMETRIC if name[:2] in {"RS", "PS"}),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""The algorithms that a JWK may be for, by its ``kty`` and ``crv`` (RFC 7518 section 6, RFC 8037
section 2)."""


def read_jwk_set(document: bytes, algorithms: tuple[str, ...], iss: str) -> dict[str, Key]:
    """Return the usable keys of a JWK Set by their ids; the others are left out (RFC 7517 section
    5).

    Raises ``ValueError`` where the document is no JWK Set.
    """
    try:
        entries = read_object(document).get("keys")
    except (ValueError, RecursionError) as error:
        raise ValueError("it is no JSON object") from error
    if not isinstance(entries, list):
        raise ValueError("it is no JWK Set")  # noqa: TRY004
    keys: list[Key] = []
    for position, entry in enumerate(entries):
        if isinstance(entry, dict) and entry.get("use", "sig") != "sig":
            continue
        try:
            keys.append(_read_jwk(entry, algorithms))
        except Exception as error:  # an odd key must not cost the others
            # Other exceptions may repeat what was sent.
            reason = error if isinstance(error, UnusableKeyError) else "It cannot be read."
            logger.warning(
                "Key %d in the JWK Set of the issuer %r is not used: %s", position, iss, reason
            )
    counts = Counter(key.kid for key in keys)
    if len(counts) < len(keys):
        logger.warning("Keys in the JWK Set of the issuer %r are not used: they share an id.", iss)
    return {key.kid: key for key in keys if counts[key.kid] == 1}


def _read_jwk(jwk: Any, algorithms: tuple[str, ...]) -> Key:
    if not isinstance(jwk, dict) or not is_text(jwk.get("kid", "none")):
        raise UnusableKeyError("It is no JWK, or its kid is not printable text.")
    if not PRIVATE_MEMBERS.isdisjoint(jwk):
        raise UnusableKeyError("It is secret, and everybody can read it.")
    if "key_ops" in jwk and not (isinstance(jwk["key_ops"], list) and "verify" in jwk["key_ops"]):
        raise UnusableKeyError("Its key_ops do not name verify.")
    kty, crv = jwk.get("kty"), jwk.get("crv")
    if not isinstance(kty, str) or not isinstance(crv, str | None):
        raise UnusableKeyError("Its kty or crv is not text.")
    suiting = SUITING.get((kty, crv), ())
    fitting = [name for name in suiting if name in algorithms and name == jwk.get("alg", name)]
    if len(fitting) != 1:
        raise UnusableKeyError(
            "It is for none of ALGORITHMS."
            if not fitting
            else "It does not say which of ALGORITHMS it is for. Write the one, such as "
            '"ALGORITHMS": ["RS256"].'
        )
    public = {name: jwk[name] for name in THUMBPRINT_MEMBERS[kty] if name in jwk}
    key = Key.from_dict({"ALGORITHM": fitting[0], "PUBLIC_KEY": public, "KID": jwk.get("kid")})
    if getattr(key.verifying_key, "key_size", 0) > LARGEST_RSA_BITS:
        raise UnusableKeyError(f"It has more than {LARGEST_RSA_BITS} bits.")
    return key
