"""The user behind the claims. A local user is looked for where the issuer is ours, or where
``USER`` finds one."""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from hashlib import sha256
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ObjectDoesNotExist
from django.db import InterfaceError, OperationalError, models, router
from django.utils.functional import SimpleLazyObject, empty

from .claims import Claims
from .conf import get_config
from .db.compiled import Place, fetch
from .db.user_rows import are_all_visible, fields_of, names_nobody, read_pk
from .errors import InvalidTokenError, JWTAuthError, UnavailableError
from .issuers.trusted import trusted_issuers
from .models import MAX_AUTH_HASH_LENGTH
from .process.memory import cached_by_settings

logger = logging.getLogger("django_jwtauth")

MapError = Callable[[JWTAuthError, Any], Exception]


def get_user(
    claims: Claims, map_error: MapError = lambda error, request: error, request: Any = None
) -> Any:
    """Return a ``LazyUser`` for verified claims; for those of another issuer, what ``USER``
    returns.

    Raises ``InvalidTokenError`` for a ``sub`` that cannot be a primary key. Loading the row raises
    it for a user who is gone or inactive, and ``UnavailableError`` if the database fails.

    A lazy user is loaded wherever it is first looked at, so ``map_error(error, request)`` turns
    these errors into the caller's own exceptions.
    """
    pk = local_pk(claims)
    if pk is None:
        return raising(_find_foreign, claims, map_error, request)
    return LazyUser(pk, map_error, request)


def load_user(claims: Claims) -> Any:
    """Return the user whom verified claims name, loaded and checked. Raises as ``get_user``
    does."""
    pk = local_pk(claims)
    return _find_foreign(claims) if pk is None else _load(pk)


def local_pk(claims: Claims) -> Any:
    """Return the primary key that ``sub`` is the text of, or None where it is no key of our user
    model."""
    if not isinstance(claims, Claims):
        raise TypeError(f"Expected verified Claims, got {claims.__class__.__qualname__}.")
    return _to_pk(claims.sub) if claims.iss == get_config().issuer else None


@cached_by_settings("AUTH_USER_MODEL", maxsize=4096)
def _to_pk(sub: str) -> Any:
    pk = read_pk(sub)
    # "01", " 1" or a UUID in capitals would be second names of the same user.
    return pk if str(pk) == sub else None


def user_key(user: Any) -> Any:
    """Return the primary key of a user, also of one of a child model that has another key of its
    own.

    Raises ``TypeError`` for anything but a user, whatever its primary key, and ``ValueError`` for
    one not stored.
    """
    model: Any = get_user_model()._meta.concrete_model
    if not isinstance(user, model):
        raise TypeError(
            f"Expected a user ({model._meta.label}), got {user.__class__.__qualname__}."
        )
    field = model._meta.pk
    # Of a lazy user "pk" costs no query, any other attribute does.
    key = user.pk if user._meta.pk is field else getattr(user, field.attname)
    if key is None:
        raise ValueError("Expected a stored user, got one without a primary key.")
    return key


def is_usable(user: Any) -> bool:
    """Whether the user may log in, refresh and be seen by a view: the one gate for all of these."""
    return bool(user.is_active)


OVERTAKEN = "_jwtauth_overtaken"
"""Marks an instance that logs in, but whose password hash was replaced in the database
meanwhile."""


def mark_overtaken(user: Any) -> None:
    """Mark an instance as overtaken: the session that it starts next cannot be refreshed."""
    vars(user)[OVERTAKEN] = True


def was_overtaken(user: Any) -> bool:
    """Return whether an instance is marked as overtaken, and clear the mark."""
    # A lazy user's own __dict__ has no mark: it is on the user behind.
    overtaken = hasattr(user, OVERTAKEN)
    if overtaken:
        delattr(user, OVERTAKEN)
    return overtaken


def auth_hashes(user: Any) -> Iterator[str]:
    """Yield the session auth hash of a user under the current secret key, then under its fallbacks.

    One of the project's own may be longer than its column: then the SHA-256 of it stands for it.
    """
    yield _fit(user.get_session_auth_hash())
    yield from map(_fit, user.get_session_auth_fallback_hash())


def _fit(auth_hash: str) -> str:
    return (
        auth_hash
        if len(auth_hash) <= MAX_AUTH_HASH_LENGTH
        else sha256(auth_hash.encode()).hexdigest()
    )


def _get(model: Any, pk: Any) -> Any:
    if not are_all_visible(model):
        return model._default_manager.get(pk=pk)
    alias, fields = router.db_for_read(model), fields_of(model)
    place = Place("pk", model._meta.pk)
    rows = fetch(
        alias,
        model,
        lambda: model._base_manager.using(alias).filter(pk=place).values_list(*fields),
        pk=pk,
    )
    if not rows:
        raise model.DoesNotExist
    return model.from_db(alias, fields, rows[0])


def _load(pk: Any) -> AbstractBaseUser:
    model = get_user_model()
    try:
        user: AbstractBaseUser = _get(model, pk)
    except model.DoesNotExist as error:
        raise InvalidTokenError from error
    except (OperationalError, InterfaceError) as error:
        raise UnavailableError from error
    if not is_usable(user):
        raise InvalidTokenError
    return user


def _find_foreign(claims: Claims) -> Any:
    """Return the user whom the ``USER`` of a trusted issuer names, checked as any other."""
    trusted = trusted_issuers().get(claims.iss)
    if trusted is None or trusted.user_hook is None:
        raise InvalidTokenError
    try:
        user = trusted.user_hook(claims)
    except ObjectDoesNotExist as error:
        raise InvalidTokenError from error
    except Exception as error:
        if names_nobody(error):
            # The claims hold what no row can have, or the hook has a mistake: nobody but its author
            # can tell.
            logger.exception(
                "USER of the trusted issuer %r failed; the token is refused.", claims.iss
            )
            raise InvalidTokenError from error
        if isinstance(error, OperationalError | InterfaceError):
            raise UnavailableError from error
        raise
    if user is None or not is_usable(user):
        raise InvalidTokenError
    return user


def raising(load: Callable[[Any], Any], key: Any, map_error: MapError, request: Any) -> Any:
    """Return ``load(key)``. Raises what ``map_error`` makes of an error of this app."""
    try:
        return load(key)
    except JWTAuthError as error:
        mapped = map_error(error, request)
        if mapped is error:
            raise
        raise mapped from error


class LazyUser(SimpleLazyObject):  # type: ignore[type-arg]
    """The project's user, loaded when more than the primary key is asked for.

    ``pk``, ``is_authenticated``, ``bool``, ``isinstance``, ``==`` and ``hash`` cost no query.
    Anything else loads one ordinary row, and a user loaded is a user checked.
    """

    def __init__(self, pk: Any, map_error: MapError, request: Any = None) -> None:
        # This runs at every request. Bypass the base class, which intercepts every attribute in
        # Python, and make no partial of map_error and request.
        object.__setattr__(self, "_named", (pk, map_error, request))

    _wrapped: Any = empty
    # What the base class calls, once, to load the user.
    _setupfunc = property(lambda self: partial(raising, _load, *self.__dict__["_named"]))
    is_authenticated = True
    is_anonymous = False
    pk = property(lambda self: self.__dict__["_named"][0])
    _meta = property(lambda self: get_user_model()._meta)
    __class__ = property(lambda self: get_user_model())

    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(self.pk)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, models.Model)
            and other._meta.concrete_model is self._meta.concrete_model
            and other.pk == self.pk
        )

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __str__(self) -> str:
        try:
            return super().__str__()
        except Exception:  # a log line or a template must not fail because of its user
            return f"{get_user_model().__name__} object ({self.pk})"


class TokenUser:
    """A user known by the claims of the token alone, for services without a user table."""

    is_active = True
    is_authenticated = True
    is_anonymous = False
    is_staff = False
    is_superuser = False

    def __init__(self, claims: Claims) -> None:
        self.claims = claims

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Whether the user has a permission of the user table, which is not asked: no."""
        return False

    def has_perms(self, perm_list: Iterable[str], obj: Any = None) -> bool:
        """Whether the user has several: no."""
        return False

    def has_module_perms(self, app_label: str) -> bool:
        """Whether the user has any for an app: no."""
        return False

    @property
    def pk(self) -> str:
        """The ``sub`` claim."""
        return self.claims.sub

    id = pk

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TokenUser) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __str__(self) -> str:
        return self.pk

    @cached_property
    def _identity(self) -> tuple[str, str]:
        return self.claims.iss, self.claims.sub
