"""Access tokens: JWTs in the compact form, signed (RFC 7515, RFC 7519), of type ``at+jwt`` (RFC 9068).

The compact form is read here, once and strictly, because what is lax about reading it is what attacks are
made of. Nothing is accepted that ``jwt.decode`` with the same key and algorithm refuses.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.core.signals import setting_changed

from ..claims import NOTHING, Claims
from ..conf import get_config
from ..errors import InvalidTokenError, TokenError
from ..issuers.jwks import FetchedRing
from ..issuers.own import configured_ring
from ..issuers.trusted import ACCEPTED_TYPES, TrustedIssuer, trusted_issuers
from ..jose.encoding import b64url_decode, b64url_encode
from ..jose.keys import Key, KeyRing
from ..jose.strict_json import check_nesting, read_object
from ..process.memory import TokenCache
from .claim_rules import _read_claims, _read_claims_of_another, _window, check_current

MAXIMUM_LENGTH = 8192
MAXIMUM_HEADER_LENGTH = 1024
"""Characters of the first segment, which holds a few short members."""
MAXIMUM_CONTAINERS = 256
"""Arrays and objects in the claims. Each takes up to 70 times the memory of the characters that it is written in."""
REMEMBERED_HEADERS = 64
TYPE = "at+jwt"

NO_KEYS = KeyRing(())

# Of ASCII only these become - or _ in base64url, in every third place. In JSON they occur in strings alone.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in ">?~\x7f"}
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

Authentic = tuple[Claims, Key, float, float]
"""What is remembered of a token: its claims, the key that signed it, and from when until when it is surely current."""


class TokenCodec:
    """Encodes and decodes access tokens. ``rings`` maps each issuer of ours to its keys, ``trusted`` has the others.

    ``decode`` settles what is *authentic*, which depends on bytes and keys only. That may be remembered, and so may
    between which moments the token is *current*; ``verify`` asks the clock every time. What is *revoked* is asked
    elsewhere.
    """

    def __init__(
        self,
        rings: Mapping[str, KeyRing],
        cache_size: int = 0,
        trusted: Mapping[str, TrustedIssuer] = NOTHING,
        *,
        audiences: frozenset[str] = frozenset(),
        leeway: float = 0.0,
    ) -> None:
        self.rings = rings
        self.trusted = trusted
        self.audiences = audiences
        self.leeway = leeway
        self._cache: TokenCache[Authentic] = TokenCache(cache_size)
        self._headers: TokenCache[tuple[Any, Any, Any]] = TokenCache(REMEMBERED_HEADERS)

    def encode(self, claims: Mapping[str, Any]) -> str:
        """Return a signed token with these claims; ``iss`` chooses the ring, its first key that can sign signs.

        Raises ``ValueError`` for a token that no verifier of ours would read: too long, or nested too deep.
        """
        key = self.rings[claims["iss"]].signing_key
        if key is None:
            raise ValueError("No key of SIGNING_KEYS can sign.")
        header = {"alg": key.algorithm, "kid": key.kid, "typ": TYPE}
        header_segment = _to_segment(header)
        if len(header_segment) > MAXIMUM_HEADER_LENGTH:
            length = f"{len(header_segment)} characters and may have {MAXIMUM_HEADER_LENGTH}"
            raise ValueError(f"The header has {length}. Shorten the KID.")
        signing_input = f"{header_segment}.{_to_segment(claims)}"
        token = f"{signing_input}.{b64url_encode(key.sign(signing_input.encode('ascii')))}"
        if len(token) > MAXIMUM_LENGTH:
            raise ValueError(f"The token has {len(token)} characters and may have {MAXIMUM_LENGTH}. Use fewer claims.")
        return token

    def verify(self, token: str, now: float) -> Claims:
        """Return the claims of a token that is authentic and, at ``now`` in seconds since 1970, current.

        For any other text raises ``TokenError`` and nothing else; ``IssuerUnavailableError`` where the keys of
        a trusted issuer cannot be had.
        """
        claims, _, begins, ends = self._authentic(token)
        if not begins <= now < ends:
            check_current(claims, self._audiences_for(claims.iss), now, self.leeway)
        return claims

    def decode(self, token: str) -> Claims:
        """Return the claims of an authentic token, whether it is current or not. Raises as ``verify`` does."""
        return self._authentic(token)[0]

    def _authentic(self, token: str) -> Authentic:
        remembered = self._cache.get(token)
        if remembered is not None:
            claims, key, _, _ = remembered
            ring = self.rings.get(claims.iss) or self._ring_of_another(claims.iss)
            if ring.by_kid.get(key.kid) is key:
                return remembered
        try:
            claims, key = self._decode(token)
        except TokenError:
            raise
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidTokenError("form") from error
        found = (claims, key, *_window(claims, self._audiences_for(claims.iss), self.leeway))
        self._cache.put(token, found)
        return found

    def _decode(self, token: str) -> tuple[Claims, Key]:
        if len(token) > MAXIMUM_LENGTH or not _COMPACT.fullmatch(token):
            raise InvalidTokenError("form")
        signing_input, _, signature = token.rpartition(".")
        header_segment, _, claims_segment = signing_input.partition(".")
        remembered = self._headers.get(header_segment)
        kind, algorithm, kid = header = remembered or _read_header(header_segment)
        values = read_object(b64url_decode(claims_segment), MAXIMUM_CONTAINERS)
        issuer = values.get("iss")
        if not isinstance(issuer, str):
            raise InvalidTokenError("issuer")
        # What is written there is not verified yet. It only chooses the key, and that key must have signed it.
        ring = self.rings.get(issuer) or self._ring_of_another(issuer)
        if ring is NO_KEYS:
            raise InvalidTokenError("issuer")
        trusted = None if issuer in self.rings else self.trusted.get(issuer)
        if kind not in (ACCEPTED_TYPES if trusted is None else trusted.accepted_types):
            raise InvalidTokenError("typ")
        if kid is None and trusted is not None:
            key = _only_key(ring, algorithm)
        else:
            key = None if kid is None else ring.find(kid)
        if key is None or algorithm != key.algorithm:
            raise InvalidTokenError("key")
        if not key.verify(signing_input.encode("ascii"), b64url_decode(signature)):
            raise InvalidTokenError("signature")
        if remembered is None:
            # All tokens of a key have the same header. Only an authentic one is remembered, so nobody fills this.
            self._headers.put(header_segment, header)
        return (_read_claims(values) if trusted is None else _read_claims_of_another(values, trusted)), key

    def _audiences_for(self, issuer: str) -> frozenset[str] | None:
        return self.audiences if issuer in self.rings else self.trusted[issuer].accepted_audiences

    def _ring_of_another(self, issuer: str) -> KeyRing | FetchedRing:
        return self.trusted[issuer].ring if issuer in self.trusted else NO_KEYS


def _only_key(ring: KeyRing | FetchedRing, algorithm: Any) -> Key | None:
    """Return the key for a token that names none (RFC 7515 section 4.1.4), or None where none or several fit."""
    fitting = [key for key in ring.by_kid.values() if key.algorithm == algorithm]
    return fitting[0] if len(fitting) == 1 else None


@lru_cache(maxsize=1)
def get_codec() -> TokenCodec:
    """Return the codec of the settings in force. Raises ``ImproperlyConfigured``."""
    config = get_config()
    return TokenCodec(
        {config.issuer: configured_ring()},
        config.token_cache_size,
        trusted_issuers(),
        audiences=config.accepted_audiences,
        leeway=config.leeway_seconds,
    )


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting in {"JWTAUTH", "SECRET_KEY", "SECRET_KEY_FALLBACKS"}:
        get_codec.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_jwtauth.tokens")


def _read_header(segment: str) -> tuple[Any, Any, Any]:
    """Return ``typ`` in lower case, ``alg`` and ``kid`` of a header that asks for nothing special."""
    if len(segment) > MAXIMUM_HEADER_LENGTH:
        raise InvalidTokenError("form")
    header = read_object(b64url_decode(segment))
    if "crit" in header or "b64" in header:
        raise InvalidTokenError("header")
    kind = header.get("typ")
    if "typ" in header:
        if not isinstance(kind, str):
            raise InvalidTokenError("typ")
        kind = kind.lower()
    kid = header.get("kid")
    if "kid" in header and not isinstance(kid, str):
        raise InvalidTokenError("key")
    return kind, header.get("alg"), kid


def _to_segment(value: Mapping[str, Any]) -> str:
    """Return base64url of ASCII JSON, and of such that has neither ``-`` nor ``_``: ``atob`` in a browser reads it.

    Raises ``ValueError`` for what is not JSON, lone surrogates included, and for what ``check_nesting`` refuses.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    if "\\ud" in text:
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # refuses a surrogate without its pair
    check_nesting(text.encode("ascii"), MAXIMUM_CONTAINERS)
    segment = b64url_encode(text.encode("ascii"))
    if "-" in segment or "_" in segment:
        segment = b64url_encode(text.translate(_ESCAPES).encode("ascii"))
    return segment
