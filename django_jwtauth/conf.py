"""The schema of the ``JWTAUTH`` setting: a frozen dataclass, read when used, never at import."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from .jose.encoding import is_text

DEFAULT_ISSUER = "django-jwtauth"
ZERO = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Config:
    """One attribute a setting, in lower case, with its default."""

    signing_keys: list[dict[str, Any] | str] | None = field(default=None, repr=False)
    """Ordered: the first that can sign signs, all verify. ``"SECRET_KEY"``, and None, are those derived from that."""
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
    """How long the predecessor of a refresh token still gets the same successor."""
    leeway: timedelta = timedelta(seconds=5)
    """Clock skew allowed for ``exp``, ``nbf`` and ``iat``."""
    denylist_interval: timedelta | None = timedelta(seconds=5)
    """Greatest age of the denylist in memory that a request may use. None: there is no denylist here."""
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
        return self.access_token_lifetime if self.denylist_interval is None else self.denylist_interval

    @cached_property
    def leeway_seconds(self) -> float:
        """``leeway`` as the verifier compares it."""
        return self.leeway.total_seconds()


class Problem(NamedTuple):
    """A mistake in the settings: the id of its system check, what is wrong, what to write."""

    id: str
    message: str
    hint: str


class Rule(NamedTuple):
    """What a setting must be: the id of its check, a test, and the sentence that says what to write."""

    id: str
    accepts: Callable[[Any], bool]
    hint: str
    is_hook: bool = False


def is_count(value: Any) -> bool:
    """Whether a value is a whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_audience(value: Any) -> bool:
    """Whether a value is a text, a list of texts that is not empty, or None."""
    if isinstance(value, list | tuple):
        return len(value) > 0 and all(is_text(item) for item in value)
    return value is None or is_text(value)


def _is_duration(least: timedelta, most: timedelta) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, timedelta) and least <= value <= most


def is_hook(value: Any, *arguments: str) -> bool:
    """Whether a value is a callable that can be called with these arguments, its dotted path, or None."""
    if isinstance(value, str) and not _is_dotted_path(value):
        return False
    try:
        hook = import_string(value) if isinstance(value, str) else value
    except Exception:  # importing runs the project's code, which may raise anything
        return False
    return hook is None or (callable(hook) and not inspect.iscoroutinefunction(hook) and _takes(hook, arguments))


def complaint(value: Any, is_hook: bool) -> str:
    """Say what is wrong with an unusable value; of a hook's dotted path, what importing it raises."""
    if is_hook and isinstance(value, str) and _is_dotted_path(value):
        try:
            import_string(value)
        except Exception as error:  # as in is_hook
            return f"cannot be imported. {type(error).__name__}: {error}"
    return "is not usable."


def _is_dotted_path(value: str) -> bool:
    return all(name.isidentifier() for name in value.split("."))


def _takes(hook: Callable[..., Any], arguments: Iterable[str]) -> bool:
    try:
        inspect.signature(hook).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # one written in C, which does not tell
        return True
    return True


_SECOND = timedelta(seconds=1)
_CENTURY = timedelta(days=36_500)  # not timedelta.max, which no date can be so far from now

RULES = {
    "SIGNING_KEYS": Rule(
        "jwtauth.E003",
        lambda value: value is None or (isinstance(value, list | tuple) and len(value) > 0),
        'Write a non-empty list of keys such as [{"ALGORITHM": "ES256", "PRIVATE_KEY": Path("key.pem")}]. '
        "`manage.py jwtauth_generate_key` makes one.",
    ),
    "ISSUER": Rule("jwtauth.E004", is_text, 'Write a non-empty string such as "https://id.example.com".'),
    "AUDIENCE": Rule(
        "jwtauth.E005", is_audience, "Write a non-empty string, a non-empty list of them, or None for the issuer."
    ),
    "ACCESS_TOKEN_LIFETIME": Rule(
        "jwtauth.E006",
        _is_duration(_SECOND, _CENTURY),
        "Write a timedelta from a second to 36500 days, such as timedelta(minutes=10).",
    ),
    "REFRESH_TOKEN_LIFETIME": Rule(
        "jwtauth.E007",
        _is_duration(_SECOND, _CENTURY),
        "Write a timedelta from a second to 36500 days, such as timedelta(days=14).",
    ),
    "SESSION_LIFETIME": Rule(
        "jwtauth.E008",
        _is_duration(_SECOND, _CENTURY),
        "Write a timedelta from a second to 36500 days, such as timedelta(days=30).",
    ),
    "REUSE_LEEWAY": Rule(
        "jwtauth.E009",
        _is_duration(ZERO, timedelta(seconds=60)),
        "Write a timedelta from 0 to 60 seconds, such as timedelta(seconds=10). A longer one hides theft.",
    ),
    "LEEWAY": Rule(
        "jwtauth.E010",
        _is_duration(ZERO, timedelta(minutes=5)),
        "Write a timedelta from 0 to 5 minutes, such as timedelta(seconds=5).",
    ),
    "DENYLIST_INTERVAL": Rule(
        "jwtauth.E011",
        lambda value: value is None or _is_duration(ZERO, timedelta(minutes=5))(value),
        "Write a timedelta from 0 to 5 minutes, such as timedelta(seconds=5), or None where there is no denylist.",
    ),
    "DENYLIST_MAX_STALENESS": Rule(
        "jwtauth.E012",
        _is_duration(ZERO, timedelta(hours=1)),
        "Write a timedelta of at most an hour, not shorter than DENYLIST_INTERVAL, such as timedelta(seconds=60).",
    ),
    "TOKEN_CACHE_SIZE": Rule("jwtauth.E013", is_count, "Write a whole number such as 4096, or 0 to remember no token."),
    "MAX_SESSIONS_PER_USER": Rule(
        "jwtauth.E014",
        lambda value: value is None or (is_count(value) and 1 <= value <= 10_000),
        "Write a whole number from 1 to 10000, or None for no limit.",
    ),
    "RECORD_CLIENT": Rule("jwtauth.E015", lambda value: isinstance(value, bool), "Write True or False."),
    "CLAIMS": Rule(
        "jwtauth.E016",
        lambda value: is_hook(value, "user", "session", "request"),
        'Write a callable or its dotted path such as "accounts.tokens.claims"; '
        "it takes (user, session, request) and returns a dict.",
        is_hook=True,
    ),
    "TRUSTED_ISSUERS": Rule(
        "jwtauth.E025",
        lambda value: (
            isinstance(value, Mapping)
            and all(is_text(iss) and isinstance(entry, Mapping) for iss, entry in value.items())
        ),
        'Write a dict of issuers such as {"https://id.example.com": {"JWKS_URL": '
        '"https://id.example.com/.well-known/jwks.json", "AUDIENCE": "notes"}}, or {} to trust none.',
    ),
}


def find_problems(raw: Any) -> list[Problem]:
    """Return every mistake that can be seen in the ``JWTAUTH`` dict alone."""
    if not isinstance(raw, Mapping):
        return [Problem("jwtauth.E001", "JWTAUTH is not a dict.", 'Write JWTAUTH = {"ISSUER": "…"} or leave it out.')]
    problems = [
        Problem("jwtauth.E002", f"JWTAUTH has no setting {key!r}.", closest(key, RULES, "settings"))
        for key in raw
        if key not in RULES
    ]
    problems += [
        Problem(rule.id, f"JWTAUTH['{key}'] {complaint(raw[key], rule.is_hook)}", rule.hint)
        for key, rule in RULES.items()
        if key in raw and not rule.accepts(raw[key])
    ]
    return problems or _find_contradictions(_build(raw))


def closest(key: Any, names: Iterable[str], kind: str) -> str:
    """Say which of these names was meant by an unknown one."""
    close = difflib.get_close_matches(str(key).upper(), names, n=1)
    return f"Did you mean '{close[0]}'?" if close else f"The {kind} are: {', '.join(names)}."


def _find_contradictions(config: Config) -> list[Problem]:
    problems = []
    if config.signing_keys is not None and config.issuer == DEFAULT_ISSUER:
        problems.append(
            Problem(
                "jwtauth.E017",
                "JWTAUTH has SIGNING_KEYS but no ISSUER of its own.",
                'Write "ISSUER": the name or URL of this service. Two services that share a key and an issuer '
                "accept each other's tokens.",
            )
        )
    if config.denylist_interval is not None and config.denylist_max_staleness < config.denylist_interval:
        problems.append(
            Problem(
                "jwtauth.E018",
                "JWTAUTH['DENYLIST_MAX_STALENESS'] is shorter than DENYLIST_INTERVAL.",
                RULES["DENYLIST_MAX_STALENESS"].hint,
            )
        )
    return problems


def _build(raw: Mapping[str, Any]) -> Config:
    return Config(**{key.lower(): value for key, value in raw.items()})


@lru_cache(maxsize=1)
def get_config() -> Config:
    """Return the settings in force.

    Raises ``ImproperlyConfigured`` with the first mistake, because a server may start without running
    the system checks.
    """
    # In no variable: an error report would show it, keys and all.
    for problem in find_problems(_raw()):
        raise ImproperlyConfigured(f"{problem.message} {problem.hint} ({problem.id})")
    return _build(_raw())


def _raw() -> Any:
    return getattr(settings, "JWTAUTH", {})


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "JWTAUTH":
        get_config.cache_clear()


setting_changed.connect(_forget, dispatch_uid="django_jwtauth.conf")
