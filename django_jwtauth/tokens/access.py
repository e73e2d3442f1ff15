"""Access tokens: signed JWTs in compact form (RFC 7515, RFC 7519), of type ``at+jwt`` (RFC 9068).

The compact form is parsed here, once and strictly: attacks live on lax parsing. Nothing is accepted
that ``jwt.decode`` refuses with the same key and algorithm.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from ..claims import NOTHING, Claims
from ..conf import get_config
from ..errors import InvalidTokenError, TokenError
from ..issuers.claim_rules import check_current, window
from ..issuers.issuer import Issuer
from ..issuers.jwks import FetchedRing
from ..issuers.own import OwnIssuer, own_issuer
from ..issuers.trusted import trusted_issuers
from ..jose.encoding import b64url_decode, b64url_encode
from ..jose.keys import Key, KeyRing
from ..jose.strict_json import check_nesting, read_object
from ..process.memory import TokenCache, cached_by_settings

MAXIMUM_LENGTH = 8192
MAXIMUM_HEADER_LENGTH = 1024
"""Characters of the first segment, which holds a few short members."""
MAXIMUM_CONTAINERS = 256
"""Arrays and objects in the claims. Each takes up to 70 times the memory of its characters."""
REMEMBERED_HEADERS = 64
TYPE = "at+jwt"

# The only ASCII characters that become - or _ in base64url. In JSON they occur only in strings.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in ">?~\x7f"}
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

Authentic = tuple[Claims, Key, Issuer, float, float]
"""What is remembered of a token: its claims, who signed it by which key, and between which moments
it is surely current."""


class TokenCodec:
    """Encodes access tokens of our own, decodes those of every issuer.

    ``decode`` settles whether a token is *authentic*, which depends on its bytes and the keys
    alone. The result is remembered, and so is the interval in which the token is *current*;
    ``verify`` asks the clock every time. Whether it is *revoked* is asked elsewhere.
    """

    def __init__(
        self,
        own: OwnIssuer,
        trusted: Mapping[str, Issuer] = NOTHING,
        cache_size: int = 0,
        *,
        leeway: float = 0.0,
    ) -> None:
        self.own = own
        self.issuers: Mapping[str, Issuer] = {**trusted, own.iss: own}
        self.leeway = leeway
        self._cache: TokenCache[Authentic] = TokenCache(cache_size)
        self._headers: TokenCache[tuple[Any, Any, Any]] = TokenCache(REMEMBERED_HEADERS)

    def encode(self, claims: Mapping[str, Any]) -> str:
        """Return a token of ours with these claims, signed by our first key that can sign.

        Raises ``ValueError`` for a token that no verifier of ours would accept: of another issuer,
        too long, or nested too deep.
        """
        if claims["iss"] != self.own.iss:
            raise ValueError("Only tokens of our own ISSUER are signed.")
        key = self.own.ring.signing_key
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
            length = f"{len(token)} characters and may have {MAXIMUM_LENGTH}"
            raise ValueError(f"The token has {length}. Use fewer claims.")
        return token

    def verify(self, token: str, now: float) -> Claims:
        """Return the claims of a token that is authentic and current at ``now``, in Unix seconds.

        Raises ``TokenError`` for any other text; ``IssuerUnavailableError`` if the keys of a
        trusted issuer cannot be fetched.
        """
        claims, _, issuer, begins, ends = self._authentic(token)
        if not begins <= now < ends:
            check_current(claims, issuer.accepted_audiences, now, self.leeway)
        return claims

    def verify_own(self, token: str, now: float) -> Claims:
        """Verify a token of our own; any other is refused, and no key is fetched for it."""
        claims, _, issuer, _, _ = self._read(token, {self.own.iss: self.own})
        check_current(claims, issuer.accepted_audiences, now, self.leeway)
        return claims

    def decode(self, token: str) -> Claims:
        """Return the claims of an authentic token, current or not. Raises as ``verify`` does."""
        return self._authentic(token)[0]

    def _authentic(self, token: str) -> Authentic:
        remembered = self._cache.get(token)
        if remembered is not None:
            _, key, issuer, _, _ = remembered
            if issuer.ring.by_kid.get(key.kid) is key:
                return remembered
        found = self._read(token, self.issuers)
        self._cache.put(token, found)
        return found

    def _read(self, token: str, issuers: Mapping[str, Issuer]) -> Authentic:
        try:
            claims, key, issuer = self._decode(token, issuers)
        except TokenError:
            raise
        except (ValueError, TypeError, RecursionError) as error:
            raise InvalidTokenError("form") from error
        return claims, key, issuer, *window(claims, issuer.accepted_audiences, self.leeway)

    def _decode(self, token: str, issuers: Mapping[str, Issuer]) -> tuple[Claims, Key, Issuer]:
        if len(token) > MAXIMUM_LENGTH or not _COMPACT.fullmatch(token):
            raise InvalidTokenError("form")
        signing_input, _, signature = token.rpartition(".")
        header_segment, _, claims_segment = signing_input.partition(".")
        remembered = self._headers.get(header_segment)
        kind, algorithm, kid = header = remembered or _read_header(header_segment)
        values = read_object(b64url_decode(claims_segment), MAXIMUM_CONTAINERS)
        iss = values.get("iss")
        # Not verified yet. It only chooses the issuer, one of whose keys must have signed it.
        issuer = issuers.get(iss) if isinstance(iss, str) else None
        if issuer is None:
            raise InvalidTokenError("issuer")
        if kind not in issuer.accepted_types:
            raise InvalidTokenError("typ")
        if kid is not None:
            key = issuer.ring.find(kid)
        else:
            key = None if issuer.needs_kid else _only_key(issuer.ring, algorithm)
        if key is None or algorithm != key.algorithm:
            raise InvalidTokenError("key")
        if not key.verify(signing_input.encode("ascii"), b64url_decode(signature)):
            raise InvalidTokenError("signature")
        if remembered is None:
            # All tokens of a key have the same header. Only those of authentic tokens are
            # remembered, so that nobody else can fill this.
            self._headers.put(header_segment, header)
        return issuer.read_claims(values), key, issuer


def _only_key(ring: KeyRing | FetchedRing, algorithm: Any) -> Key | None:
    """Return the key for a token without ``kid`` (RFC 7515 section 4.1.4), if exactly one fits."""
    fitting = [key for key in ring.by_kid.values() if key.algorithm == algorithm]
    return fitting[0] if len(fitting) == 1 else None


@cached_by_settings("JWTAUTH", "SECRET_KEY", "SECRET_KEY_FALLBACKS")
def get_codec() -> TokenCodec:
    """Return the codec of the settings in force. Raises ``ImproperlyConfigured``."""
    config = get_config()
    return TokenCodec(
        own_issuer(),
        trusted_issuers(),
        config.token_cache_size,
        leeway=config.leeway_seconds,
    )


def _read_header(segment: str) -> tuple[Any, Any, Any]:
    """Return ``typ`` in lower case, ``alg`` and ``kid`` of a header that asks for no extension."""
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
    """Return base64url of ASCII JSON, without ``-`` and ``_``: ``atob`` in a browser reads it.

    Raises ``ValueError`` for values that JSON lacks, lone surrogates included, and for those that
    ``check_nesting`` refuses.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    if "\\ud" in text:
        # Refuses a surrogate without its pair.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    check_nesting(text.encode("ascii"), MAXIMUM_CONTAINERS)
    segment = b64url_encode(text.encode("ascii"))
    if "-" in segment or "_" in segment:
        segment = b64url_encode(text.translate(_ESCAPES).encode("ascii"))
    return segment
