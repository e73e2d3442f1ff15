"""Throttles that count outcomes. Rates come from ``DEFAULT_THROTTLE_RATES`` where their scope is there."""

import hashlib
import ipaddress
from contextlib import suppress
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.views.decorators.debug import sensitive_variables
from rest_framework.exceptions import ValidationError
from rest_framework.fields import SkipField
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import SimpleRateThrottle

from . import client_info, sessions
from .db.usernames import NAME_LENGTH, account_key
from .errors import CacheUnavailableError, InvalidTokenError
from .jose.encoding import encode_id
from .tokens import refresh as refresh_tokens

ACCOUNT = "_jwtauth_account"
"""Where a request keeps the account that it wants to log into."""


class Counters:
    """A cache whose failure is a ``CacheUnavailableError``, whatever its library raises."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return getattr(self._cache, name)(*args, **kwargs)
            except ValueError:  # Django's, where there is no such count
                raise
            except Exception as error:
                raise CacheUnavailableError from error

        return call


def guard(throttle: Any) -> Any:
    """Return a throttle, made to tell a failure of its cache as ours do."""
    if isinstance(throttle, SimpleRateThrottle) and not isinstance(throttle, OutcomeThrottle):
        vars(throttle)["cache"] = Counters(throttle.cache)
    return throttle


class OutcomeThrottle(SimpleRateThrottle):
    """Refuses once the allowed number of outcomes was counted; ``settle`` counts one when it is known.

    Counted is in windows of the rate's period, by the atomic counters of the cache: a list of moments, which the
    REST framework keeps, would lose what requests at the same time write into it.
    """

    default_rate: str
    duration: int
    """Seconds."""
    num_requests: int
    counted_outcome = False
    key: str | None = None

    @property
    def counters(self) -> Counters:
        """The cache. Raises ``CacheUnavailableError`` where it fails."""
        return Counters(self.cache)

    def get_rate(self) -> str | None:
        """Return the project's rate for this scope, or our own. None switches it off."""
        rates: Any = api_settings.DEFAULT_THROTTLE_RATES
        rate: str | None = rates.get(self.scope, self.default_rate)
        return rate

    def allow_request(self, request: Request, view: Any) -> bool:
        """Whether the request may go on."""
        if self.rate is None:
            return True
        self.key = self.get_cache_key(request, view)
        return self.key is None or self.is_within(self.num_requests)

    def is_within(self, limit: int) -> bool:
        """Whether fewer than so many were counted."""
        return bool(self.counters.get(self.key, 0) < limit)

    def settle(self, success: bool | None) -> None:
        """Count the request if its outcome is what this throttle counts; None: it came to none."""
        if self.key is not None and success is self.counted_outcome:
            self.count()

    def count(self) -> int:
        """Count one, and return how many there are now."""
        self.counters.add(self.key, 0, self.duration)
        try:
            return self.change(+1)
        except ValueError:  # it has just expired, or the cache keeps nothing
            return 1

    def change(self, by: int) -> int:
        """Add to the count, and return it. Raises ``ValueError`` where there is none."""
        counted: int = self.counters.incr(self.key, by)
        # Django's caches in files and in the database have meanwhile set it to expire after their own default.
        self.counters.touch(self.key, self.duration)
        return counted

    def wait(self) -> float:
        """Return the seconds until the next window, for ``Retry-After``."""
        return self.duration - self.timer() % self.duration

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        """Return the cache key of this window. It names nobody: the identity is hashed."""
        identity = self.get_identity(request, view)
        if identity is None:
            return None
        digest = hashlib.sha256("\n".join(identity).encode("utf-8", "surrogatepass")).hexdigest()
        return self.cache_format % {"scope": self.scope, "ident": f"{digest}_{int(self.timer() // self.duration)}"}

    def get_identity(self, request: Request, view: Any) -> tuple[str, ...] | None:
        """Return what shares one count, or None where nothing is counted."""
        raise NotImplementedError


class LoginAccountThrottle(OutcomeThrottle):
    """Failed logins to one account from everywhere: what a guess from many addresses may cost.

    A login counts from its beginning until it is known that it did not fail, or guesses at the same time would
    not see each other.
    """

    scope = "jwtauth_login_account"
    default_rate = "400/hour"
    is_counted = False

    def is_within(self, limit: int) -> bool:
        """Count the login, and tell whether it is one too many."""
        counted = self.count()
        self.is_counted = True
        return counted <= limit

    def settle(self, success: bool | None) -> None:
        """Take a login back that did not fail."""
        if self.is_counted and success is not False:
            with suppress(ValueError):  # the window is over
                self.change(-1)

    def get_identity(self, request: Request, view: Any) -> tuple[str, ...] | None:
        """Return the account."""
        return (_account(request, view),)


class LoginThrottle(LoginAccountThrottle):
    """Failed logins to one account from one address, so few that a flood from there locks nobody out elsewhere."""

    scope = "jwtauth_login"
    default_rate = "20/hour"

    def get_identity(self, request: Request, view: Any) -> tuple[str, ...] | None:
        """Return account and address."""
        network = _network(request)
        return None if network is None else (_account(request, view), network)


class GoodLoginThrottle(OutcomeThrottle):
    """Good logins to one account: each one stores a session."""

    scope = "jwtauth_login_good"
    default_rate = "600/hour"
    counted_outcome = True

    def get_identity(self, request: Request, view: Any) -> tuple[str, ...] | None:
        """Return the account."""
        return (_account(request, view),)


class FailedRefreshThrottle(OutcomeThrottle):
    """Refused refresh tokens from one address. It never stops a genuine one: many clients may share an address."""

    scope = "jwtauth_refresh_failed"
    default_rate = "60/min"

    def allow_request(self, request: Request, view: Any) -> bool:
        """Whether the request may go on. The database is asked only once the limit is reached."""
        return super().allow_request(request, view) or _is_genuine(view)

    def get_identity(self, request: Request, view: Any) -> tuple[str, ...] | None:
        """Return the address."""
        network = _network(request)
        return None if network is None else (network,)


class RefreshThrottle(OutcomeThrottle):
    """Good refreshes of one session; forged tokens that name it are not counted."""

    scope = "jwtauth_refresh"
    default_rate = "60/min"
    counted_outcome = True

    def get_identity(self, request: Request, view: Any) -> tuple[str, ...] | None:
        """Return the session that the refresh token names, wherever the view takes it from."""
        try:
            return (encode_id(refresh_tokens.read(view.presented_token).session_id),)
        except InvalidTokenError:
            return None


class RevokeThrottle(OutcomeThrottle):
    """Revocations of one session; of tokens that name no session of ours, those from one address."""

    scope = "jwtauth_revoke"
    default_rate = "60/min"

    def is_within(self, limit: int) -> bool:
        """Count the request, and tell whether it is one too many."""
        return self.count() <= limit

    def get_identity(self, request: Request, view: Any) -> tuple[str, ...] | None:
        """Return the session or the address, of which a session's own requests use up nothing."""
        session = view.presented_session
        network = _network(request)
        if session is not None:
            return ("session", encode_id(session.pk))
        return None if network is None else ("address", network)


THROTTLES = (
    LoginThrottle,
    LoginAccountThrottle,
    GoodLoginThrottle,
    FailedRefreshThrottle,
    RefreshThrottle,
    RevokeThrottle,
)


def _is_genuine(view: Any) -> bool:
    try:
        # A view of another kind has no such token, but may count its refusals here.
        return bool(sessions.by_refresh_token(getattr(view, "presented_token", "")))
    except InvalidTokenError:
        return False


def _account(request: Request, view: Any) -> str:
    """Return the account, once for each request: the same for every spelling by which it can be logged into."""
    known = vars(request)
    if ACCOUNT not in known:
        known[ACCOUNT] = _read_account(request, view)
    account: str = known[ACCOUNT]
    return account


@sensitive_variables()
def _read_account(request: Request, view: Any) -> str:
    """Return the account that a login names in the field by which the view's serializer knows it.

    Raises ``ValidationError`` where the body names none, ``ImproperlyConfigured`` where the serializer asks for none:
    all these logins would be counted as one account.
    """
    serializer = view.get_serializer(data=request.data)
    field_name = _username_field(serializer)
    field = serializer.fields[field_name]
    try:
        # Not all of the body: to validate the password may be to try it.
        name = str(field.run_validation(field.get_value(request.data)) or "")
    except SkipField:
        name = ""
    except (ValidationError, AttributeError):  # the latter where the body is no object
        serializer.is_valid(raise_exception=True)
        name = ""
    if not name:
        raise ImproperlyConfigured(
            f"{type(serializer).__name__} accepts a login without {field_name!r}, by which failures are counted. "
            "Require that field, or name another one in username_field."
        )
    # Cut before it is normalized, which takes time that grows with the square of the length.
    return account_key(name[:NAME_LENGTH], field_name)


def _username_field(serializer: Any) -> str:
    """Return the name of the field that names the account."""
    fields = [name for name, field in serializer.fields.items() if not field.read_only]
    named = getattr(serializer, "username_field", None) or get_user_model().USERNAME_FIELD
    candidates = [named] if named in fields else [name for name in fields if name != "password"]
    if len(candidates) != 1:
        raise ImproperlyConfigured(
            f"{type(serializer).__name__} has no field {named!r}, by which failed logins are counted. "
            'Write the name of another one into its class, such as username_field = "email".'
        )
    name: str = candidates[0]
    return name


def _network(request: Request) -> str | None:
    """Return the address; of an IPv6 address the part that is not the client's to choose."""
    address = client_info.address(request)
    if address is None or ":" not in address:
        return address
    return str(ipaddress.ip_network((address, 64), strict=False))
