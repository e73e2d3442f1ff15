"""Throttles that count outcomes. ``DEFAULT_THROTTLE_RATES`` replaces the rates of their scopes."""

import hashlib
import ipaddress
from contextlib import suppress
from enum import Enum
from typing import Any

from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.throttling import SimpleRateThrottle

from . import client_info, sessions
from .errors import CacheUnavailableError, InvalidTokenError
from .jose.encoding import encode_id


class Outcome(Enum):
    """What came of a request for a token pair."""

    SUCCESS = "success"
    FAILURE = "failure"
    """Credentials or token were refused."""
    UNDECIDED = "undecided"
    """Nothing was tried: malformed body, throttled request, server error."""


class Counters:
    """A cache whose failure is a ``CacheUnavailableError``, whatever its library raises."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return getattr(self._cache, name)(*args, **kwargs)
            except ValueError:  # Django's, for a count that does not exist
                raise
            except Exception as error:
                raise CacheUnavailableError from error

        return call


def guard(throttle: Any) -> Any:
    """Return the throttle, whose cache now fails with ``CacheUnavailableError`` as in our own."""
    if isinstance(throttle, SimpleRateThrottle) and not isinstance(throttle, OutcomeThrottle):
        vars(throttle)["cache"] = Counters(throttle.cache)
    return throttle


class OutcomeThrottle(SimpleRateThrottle):
    """Refuses a request once ``counted_outcome`` was counted ``num_requests`` times.

    ``acquire`` runs before the request, ``release`` after it, once the outcome is known.

    Counts fixed windows of the rate's period with the atomic counters of the cache. The list of
    timestamps that the REST framework keeps loses what concurrent requests write into it.
    """

    default_rate: str
    duration: int
    """Seconds."""
    num_requests: int
    counted_outcome = Outcome.FAILURE
    key: str | None = None

    @property
    def counters(self) -> Counters:
        """The cache. Raises ``CacheUnavailableError`` if it fails."""
        return Counters(self.cache)

    def get_rate(self) -> str | None:
        """Return the project's rate for this scope, or the default. None switches it off."""
        rates: Any = api_settings.DEFAULT_THROTTLE_RATES
        rate: str | None = rates.get(self.scope, self.default_rate)
        return rate

    def allow_request(self, request: Request, view: Any) -> bool:
        """Whether the request may go on."""
        if self.rate is None:
            return True
        self.key = self.get_cache_key(request, view)
        return self.key is None or self.acquire()

    def acquire(self) -> bool:
        """Whether the limit leaves room for this request. Called at most once a request."""
        return bool(self.counters.get(self.key, 0) < self.num_requests)

    def release(self, outcome: Outcome) -> None:
        """Count the request if its outcome is the counted one."""
        if self.key is not None and outcome is self.counted_outcome:
            self.count()

    def count(self) -> int:
        """Add one to the count, and return it."""
        self.counters.add(self.key, 0, self.duration)
        try:
            return self.change(+1)
        except ValueError:  # it has just expired, or the cache stores nothing
            return 1

    def change(self, by: int) -> int:
        """Add to the count, and return it. Raises ``ValueError`` if there is none."""
        counted: int = self.counters.incr(self.key, by)
        # incr() of Django's file and database caches resets the expiry to their default timeout.
        self.counters.touch(self.key, self.duration)
        return counted

    def wait(self) -> float:
        """Return the seconds until the next window, for ``Retry-After``."""
        return self.duration - self.timer() % self.duration

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        """Return the cache key of this window. The identity in it is hashed."""
        identity = self.get_identity(request, view)
        if identity is None:
            return None
        digest = hashlib.sha256("\n".join(identity).encode("utf-8", "surrogatepass")).hexdigest()
        return self.cache_format % {
            "scope": self.scope,
            "ident": f"{digest}_{int(self.timer() // self.duration)}",
        }

    def get_identity(self, request: Request, view: Any) -> tuple[str, ...] | None:
        """Return what requests that share one count have in common, or None to count nothing."""
        raise NotImplementedError


class LoginAccountThrottle(OutcomeThrottle):
    """Failed logins to one account from all addresses: bounds a guess from many of them.

    A login counts from its start and is taken back unless it fails. Otherwise concurrent guesses
    would not see each other.
    """

    scope = "jwtauth_login_account"
    default_rate = "400/hour"
    is_counted = False

    def acquire(self) -> bool:
        """Count the login. Whether it is within the limit."""
        counted = self.count()
        self.is_counted = True
        return counted <= self.num_requests

    def release(self, outcome: Outcome) -> None:
        """Take back a login that did not fail."""
        if self.is_counted and outcome is not Outcome.FAILURE:
            with suppress(ValueError):  # the window is over
                self.change(-1)

    def get_identity(self, request: Request, view: Any) -> tuple[str, ...] | None:
        """Return the account."""
        return (view.presented_account,)


class LoginThrottle(LoginAccountThrottle):
    """Failed logins to one account from one address. A flood there locks nobody out elsewhere."""

    scope = "jwtauth_login"
    default_rate = "20/hour"

    def get_identity(self, request: Request, view: Any) -> tuple[str, ...] | None:
        """Return account and address."""
        network = _network(request)
        return None if network is None else (view.presented_account, network)


class GoodLoginThrottle(OutcomeThrottle):
    """Successful logins to one account: each one stores a session."""

    scope = "jwtauth_login_good"
    default_rate = "600/hour"
    counted_outcome = Outcome.SUCCESS

    def get_identity(self, request: Request, view: Any) -> tuple[str, ...] | None:
        """Return the account."""
        return (view.presented_account,)


class FailedRefreshThrottle(OutcomeThrottle):
    """Refused refresh tokens from one address. Genuine ones pass: many clients may share it."""

    scope = "jwtauth_refresh_failed"
    default_rate = "60/min"

    def allow_request(self, request: Request, view: Any) -> bool:
        """Whether the request may go on. Asks the database only once the limit is reached."""
        return super().allow_request(request, view) or _is_genuine(view)

    def get_identity(self, request: Request, view: Any) -> tuple[str, ...] | None:
        """Return the address."""
        network = _network(request)
        return None if network is None else (network,)


class RefreshThrottle(OutcomeThrottle):
    """Successful refreshes of one session. Forged tokens that name the session are not counted."""

    scope = "jwtauth_refresh"
    default_rate = "60/min"
    counted_outcome = Outcome.SUCCESS

    def get_identity(self, request: Request, view: Any) -> tuple[str, ...] | None:
        """Return the session that the refresh token names."""
        token = view.presented_token
        return None if token is None else (encode_id(token.session_id),)


class RevokeThrottle(OutcomeThrottle):
    """Revocations of one session; for tokens of no session, those from one address."""

    scope = "jwtauth_revoke"
    default_rate = "60/min"

    def acquire(self) -> bool:
        """Count the request. Whether it is within the limit."""
        return self.count() <= self.num_requests

    def get_identity(self, request: Request, view: Any) -> tuple[str, ...] | None:
        """Return the session, or else the address: garbage stops no logout."""
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
    # A view that presents no refresh token may count its refusals here, too.
    token = getattr(view, "presented_token", None)
    try:
        return token is not None and bool(sessions.by_refresh_token(token))
    except InvalidTokenError:
        return False


def _network(request: Request) -> str | None:
    """Return the address; for IPv6 its /64 network, in which a client can choose any address."""
    address = client_info.address(request)
    if address is None or ":" not in address:
        return address
    return str(ipaddress.ip_network((address, 64), strict=False))
