"""System checks. Each mistake has an id of its own and a hint that says what to write."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router
from django.urls import URLResolver, get_resolver
from rest_framework.permissions import AllowAny
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from .conf import DEFAULT_ISSUER, Config, find_problems, get_config
from .denylist.source import tables_differ_by_schema
from .issuers import trusted as issuers
from .issuers.own import FROM_SECRET_KEY, load_keys
from .jose.encoding import encode_id, new_id
from .jose.key_parsing import UnusableKeyError
from .models import write_alias
from .rules.members import Problem
from .rules.values import is_count
from .throttling import THROTTLES
from .tokens.access import TokenCodec, get_codec
from .views import AuthView, TokenObtainView

TOKEN_BUDGET = 1024
"""Warn of a plain access token with more bytes: it travels with every request."""
SIZE_HINT = (
    "Sign with ES256 or EdDSA rather than with a long RSA key, or shorten ISSUER, AUDIENCE and KID."
)
CAMELIZE = "drf_spectacular.contrib.djangorestframework_camel_case.camelize_serializer_fields"
KEEP_NAMES = "django_jwtauth.openapi.keep_field_names"
NO_DATABASE = "django.db.backends.dummy"
"""What Django makes of ``DATABASES = {}``."""
Check = Callable[..., list[checks.CheckMessage]]
OTHERS = stat.S_IROTH | stat.S_IWOTH
STRAY_SETTINGS = ("JWT_AUTH", "SIMPLE_JWT", "JWT_AUTHENTICATION", "DJANGO_JWTAUTH")


def register() -> None:
    """Register all checks with Django."""
    for check in (
        check_settings,
        check_keys,
        check_trusted_issuers,
        check_denylist,
        check_token_size,
        check_user_model,
        check_stray_settings,
        check_throttles,
        check_schema_hooks,
        check_router,
        check_tenants,
        check_autocommit,
        check_authentication,
    ):
        checks.register(check, checks.Tags.security)
    for check in (check_issuer_is_own, check_throttle_cache, check_proxies):
        checks.register(check, checks.Tags.security, deploy=True)


def given(*finders: Callable[[], Any]) -> Callable[[Check], Check]:
    """Pass on what each of these finds, and skip the check if one finds None.

    They find None for a mistake that another check reports.
    """

    def decorate(check: Check) -> Check:
        @wraps(check)
        def run(**kwargs: Any) -> list[checks.CheckMessage]:
            found = [find() for find in finders]
            return [] if None in found else check(*found, **kwargs)

        return run

    return decorate


def _find_config() -> Config | None:
    """Return the settings, unless ``check_settings`` reports them."""
    try:
        return get_config()
    except ImproperlyConfigured:
        return None


def _find_codec() -> TokenCodec | None:
    """Return the codec, unless the checks of settings, keys or issuers report it."""
    try:
        return get_codec()
    except ImproperlyConfigured:
        return None


def _find_alias() -> str | None:
    """Return the one database of our tables, unless ``check_router`` reports it."""
    try:
        aliases = _aliases()
    except Exception:
        return None
    return aliases.pop() if len(aliases) == 1 and aliases <= set(connections) else None


def check_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """The JWTAUTH dict has no mistake that shows in it alone."""
    return _errors(find_problems(getattr(settings, "JWTAUTH", {})))


def _errors(problems: Iterable[Problem]) -> list[checks.CheckMessage]:
    return [checks.Error(message, hint=hint, id=id) for id, message, hint in problems]


@given(_find_config)
def check_keys(config: Config, **kwargs: Any) -> list[checks.CheckMessage]:
    """Every key can be loaded, a private one is in no world-readable file, and one can sign."""
    errors: list[checks.CheckMessage] = []
    warnings: list[checks.CheckMessage] = []
    places: dict[str, str] = {}
    can_sign = False
    for position, entry in enumerate(config.signing_keys or [FROM_SECRET_KEY]):
        place = f"JWTAUTH['SIGNING_KEYS'][{position}]"
        try:
            keys = load_keys(entry)
        # Django raises ImproperlyConfigured for an empty SECRET_KEY.
        except (UnusableKeyError, ImproperlyConfigured) as error:
            errors.append(_unusable(entry, place, str(error)))
            continue
        warnings += _exposed(entry, place)
        twins = {places[key.kid] for key in keys if key.kid in places}
        errors += [
            checks.Error(
                f"{place} has the KID of {twin}.",
                hint="Give each key a KID of its own.",
                id="jwtauth.E021",
            )
            for twin in twins
        ]
        places |= {key.kid: place for key in keys}
        can_sign = can_sign or any(key.signing_key is not None for key in keys)
    if not errors and not can_sign:
        errors = [
            checks.Error(
                "JWTAUTH['SIGNING_KEYS'] has no key that can sign.",
                hint=(
                    "Write a key with PRIVATE_KEY or SECRET. `manage.py jwtauth_generate_key` "
                    "makes one."
                ),
                id="jwtauth.E022",
            )
        ]
    return errors or warnings


def _unusable(entry: Any, place: str, hint: str) -> checks.CheckMessage:
    if entry == FROM_SECRET_KEY:
        return checks.Error("No key can be derived from SECRET_KEY.", hint=hint, id="jwtauth.E024")
    return checks.Error(f"{place} cannot be used.", hint=hint, id="jwtauth.E020")


def _exposed(entry: Any, place: str) -> list[checks.CheckMessage]:
    path = entry.get("PRIVATE_KEY") if isinstance(entry, Mapping) else None
    # On other systems the mode bits mean nothing.
    if not isinstance(path, Path) or os.name != "posix" or not _is_open_to_others(path.resolve()):
        return []
    return [
        checks.Warning(
            f"{place}: every user of this machine can read or replace the file {path}.",
            hint=f"Give it to the user whom the site runs as: chown, and chmod 600 {path}",
            id="jwtauth.W007",
        )
    ]


def _is_open_to_others(path: Path) -> bool:
    mode = path.stat().st_mode
    # Kubernetes mounts secrets read-only into one container: files with 0644 in such a folder.
    if path.parent.name.startswith("..") and not mode & stat.S_IWOTH:
        return False
    return bool(mode & OTHERS) and all(
        folder.stat().st_mode & stat.S_IXOTH for folder in path.parents
    )


@given(_find_config)
def check_trusted_issuers(config: Config, **kwargs: Any) -> list[checks.CheckMessage]:
    """Every entry of TRUSTED_ISSUERS can be used, and tells access tokens from other tokens."""
    problems = issuers.find_problems(config)
    if problems:
        return _errors(problems)
    try:
        trusted = issuers.trusted_issuers()
    except ImproperlyConfigured as error:
        return [
            checks.Error(
                "JWTAUTH['TRUSTED_ISSUERS'] has a key that cannot be used.",
                hint=str(error),
                id="jwtauth.E028",
            )
        ]
    return [warning for iss, issuer in trusted.items() for warning in _doubts(iss, issuer)]


def _doubts(iss: str, issuer: issuers.TrustedIssuer) -> Iterator[checks.CheckMessage]:
    place = f"JWTAUTH['TRUSTED_ISSUERS'][{iss!r}]"
    if issuer.is_confusable:
        yield checks.Warning(
            f"{place} accepts tokens that are not marked as access tokens.",
            hint="An ID token whose audience is the same would be taken for an access token (RFC "
            "8725 section 3.12). "
            "Have the issuer write the header typ at+jwt and leave TYP out, or write "
            "REQUIRED_CLAIMS that only "
            'its access tokens have, such as {"token_use": "access"}.',
            id="jwtauth.W005",
        )
    for position in issuer.keys_without_kid:
        yield checks.Warning(
            f"{place}['KEYS'][{position}] has no KID, and another key has its algorithm.",
            hint="Write the KID that the issuer's tokens name. If they name none, write one key "
            "of an algorithm: "
            "a token without kid is accepted only where a single key fits it.",
            id="jwtauth.W013",
        )


@given(_find_config, _find_alias)
def check_denylist(config: Config, alias: str, **kwargs: Any) -> list[checks.CheckMessage]:
    """The denylist is read if there is a database, and only then."""
    has_database = connections.settings[alias]["ENGINE"] != NO_DATABASE
    has_denylist = config.denylist_interval is not None
    if has_denylist and not has_database:
        return [
            checks.Error(
                "There is no database to read the denylist from.",
                hint=(
                    'Write "DENYLIST_INTERVAL": None into JWTAUTH if this service only verifies '
                    "tokens. It then accepts an access token until it expires, revoked or not. "
                    "Otherwise write DATABASES."
                ),
                id="jwtauth.E029",
            )
        ]
    if has_database and not has_denylist:
        return [
            checks.Warning(
                "The denylist is not read: access tokens are accepted until they expire, revoked "
                "or not.",
                hint=(
                    "Leave DENYLIST_INTERVAL out, or silence this where the database is not the "
                    "one of the issuer."
                ),
                id="jwtauth.W006",
            )
        ]
    return []


@given(_find_config, _find_codec)
def check_token_size(config: Config, codec: TokenCodec, **kwargs: Any) -> list[checks.CheckMessage]:
    """An access token without claims of the project is within its budget."""
    if codec.own.ring.signing_key is None:
        return []  # check_keys reports it
    plain = {
        "iss": config.issuer,
        "sub": "1",
        "aud": config.audiences,
        "exp": 10**10,
        "iat": 10**10,
    }
    try:
        size = len(codec.encode(plain | {"jti": encode_id(new_id()), "sid": encode_id(new_id())}))
    except ValueError as error:
        return [
            checks.Error(
                f"An access token would not be read even without claims of your own. {error}",
                hint=SIZE_HINT,
                id="jwtauth.E023",
            )
        ]
    if size <= TOKEN_BUDGET:
        return []
    return [
        checks.Warning(
            f"An access token has {size} bytes even without claims of your own; {TOKEN_BUDGET} "
            "are enough.",
            hint=SIZE_HINT,
            id="jwtauth.W003",
        )
    ]


@given(_find_alias)
def check_user_model(alias: str, **kwargs: Any) -> list[checks.CheckMessage]:
    """Users and sessions are in one database: they are read together and refer to each other."""
    if router.db_for_write(get_user_model()) == alias:
        return []
    return [
        checks.Error(
            "The user model and the tables of jwtauth are in different databases.",
            hint=(
                "Route the app label 'jwtauth' to the database of the user model in "
                "DATABASE_ROUTERS."
            ),
            id="jwtauth.E019",
        )
    ]


def check_router(**kwargs: Any) -> list[checks.CheckMessage]:
    """All requests and threads use one database for the tables of this app."""
    try:
        aliases = _aliases()
    except Exception as error:
        found = f"raises {type(error).__name__} outside of a request"
    else:
        if len(aliases) == 1 and aliases <= set(connections):
            return []
        found = f"names {', '.join(sorted(map(repr, aliases)))}"
    return [
        checks.Error(
            f"The database router {found} for the tables of jwtauth.",
            hint="Have db_for_write return one alias of DATABASES for the app label 'jwtauth', "
            "always and in every "
            "thread. Each process holds one denylist, and tokens of different databases are not "
            "told apart.",
            id="jwtauth.E038",
        )
    ]


def _aliases() -> set[str]:
    """Return the answers of the routers, here and in a thread without a request.

    Raises whatever they raise.
    """
    with ThreadPoolExecutor(max_workers=1) as elsewhere:
        return {write_alias(), write_alias(), elsewhere.submit(write_alias).result()}


@given(_find_alias)
def check_tenants(alias: str, **kwargs: Any) -> list[checks.CheckMessage]:
    """No tenant has a schema with sessions or users of its own."""
    if not tables_differ_by_schema():
        return []
    return [
        checks.Error(
            "Each tenant has tables of its own for sessions or users.",
            hint="Move 'django_jwtauth' and the app of the user model from TENANT_APPS to "
            "SHARED_APPS. Each process "
            "holds one denylist: revoked tokens would be accepted, and those of one tenant by the "
            "others.",
            id="jwtauth.E037",
        )
    ]


@given(_find_alias)
def check_autocommit(alias: str, **kwargs: Any) -> list[checks.CheckMessage]:
    """Writes outside of a transaction are committed."""
    if connections.settings[alias]["AUTOCOMMIT"]:
        return []
    return [
        checks.Error(
            f"DATABASES[{alias!r}]['AUTOCOMMIT'] is False: sessions and revocations are not "
            "committed.",
            hint=(
                "Leave AUTOCOMMIT out, and write ATOMIC_REQUESTS where each request is to be one "
                "transaction."
            ),
            id="jwtauth.E039",
        )
    ]


def check_stray_settings(**kwargs: Any) -> list[checks.CheckMessage]:
    """No setting for JWTs is one that this package does not read."""
    return [
        checks.Warning(
            f"The setting {name} is not read by django_jwtauth.",
            hint="Write JWTAUTH = {…}; remove the other one when nothing else reads it.",
            id="jwtauth.W001",
        )
        for name in STRAY_SETTINGS
        if hasattr(settings, name)
    ]


def check_throttles(**kwargs: Any) -> list[checks.CheckMessage]:
    """The proxies and rates in REST_FRAMEWORK can be used by the throttles."""
    errors: list[checks.CheckMessage] = []
    proxies = api_settings.NUM_PROXIES
    if not (proxies is None or is_count(proxies)):
        errors.append(
            checks.Error(
                "REST_FRAMEWORK['NUM_PROXIES'] is not usable.",
                hint=(
                    "Write how many proxies are in front of the site, a whole number such as 1, or "
                    "leave it out."
                ),
                id="jwtauth.E030",
            )
        )
    for throttle in THROTTLES:
        try:
            throttle()
        # The REST framework does not validate rates.
        except (KeyError, IndexError, ValueError, TypeError, AttributeError):
            errors.append(
                checks.Error(
                    f"REST_FRAMEWORK['DEFAULT_THROTTLE_RATES'][{throttle.scope!r}] is not usable.",
                    hint=(
                        f"Write a rate such as {throttle.default_rate!r}, or None to switch it off."
                    ),
                    id="jwtauth.E031",
                )
            )
    return errors


def check_schema_hooks(**kwargs: Any) -> list[checks.CheckMessage]:
    """An OpenAPI schema in camelCase keeps the field names of our endpoints."""
    hooks = list(getattr(settings, "SPECTACULAR_SETTINGS", {}).get("POSTPROCESSING_HOOKS", ()))
    if CAMELIZE not in hooks or KEEP_NAMES in hooks[hooks.index(CAMELIZE) :]:
        return []
    return [
        checks.Warning(
            "The OpenAPI schema says camelCase where the endpoints of jwtauth say snake_case.",
            hint=(
                f"Write {KEEP_NAMES!r} behind {CAMELIZE!r} into "
                "SPECTACULAR_SETTINGS['POSTPROCESSING_HOOKS']."
            ),
            id="jwtauth.W011",
        )
    ]


def check_authentication(**kwargs: Any) -> list[checks.CheckMessage]:
    """If this site issues tokens, one of its closed views accepts them.

    Silent if that cannot be known, because a view has an authentication class of the project's own
    or chooses its classes at run time; and if no view requires authentication.
    """
    if not hasattr(settings, "ROOT_URLCONF"):
        return []
    found = list(_api_views(get_resolver()))
    others = [(view, options) for view, options in found if not issubclass(view, AuthView)]
    used = [_option(view, options, "authentication_classes") for view, options in others]
    used.append(api_settings.DEFAULT_AUTHENTICATION_CLASSES)
    closed = [view for view, options in others if _is_closed(view, options)]
    is_known = all(
        view.get_authenticators is APIView.get_authenticators  # chosen at run time otherwise
        for view, _ in others
    ) and all(
        getattr(each, "__module__", "") == "rest_framework.authentication"
        for classes in used
        for each in classes
    )
    issues_tokens = any(issubclass(view, TokenObtainView) for view, _ in found)
    if not closed or not is_known or not issues_tokens:
        return []
    example = f"{closed[0].__module__}.{closed[0].__qualname__}"
    return [
        checks.Warning(
            f"No view accepts the access tokens of this site. One that refuses them is {example}.",
            hint='Add "django_jwtauth.authentication.JWTAuthentication" as the first item to '
            "REST_FRAMEWORK['DEFAULT_AUTHENTICATION_CLASSES'], or to authentication_classes of "
            "the views; or silence "
            "this where only other services accept them.",
            id="jwtauth.W014",
        )
    ]


def _api_views(resolver: URLResolver) -> Iterator[tuple[type[APIView], Mapping[str, Any]]]:
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from _api_views(entry)
        elif isinstance(view := getattr(entry.callback, "cls", None), type) and issubclass(
            view, APIView
        ):
            yield view, getattr(entry.callback, "initkwargs", {})


def _option(view: type[APIView], options: Mapping[str, Any], name: str) -> Any:
    return options.get(name, getattr(view, name))


def _is_closed(view: type[APIView], options: Mapping[str, Any]) -> bool:
    return (
        not view.__module__.startswith(("rest_framework.", "drf_"))
        and view.get_permissions is APIView.get_permissions
        and any(
            permission is not AllowAny
            for permission in _option(view, options, "permission_classes")
        )
        and len(_option(view, options, "authentication_classes")) > 0
    )


@given(_find_config)
def check_issuer_is_own(config: Config, **kwargs: Any) -> list[checks.CheckMessage]:
    """In production the issuer names this service and no other."""
    if config.issuer != DEFAULT_ISSUER:
        return []
    return [
        checks.Warning(
            f"JWTAUTH['ISSUER'] is the default, {DEFAULT_ISSUER!r}.",
            hint=(
                'Write "ISSUER": the name or URL of this service. Two services that share a secret '
                "and an issuer accept each other's tokens."
            ),
            id="jwtauth.W002",
        )
    ]


def check_throttle_cache(**kwargs: Any) -> list[checks.CheckMessage]:
    """In production all processes share one count of failed logins."""
    backend = settings.CACHES.get("default", {}).get("BACKEND", "")
    if not backend.endswith((".LocMemCache", ".DummyCache")):
        return []
    return [
        checks.Warning(
            "Failed logins are not counted across processes, because the default cache is not "
            "shared.",
            hint="Write a shared cache into CACHES, such as "
            "django.core.cache.backends.redis.RedisCache, "
            "or silence this where a server in front of the site limits attempts.",
            id="jwtauth.W004",
        )
    ]


def check_proxies(**kwargs: Any) -> list[checks.CheckMessage]:
    """In production NUM_PROXIES is set."""
    if api_settings.NUM_PROXIES is not None:
        return []
    return [
        checks.Warning(
            "REST_FRAMEWORK['NUM_PROXIES'] is not set.",
            hint="Write how many proxies are in front of the site, or 0 if there is none. Behind "
            "a proxy that is not "
            "counted all clients share one address: in sessions, in the audit log and in "
            "throttles.",
            id="jwtauth.W010",
        )
    ]
