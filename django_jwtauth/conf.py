"""The schema of the ``JWTAUTH`` setting: a frozen dataclass, read when used, never at import."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from .process.memory import cached_by_settings
from .rules.members import Problem, Rule, check_members, raise_first
from .rules.values import (
    dict_of,
    duration,
    hook,
    instance_of,
    is_count,
    is_filled_list,
    is_text,
    none_or,
    one_or_more,
)

DEFAULT_ISSUER = "django-jwtauth"
ZERO = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Config:
    """One attribute a setting, in lower case, with its default."""

    signing_keys: list[dict[str, Any] | str] | None = field(default=None, repr=False)
    """Ordered: the first that can sign signs, all verify.

    ``"SECRET_KEY"`` stands for the keys derived from it and its fallbacks; None is those alone.
    """
    issuer: str = DEFAULT_ISSUER
    """The ``iss`` claim, written and required."""
    audience: str | list[str] | tuple[str, ...] | None = None
    """The ``aud`` claim: all are written, any one is accepted. None: the issuer."""
    access_token_lifetime: timedelta = timedelta(minutes=10)
    """How long an access token is good, exactly."""
    refresh_token_lifetime: timedelta = timedelta(days=14)
    """How long a session lives without being refreshed."""
    session_lifetime: timedelta = timedelta(days=30)
    """How long a session lives at most."""
    reuse_leeway: timedelta = timedelta(seconds=10)
    """Grace period: the previous refresh token may be sent again and gets the same new one."""
    leeway: timedelta = timedelta(seconds=5)
    """Clock skew allowed for ``exp``, ``nbf`` and ``iat``."""
    denylist_interval: timedelta | None = timedelta(seconds=5)
    """Maximum age of the denylist in memory that a request may use. None: no denylist here."""
    denylist_max_staleness: timedelta = timedelta(seconds=60)
    """The same while the database does not answer."""
    token_cache_size: int = 4096
    """Verified access tokens remembered in each process."""
    max_sessions_per_user: int | None = 1000
    """Maximum live sessions per user; a further login ends the oldest. None: no limit."""
    record_client: bool = True
    """Whether sessions keep address and user-agent label."""
    claims: str | Callable[..., Mapping[str, Any]] | None = None
    """``(user, session, request) -> dict`` of further claims, or its dotted path."""
    trusted_issuers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """Other issuers whose access tokens are accepted, and on which conditions."""

    @cached_property
    def audiences(self) -> tuple[str, ...]:
        """The audience as a tuple, whatever its spelling."""
        if self.audience is None:
            return (self.issuer,)
        return (self.audience,) if isinstance(self.audience, str) else tuple(self.audience)

    @cached_property
    def accepted_audiences(self) -> frozenset[str]:
        """The audience as the verifier compares it."""
        return frozenset(self.audiences)

    @cached_property
    def claims_hook(self) -> Callable[..., Mapping[str, Any]] | None:
        """The callable behind ``claims``."""
        return import_string(self.claims) if isinstance(self.claims, str) else self.claims

    @property
    def revoked_within(self) -> timedelta:
        """How long the access tokens of a revoked session may still be accepted."""
        interval = self.denylist_interval
        return self.access_token_lifetime if interval is None else interval

    @cached_property
    def leeway_seconds(self) -> float:
        """``leeway`` as the verifier compares it."""
        return self.leeway.total_seconds()


_SECOND = timedelta(seconds=1)
_CENTURY = timedelta(days=36_500)
"""Not ``timedelta.max``: now plus a lifetime must be a date."""

RULES = {
    "SIGNING_KEYS": Rule(
        none_or(is_filled_list),
        'Write a non-empty list of keys such as [{"ALGORITHM": "ES256", "PRIVATE_KEY": '
        'Path("key.pem")}]. `manage.py jwtauth_generate_key` makes one.',
        id="jwtauth.E003",
    ),
    "ISSUER": Rule(
        is_text,
        'Write a non-empty string such as "https://id.example.com".',
        id="jwtauth.E004",
    ),
    "AUDIENCE": Rule(
        none_or(one_or_more(is_text)),
        "Write a non-empty string, a non-empty list of them, or None for the issuer.",
        id="jwtauth.E005",
    ),
    "ACCESS_TOKEN_LIFETIME": Rule(
        duration(_SECOND, _CENTURY),
        "Write a timedelta from a second to 36500 days, such as timedelta(minutes=10).",
        id="jwtauth.E006",
    ),
    "REFRESH_TOKEN_LIFETIME": Rule(
        duration(_SECOND, _CENTURY),
        "Write a timedelta from a second to 36500 days, such as timedelta(days=14).",
        id="jwtauth.E007",
    ),
    "SESSION_LIFETIME": Rule(
        duration(_SECOND, _CENTURY),
        "Write a timedelta from a second to 36500 days, such as timedelta(days=30).",
        id="jwtauth.E008",
    ),
    "REUSE_LEEWAY": Rule(
        duration(ZERO, timedelta(seconds=60)),
        "Write a timedelta from 0 to 60 seconds, such as timedelta(seconds=10). A longer one "
        "hides theft.",
        id="jwtauth.E009",
    ),
    "LEEWAY": Rule(
        duration(ZERO, timedelta(minutes=5)),
        "Write a timedelta from 0 to 5 minutes, such as timedelta(seconds=5).",
        id="jwtauth.E010",
    ),
    "DENYLIST_INTERVAL": Rule(
        none_or(duration(ZERO, timedelta(minutes=5))),
        "Write a timedelta from 0 to 5 minutes, such as timedelta(seconds=5), or None where there "
        "is no denylist.",
        id="jwtauth.E011",
    ),
    "DENYLIST_MAX_STALENESS": Rule(
        duration(ZERO, timedelta(hours=1)),
        "Write a timedelta of at most an hour, not shorter than DENYLIST_INTERVAL, such as "
        "timedelta(seconds=60).",
        id="jwtauth.E012",
    ),
    "TOKEN_CACHE_SIZE": Rule(
        is_count,
        "Write a whole number such as 4096, or 0 to remember no token.",
        id="jwtauth.E013",
    ),
    "MAX_SESSIONS_PER_USER": Rule(
        none_or(lambda value: is_count(value) and 1 <= value <= 10_000),
        "Write a whole number from 1 to 10000, or None for no limit.",
        id="jwtauth.E014",
    ),
    "RECORD_CLIENT": Rule(instance_of(bool), "Write True or False.", id="jwtauth.E015"),
    "CLAIMS": Rule(
        hook("user", "session", "request"),
        'Write a callable or its dotted path such as "accounts.tokens.claims"; '
        "it takes (user, session, request) and returns a dict.",
        id="jwtauth.E016",
    ),
    "TRUSTED_ISSUERS": Rule(
        dict_of(instance_of(Mapping)),
        'Write a dict of issuers such as {"https://id.example.com": {"JWKS_URL": '
        '"https://id.example.com/.well-known/jwks.json", "AUDIENCE": "notes"}}, or {} to trust '
        "none.",
        id="jwtauth.E025",
    ),
}


def find_problems(raw: Any) -> list[Problem]:
    """Return every mistake that can be seen in the ``JWTAUTH`` dict alone."""
    if not isinstance(raw, Mapping):
        hint = 'Write JWTAUTH = {"ISSUER": "…"} or leave it out.'
        return [Problem("jwtauth.E001", "JWTAUTH is not a dict.", hint)]
    problems = check_members("JWTAUTH", raw, RULES, id="jwtauth.E002", kind="setting")
    return problems or list(_find_contradictions(_build(raw)))


def _find_contradictions(config: Config) -> Iterator[Problem]:
    if config.signing_keys is not None and config.issuer == DEFAULT_ISSUER:
        yield Problem(
            "jwtauth.E017",
            "JWTAUTH has SIGNING_KEYS but no ISSUER of its own.",
            'Write "ISSUER": the name or URL of this service. Two services that share a key and an '
            "issuer accept each other's tokens.",
        )
    interval = config.denylist_interval
    if interval is not None and config.denylist_max_staleness < interval:
        yield Problem(
            "jwtauth.E018",
            "JWTAUTH['DENYLIST_MAX_STALENESS'] is shorter than DENYLIST_INTERVAL.",
            RULES["DENYLIST_MAX_STALENESS"].hint,
        )


def _build(raw: Mapping[str, Any]) -> Config:
    return Config(**{key.lower(): value for key, value in raw.items()})


@cached_by_settings("JWTAUTH")
def get_config() -> Config:
    """Return the settings in force.

    Raises ``ImproperlyConfigured`` with the first mistake, because a server may start without
    running the system checks.
    """
    # Not in a local variable: error reports would show it, keys included.
    raise_first(find_problems(_raw()))
    return _build(_raw())


def _raw() -> Any:
    return getattr(settings, "JWTAUTH", {})
