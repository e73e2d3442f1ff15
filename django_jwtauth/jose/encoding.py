"""base64url without padding (RFC 7515 section 2), read strictly, and the 22-character ids made of
it."""

import binascii
import re
import uuid
from contextlib import suppress
from typing import TypeGuard

_TO_URL = bytes.maketrans(b"+/", b"-_")
# "+", "/" and "=" are not in the base64url alphabet: map them to bytes that no decoder accepts.
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/\0\0\0")
# By the length modulo 4: the padding, and the last characters that leave no unused bit set.
_TAILS = {
    0: (b"", bytes(range(256))),
    2: (b"==", b"AQgw"),
    3: (b"=", b"AEIMQUYcgkosw048"),
}

ID_BYTES = 16
PADDED_ID_BYTES = 18
"""Of an id and two zero bytes: a multiple of three, so that each is encoded apart in base64."""
ID_CHARACTERS = 22
ID_VERSION = 4
# The version is in the 9th character, the variant in the 11th; 128 bits leave four bits of the last
# one unused.
_ID = re.compile(r"[A-Za-z0-9_-]{8}[Q-T][A-Za-z0-9_-][CGKOSWaeimquy26-][A-Za-z0-9_-]{10}[AQgw]")


def b64url_encode(data: bytes) -> str:
    """Encode bytes as base64url without padding."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_TO_URL).decode("ascii")


def b64url_decode(text: str) -> bytes:
    """Decode base64url without padding; the text must be the one and only encoding of its bytes.

    Raises ``ValueError`` for padding, foreign characters, an impossible length, and unused bits
    that are not zero (RFC 4648 section 3.5).
    """
    raw = text.encode("ascii")
    padding, last = _TAILS.get(len(raw) % 4, (b"", b""))
    if raw and raw[-1] not in last:
        raise ValueError("not canonical base64url")
    return binascii.a2b_base64(raw.translate(_FROM_URL) + padding, strict_mode=True)


def new_id() -> uuid.UUID:
    """Return a new id: a version-4 UUID, with 122 random bits (RFC 9562 section 5.4).

    128 would be more, but MariaDB refuses some of what is no UUID of a known version.
    """
    return uuid.uuid4()


def encode_id(value: uuid.UUID) -> str:
    """Return the 22 characters by which a token names an id."""
    return b64url_encode(value.bytes)


def decode_id(text: str) -> uuid.UUID:
    """Return the id that these 22 characters name, or raise ``ValueError``."""
    return to_id(b64url_decode(text))


def read_id(text: str) -> uuid.UUID | None:
    """Return the id that a text is, in the 22 characters of tokens or as a UUID, or None."""
    for read in (decode_id, lambda text: to_id(uuid.UUID(text).bytes)):
        with suppress(ValueError):
            return read(text)
    return None


def to_id(data: bytes) -> uuid.UUID:
    """Return the id that these 16 bytes are, or raise ``ValueError``."""
    value = uuid.UUID(bytes=data)
    if value.version != ID_VERSION:
        raise ValueError("not an id")
    return value


def encode_ids(padded: bytes) -> list[str]:
    """Return ids, given as 16 bytes and two zero bytes each, as tokens name them; many at once."""
    # 18 bytes are 24 characters of base64, so all of them are encoded as one, then cut.
    text = binascii.b2a_base64(padded, newline=False).translate(_TO_URL).decode("ascii")
    return [text[start : start + ID_CHARACTERS] for start in range(0, len(text), 24)]


def is_id(value: object) -> TypeGuard[str]:
    """Whether this is text that ``decode_id`` would take."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None
