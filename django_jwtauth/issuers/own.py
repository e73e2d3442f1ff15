"""This site as an issuer, with the keys of ``SIGNING_KEYS`` or those derived from
``SECRET_KEY``."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import salted_hmac
from django.utils.encoding import force_bytes
from django.views.decorators.debug import sensitive_variables

from ..conf import get_config
from ..jose.key_parsing import UnusableKeyError
from ..jose.keys import Key, KeyRing
from .claim_rules import read_claims
from .issuer import ACCEPTED_TYPES

ACCESS_SALT = "django_jwtauth.access_token"
FROM_SECRET_KEY = "SECRET_KEY"  # noqa: S105
"""Stands in ``SIGNING_KEYS`` for the keys derived from ``SECRET_KEY`` and its fallbacks."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnIssuer:
    """This site as an ``Issuer``; the only one whose keys sign."""

    iss: str
    ring: KeyRing
    accepted_audiences: frozenset[str]
    accepted_types = ACCEPTED_TYPES
    needs_kid = True
    read_claims = staticmethod(read_claims)


def own_issuer() -> OwnIssuer:
    """Return the issuer of the settings in force. Raises ``ImproperlyConfigured``."""
    config = get_config()
    return OwnIssuer(
        iss=config.issuer,
        ring=configured_ring(),
        accepted_audiences=config.accepted_audiences,
    )


@sensitive_variables()
def configured_ring() -> KeyRing:
    """Return the key ring of ``SIGNING_KEYS``.

    By default it holds the keys derived from ``SECRET_KEY`` and its fallbacks. Raises
    ``ImproperlyConfigured``.
    """
    entries = get_config().signing_keys or [FROM_SECRET_KEY]
    try:
        # Not by a generator: error reports would show what stands in its frame.
        return KeyRing(chain.from_iterable(map(load_keys, entries)))
    except UnusableKeyError as error:
        raise ImproperlyConfigured(f"SIGNING_KEYS: {error}") from error


@sensitive_variables()
def load_keys(entry: Mapping[str, Any] | str) -> list[Key]:
    """Load the keys of one entry of ``SIGNING_KEYS``. Raises ``UnusableKeyError``."""
    if entry == FROM_SECRET_KEY:
        return list(map(_derive_key, dict.fromkeys(secret_keys())))
    return [Key.from_dict(entry)]  # type: ignore[arg-type]


@sensitive_variables()
def secret_keys() -> tuple[bytes, ...]:
    """Return ``SECRET_KEY``, then its fallbacks. Raises ``UnusableKeyError`` for an empty one."""
    secrets = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    if not all(isinstance(secret, str | bytes) and secret for secret in secrets):
        raise UnusableKeyError(
            "SECRET_KEY_FALLBACKS holds an empty or ill-typed key, under which anybody could "
            "sign. Remove it."
        )
    return tuple(force_bytes(secret, errors="surrogatepass") for secret in secrets)


def _derive_key(secret: bytes) -> Key:
    derived = salted_hmac(ACCESS_SALT, "HS256", secret=secret, algorithm="sha256").digest()
    return Key.from_dict({"ALGORITHM": "HS256", "SECRET": derived})
