"""The claims of an access token: which are required, their types, and when they are current."""

import math
import sys
from collections.abc import Mapping
from typing import Any, TypeGuard

from ..claims import NOTHING, REGISTERED, Claims, NumericDate, freeze
from ..errors import ExpiredTokenError, InvalidTokenError
from ..jose.encoding import is_id

MAXIMUM_DATE = 10**15
"""NaN, infinities and integers too large for a float are beyond it."""


def check_current(
    claims: Claims,
    audiences: frozenset[str] | None,
    now: float,
    leeway: float,
) -> None:
    """Check audience and clock (RFC 7519 sections 4.1.3 to 4.1.6); both times in seconds.

    ``audiences`` is None for an issuer with required claims instead of an audience. Raises
    ``ExpiredTokenError`` or ``InvalidTokenError``.
    """
    if audiences is not None and audiences.isdisjoint(claims.aud):
        raise InvalidTokenError("audience")
    begun = now + leeway
    if claims.iat is not None and claims.iat > begun:
        raise InvalidTokenError("clock")
    if claims.nbf is not None and claims.nbf > begun:
        raise InvalidTokenError("clock")
    if claims.exp <= now - leeway:
        raise ExpiredTokenError("clock")


def window(claims: Claims, audiences: frozenset[str] | None, leeway: float) -> tuple[float, float]:
    """Return the interval in which ``check_current`` refuses nothing; empty if it always does."""
    if audiences is not None and audiences.isdisjoint(claims.aud):
        return 0.0, 0.0
    exp, iat, nbf = claims.exp, claims.iat, claims.nbf
    begins = max(0 if iat is None else iat, 0 if nbf is None else nbf)
    return begins - leeway, exp + leeway


def read_claims(values: dict[str, Any]) -> Claims:
    """Return the claims of a token of our own. Raises ``InvalidTokenError``."""
    iss, sub, aud = values["iss"], values.get("sub"), values.get("aud")
    exp, iat, nbf = values.get("exp"), values.get("iat"), values.get("nbf")
    jti, sid, scope = values.get("jti"), values.get("sid"), values.get("scope")
    audiences: list[Any] = aud if isinstance(aud, list) else [aud]
    if not (_is_text(sub) and all(map(_is_text, audiences))):
        raise InvalidTokenError("claims")
    if not (_is_number(exp) and _is_number(iat)):
        raise InvalidTokenError("claims")
    if not (is_id(jti) and is_id(sid)):
        raise InvalidTokenError("claims")
    if "nbf" in values and not _is_number(nbf):
        raise InvalidTokenError("claims")
    if "scope" in values and not isinstance(scope, str):
        raise InvalidTokenError("claims")
    extra = NOTHING if REGISTERED.issuperset(values) else _read_extra(values)
    # Issuer and audience are the same in every token: intern them, for many tokens are remembered.
    iss, aud = sys.intern(iss), tuple([sys.intern(one) for one in audiences])
    return Claims(iss, sub, aud, math.floor(exp), iat, jti, sid, nbf, scope, extra)


def read_claims_of_another(values: dict[str, Any], sub: Any) -> Claims:
    """Return the claims of another issuer's token, whose subject is ``sub``.

    Fewer claims are required than of our own, but those present are well-formed. Raises
    ``InvalidTokenError``.
    """
    audiences = values.get("aud", [])
    audiences = audiences if isinstance(audiences, list) else [audiences]
    if not (_is_text(sub) and all(map(_is_text, audiences)) and _is_number(values.get("exp"))):
        raise InvalidTokenError("claims")
    if not all(_is_number(values[name]) for name in ("iat", "nbf") if name in values):
        raise InvalidTokenError("claims")
    if not all(isinstance(values[name], str) for name in ("jti", "sid") if name in values):
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
    if not isinstance(scope, list) or not all(map(_is_word, scope)):
        raise InvalidTokenError("claims")
    return " ".join(scope) if "scope" in values or "scp" in values else None


def _read_extra(values: dict[str, Any]) -> Mapping[str, Any]:
    if "cnf" in values:
        # A token bound to a key is not a bearer token; accepting it as one would undo the binding
        # (RFC 7800).
        raise InvalidTokenError("claims")
    others = {name: value for name, value in values.items() if name not in REGISTERED}
    extra: Mapping[str, Any] = freeze(others)
    return extra


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def _is_word(value: Any) -> bool:
    return isinstance(value, str) and value.split() == [value]


def _is_number(value: Any) -> TypeGuard[NumericDate]:
    return (type(value) is int or type(value) is float) and abs(value) <= MAXIMUM_DATE
