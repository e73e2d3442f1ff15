"""The claims of an access token: which are required, their types, and when they are current."""

import math
import sys
from collections.abc import Mapping
from typing import Any, TypeGuard

from ..claims import NOTHING, REGISTERED, Claims, NumericDate, freeze
from ..errors import ExpiredTokenError, InvalidTokenError
from ..issuers.trusted import TrustedIssuer
from ..jose.encoding import is_id

MAXIMUM_DATE = 10**15  # NaN, infinities and integers too large for a float are on the far side of it


def check_current(claims: Claims, audiences: frozenset[str] | None, now: float, leeway: float) -> None:
    """Check the clock and the audience (RFC 7519 sections 4.1.3 to 4.1.6); ``now`` and ``leeway`` in seconds.

    ``audiences`` are None for an issuer of whom other claims are required instead. Raises ``ExpiredTokenError`` or
    ``InvalidTokenError``.
    """
    if audiences is not None and audiences.isdisjoint(claims.aud):
        raise InvalidTokenError("audience")
    begun = now + leeway
    if (claims.iat is not None and claims.iat > begun) or (claims.nbf is not None and claims.nbf > begun):
        raise InvalidTokenError("clock")
    if claims.exp <= now - leeway:
        raise ExpiredTokenError("clock")


def _window(claims: Claims, audiences: frozenset[str] | None, leeway: float) -> tuple[float, float]:
    """Return from when until when ``check_current`` refuses nothing; where it always does, no time at all."""
    if audiences is not None and audiences.isdisjoint(claims.aud):
        return 0.0, 0.0
    exp, iat, nbf = claims.exp, claims.iat, claims.nbf
    begins = max(0 if iat is None else iat, 0 if nbf is None else nbf)
    return begins - leeway, exp + leeway


def _read_claims(values: dict[str, Any]) -> Claims:
    iss, sub, aud, exp, iat = values["iss"], values.get("sub"), values.get("aud"), values.get("exp"), values.get("iat")
    jti, sid, nbf, scope = values.get("jti"), values.get("sid"), values.get("nbf"), values.get("scope")
    audiences: list[Any] = aud if isinstance(aud, list) else [aud]
    if not (_is_text(sub) and all(map(_is_text, audiences)) and _is_number(exp) and _is_number(iat)):
        raise InvalidTokenError("claims")
    if not (is_id(jti) and is_id(sid)):
        raise InvalidTokenError("claims")
    if not ("nbf" not in values or _is_number(nbf)) or not ("scope" not in values or isinstance(scope, str)):
        raise InvalidTokenError("claims")
    extra = NOTHING if REGISTERED.issuperset(values) else _read_extra(values)
    # Who and for whom is the same in every token: kept once, however many are remembered.
    iss, aud = sys.intern(iss), tuple([sys.intern(one) for one in audiences])
    return Claims(iss, sub, aud, math.floor(exp), iat, jti, sid, nbf, scope, extra)


def _read_claims_of_another(values: dict[str, Any], issuer: TrustedIssuer) -> Claims:
    """Return the claims of another issuer's token: fewer are required, but what is there is well-formed."""
    audiences = values.get("aud", [])
    audiences = audiences if isinstance(audiences, list) else [audiences]
    sub = issuer.subject_of(values)
    if not (_is_text(sub) and all(map(_is_text, audiences)) and _is_number(values.get("exp"))):
        raise InvalidTokenError("claims")
    if not all(_is_number(values[name]) for name in ("iat", "nbf") if name in values):
        raise InvalidTokenError("claims")
    if not all(isinstance(values[name], str) for name in ("jti", "sid") if name in values):
        raise InvalidTokenError("claims")
    if not issuer.is_met_by(values):
        raise InvalidTokenError("claims")
    return Claims(
        iss=values["iss"],
        sub=sub,
        aud=tuple(audiences),
        exp=math.floor(values["exp"]),
        iat=values.get("iat"),
        jti=values.get("jti"),
        sid=values.get("sid"),
        nbf=values.get("nbf"),
        scope=_read_scope(values),
        extra=_read_extra(values),
    )


def _read_scope(values: dict[str, Any]) -> str | None:
    """Return ``scope``, or else ``scp`` as some name it; some write an array of words."""
    scope = values["scope"] if "scope" in values else values.get("scp", [])
    if isinstance(scope, str):
        return scope
    if not isinstance(scope, list) or not all(isinstance(word, str) and word.split() == [word] for word in scope):
        raise InvalidTokenError("claims")
    return " ".join(scope) if "scope" in values or "scp" in values else None


def _read_extra(values: dict[str, Any]) -> Mapping[str, Any]:
    if "cnf" in values:
        # A token bound to a key is no bearer token; accepting it as one would undo the binding (RFC 7800).
        raise InvalidTokenError("claims")
    extra: Mapping[str, Any] = freeze({name: value for name, value in values.items() if name not in REGISTERED})
    return extra


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def _is_number(value: Any) -> TypeGuard[NumericDate]:
    return (type(value) is int or type(value) is float) and abs(value) <= MAXIMUM_DATE
