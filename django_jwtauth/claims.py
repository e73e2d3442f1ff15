"""The claims of a verified access token (RFC 7519 section 4, RFC 9068 section 2.2)."""

from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

NumericDate = int | float
"""Seconds since 1970-01-01T00:00:00Z, leap seconds ignored (RFC 7519 section 2)."""

REGISTERED = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "scope"})
"""Claims that are attributes of ``Claims``; all others are in ``extra``."""


class ReadOnlyDict(dict[str, Any]):
    """A JSON object that cannot be changed; unlike ``mappingproxy`` it can be pickled, copied and
    dumped."""

    __slots__ = ()

    def _refuse(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Claims are read-only.")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[type["ReadOnlyDict"], tuple[dict[str, Any]]]:
        return ReadOnlyDict, (dict(self),)


NOTHING = ReadOnlyDict()


class Claims(NamedTuple):
    """What a token says, deeply read-only. ``request.auth`` is one of these."""

    iss: str
    """Who issued the token."""
    sub: str
    """Whom it is about: the user's primary key as text."""
    aud: tuple[str, ...]
    """For whom it is meant; empty only where another issuer says nothing about it."""
    exp: NumericDate
    """When it expires."""
    iat: NumericDate | None
    """When it was issued. This and the next two are always in our own tokens; in others they may be
    missing."""
    jti: str | None
    """The token's own id; in our own tokens 22 characters."""
    sid: str | None
    """Id of the session it belongs to, likewise (OpenID Connect Front-Channel Logout section 3)."""
    nbf: NumericDate | None = None
    """From when it is valid, where that is not ``iat``."""
    scope: str | None = None
    """Space-delimited scopes (RFC 8693 section 4.2); ``None`` where the token names none."""
    extra: Mapping[str, Any] = NOTHING
    """All other claims, read-only."""

    def __hash__(self) -> int:
        # A dict, even one that cannot be changed, has no hash.
        return hash(self[:-1])

    @property
    def scopes(self) -> frozenset[str]:
        """The scopes as a set; empty where the token names none."""
        return frozenset(self.scope.split()) if self.scope else frozenset()


def freeze(value: Any) -> Any:
    """Return a JSON value with objects and arrays, however deep, made read-only."""
    if isinstance(value, dict):
        return ReadOnlyDict({name: freeze(item) for name, item in value.items()})
    if isinstance(value, list):
        return tuple(freeze(item) for item in value)
    return value
