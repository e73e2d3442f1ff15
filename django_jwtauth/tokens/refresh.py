"""Refresh tokens: opaque, derived from a session's row and a key from ``SECRET_KEY``, stored
nowhere.

    "jrt_" + base64url( version 1 byte | session id 16 | generation, LEB128 varint | MAC 20 )

The MAC is the first 20 bytes of HMAC-SHA-256 over all that stands before it, under a key made of
the secret key, the row's nonce and the issuer. So one issuer never takes the token of another one,
even where they share database and secret key. The prefix lets secret scanners find a leaked token.
"""

import hmac
import re
import uuid
from typing import NamedTuple

from django.utils.crypto import salted_hmac

from ..conf import get_config
from ..errors import InvalidTokenError
from ..issuers.own import secret_keys
from ..jose.encoding import ID_BYTES, b64url_decode, b64url_encode, to_id

PREFIX = "jrt_"
SALT = "django_jwtauth.refresh_token"
VERSION = b"\x01"
MAC_BYTES = 20

_FORM = re.compile(r"jrt_[A-Za-z0-9_-]{51,56}")
_GENERATION_AT = len(VERSION) + ID_BYTES


class PresentedToken(NamedTuple):
    """A well-formed refresh token. Nothing in it is to be believed before ``is_genuine`` said
    so."""

    session_id: uuid.UUID
    generation: int
    body: bytes
    mac: bytes


def derive(session_id: uuid.UUID, generation: int, nonce: bytes) -> str:
    """Return the refresh token of a session's generation, under the current ``SECRET_KEY`` and
    ``ISSUER``."""
    body = VERSION + session_id.bytes + _to_varint(generation)
    return PREFIX + b64url_encode(body + _mac(secret_keys()[0], nonce, body))


def read(token: str | PresentedToken) -> PresentedToken:
    """Parse a refresh token, unless it is parsed already. Raises ``InvalidTokenError``."""
    if isinstance(token, PresentedToken):
        return token
    if not isinstance(token, str) or not _FORM.fullmatch(token):
        raise InvalidTokenError
    try:
        data = b64url_decode(token.removeprefix(PREFIX))
        session_id = to_id(data[len(VERSION) : _GENERATION_AT])
    except ValueError as error:
        raise InvalidTokenError from error
    body, mac = data[:-MAC_BYTES], data[-MAC_BYTES:]
    generation = _from_varint(body[_GENERATION_AT:])
    if body[: len(VERSION)] != VERSION or generation is None:
        raise InvalidTokenError
    return PresentedToken(session_id, generation, body, mac)


def is_genuine(presented: PresentedToken, nonce: bytes) -> bool:
    """Tell, in constant time, whether we derived this token, under ``ISSUER`` and ``SECRET_KEY`` or
    a fallback."""
    # A list, so that how many keys were tried does not show in the time taken.
    macs = [_mac(secret, nonce, presented.body) for secret in secret_keys()]
    return sum(hmac.compare_digest(presented.mac, mac) for mac in macs) > 0


def _mac(secret: bytes, nonce: bytes, body: bytes) -> bytes:
    # Unambiguous, because every nonce has the same length.
    key = salted_hmac(
        SALT, nonce + get_config().issuer.encode(), secret=secret, algorithm="sha256"
    ).digest()
    return hmac.digest(key, body, "sha256")[:MAC_BYTES]


def _to_varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _from_varint(data: bytes) -> int | None:
    """Return the number, or None where this is not the one shortest way to write it."""
    number = sum((digit & 0x7F) << 7 * place for place, digit in enumerate(data))
    return number if _to_varint(number) == data else None
