"""The products behind one interface. Each runs in a process of its own, so each imports its own modules only."""

import io
import secrets
import time
from base64 import b64encode
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from django.apps import apps
from django.core.management import call_command
from django.utils.module_loading import import_string

from . import settings

PASSWORD = "a password"  # noqa: S105
CHUNK = 5000


class Tokens(NamedTuple):
    """What a login hands out. ``refresh`` is empty where a product has no refresh tokens."""

    access: str
    refresh: str = ""


class Product:
    """The interface, and the product that is no authentication."""

    package = ""
    classes: tuple[str, ...] = ()
    """Authentication classes, the default one first."""
    views: tuple[tuple[str, str], ...] = ()
    """Endpoints (obtain, refresh, revoke) and their views."""
    authentication = "authentication"
    """The module of the authentication classes."""
    scheme = "Bearer"
    model = ""
    """What a login is stored as."""
    prune_command = ""

    def load(self, name: str) -> Any:
        return import_string(f"{self.package}.{name}")

    @property
    def rows(self) -> Any:
        return apps.get_model(self.model)._base_manager

    def issue(self, user: Any) -> Tokens:
        """Log a user in."""
        return Tokens(secrets.token_urlsafe(234))

    def mint(self, user: Any) -> str:
        """Return a new access token, without a row where the product can do that."""
        return self.issue(user).access

    def refresh(self, token: str) -> Tokens:
        """Exchange a refresh token by the function behind the endpoint."""
        raise NotImplementedError

    def body(self, endpoint: str, user: Any, tokens: Tokens) -> dict[str, str]:
        """Return what to send to an endpoint."""
        return (
            {"username": user.username, "password": PASSWORD} if endpoint == "obtain" else {"refresh": tokens.refresh}
        )

    def header(self, endpoint: str, user: Any, tokens: Tokens) -> str:
        """Return the Authorization header for an endpoint."""
        return ""

    def read(self, answer: dict[str, Any]) -> Tokens:
        """Return the tokens in an answer."""
        return Tokens(answer["access"], answer["refresh"])

    def row(self, user: Any, begun: datetime, expires: datetime) -> Any:
        """Return a row as a login leaves it."""
        raise NotImplementedError

    def fill(self, users: list[Any], count: int, newest: datetime) -> None:
        """Store the rows of so many logins that expire one after the other, the last at ``newest``."""
        for start in range(0, count, CHUNK):
            expiries = [newest - timedelta(seconds=n / 10) for n in range(start, min(start + CHUNK, count))]
            rows = [self.row(secrets.choice(users), expires - timedelta(days=14), expires) for expires in expiries]
            self.rows.bulk_create(rows, batch_size=1000)

    def fill_refreshed(self, users: list[Any], count: int, newest: datetime) -> None:
        """Store what so many logins leave that were refreshed once each."""
        self.fill(users, count, newest)

    def prune(self) -> None:
        """Run the command that deletes what has expired."""
        call_command(self.prune_command, stdout=io.StringIO())


class JWTAuth(Product):
    """This app."""

    package = "django_jwtauth"
    classes = ("JWTAuthentication", "JWTActiveUserAuthentication", "JWTStatelessAuthentication")
    views = (("obtain", "TokenObtainView"), ("refresh", "TokenRefreshView"), ("revoke", "TokenRevokeView"))
    model = "jwtauth.Session"
    prune_command = "jwtauth_prune"

    def issue(self, user: Any) -> Tokens:
        pair = self.load("sessions.start")(user)
        return Tokens(pair.access_token, pair.refresh_token)

    def mint(self, user: Any) -> str:
        """Sign what ``sessions.start`` would, without a session."""
        issuer, now, new_id = self.load("conf.get_config")().issuer, int(time.time()), self.load("encoding.new_id")
        claims = {"iss": issuer, "sub": str(user.pk), "aud": issuer, "exp": now + 36000, "iat": now}
        ids = {name: self.load("encoding.encode_id")(new_id()) for name in ("jti", "sid")}
        return str(self.load("tokens.get_codec")().encode(claims | ids))

    def refresh(self, token: str) -> Tokens:
        pair = self.load("sessions.refresh")(token)
        return Tokens(pair.access_token, pair.refresh_token)

    def body(self, endpoint: str, user: Any, tokens: Tokens) -> dict[str, str]:
        if endpoint == "obtain":
            return super().body(endpoint, user, tokens)
        return {"refresh_token" if endpoint == "refresh" else "token": tokens.refresh}

    def read(self, answer: dict[str, Any]) -> Tokens:
        return Tokens(answer["access_token"], answer["refresh_token"])

    def row(self, user: Any, begun: datetime, expires: datetime) -> Any:
        times = {"created_at": begun, "refreshed_at": begun, "access_expires_at": begun + timedelta(minutes=10)}
        client = {"ip_address": "203.0.113.77", "user_agent": "Firefox on Linux"}
        ends = {"expires_at": expires, "ends_at": begun + timedelta(days=30)}
        return self.rows.model(user_id=user.pk, auth_hash=secrets.token_hex(32), **times, **ends, **client)


class SimpleJWT(Product):
    """djangorestframework-simplejwt with its blacklist."""

    package = "rest_framework_simplejwt"
    classes = ("JWTAuthentication", "JWTStatelessUserAuthentication")
    views = (("obtain", "TokenObtainPairView"), ("refresh", "TokenRefreshView"), ("revoke", "TokenBlacklistView"))
    model = "token_blacklist.OutstandingToken"
    prune_command = "flushexpiredtokens"

    def issue(self, user: Any) -> Tokens:
        token = self.load("tokens.RefreshToken").for_user(user)
        return Tokens(str(token.access_token), str(token))

    def mint(self, user: Any) -> str:
        return str(self.load("tokens.AccessToken").for_user(user))

    def refresh(self, token: str) -> Tokens:
        serializer = self.load("serializers.TokenRefreshSerializer")(data={"refresh": token})
        serializer.is_valid(raise_exception=True)
        return self.read(serializer.validated_data)

    def row(self, user: Any, begun: datetime, expires: datetime) -> Any:
        token = secrets.token_urlsafe(self.length)[: self.length]
        times = {"created_at": begun, "expires_at": expires}
        return self.rows.model(user_id=user.pk, jti=secrets.token_hex(16), token=token, **times)

    def fill_refreshed(self, users: list[Any], count: int, newest: datetime) -> None:
        self.fill(users, 2 * count, newest)
        blacklist = self.load("token_blacklist.models.BlacklistedToken")._base_manager
        keys = list(self.rows.order_by("pk").values_list("pk", flat=True)[:count])
        for start in range(0, count, CHUNK):
            rows = [blacklist.model(token_id=key) for key in keys[start : start + CHUNK]]
            blacklist.bulk_create(rows, batch_size=1000)

    @cached_property
    def length(self) -> int:
        """How long a token is that was really issued."""
        return len(self.rows.first().token)


class Knox(Product):
    """django-rest-knox: opaque tokens, looked up at every request, and no refresh tokens."""

    package = "knox"
    authentication = "auth"
    classes = ("TokenAuthentication",)
    views = (("obtain", "LoginView"), ("revoke", "LogoutView"))
    scheme = "Token"
    model = "knox.AuthToken"

    def issue(self, user: Any) -> Tokens:
        return Tokens(apps.get_model(self.model)._default_manager.create(user)[1])

    def body(self, endpoint: str, user: Any, tokens: Tokens) -> dict[str, str]:
        return {}

    def header(self, endpoint: str, user: Any, tokens: Tokens) -> str:
        credentials = b64encode(f"{user.username}:{PASSWORD}".encode()).decode()
        return f"Basic {credentials}" if endpoint == "obtain" else f"Token {tokens.access}"

    def read(self, answer: dict[str, Any]) -> Tokens:
        return Tokens(answer["token"])

    def row(self, user: Any, begun: datetime, expires: datetime) -> Any:
        key = {"digest": secrets.token_hex(64), "token_key": secrets.token_hex(8)[:15]}
        return self.rows.model(user_id=user.pk, expiry=expires, **key)


PRODUCT: Product = {"none": Product, "jwtauth": JWTAuth, "simplejwt": SimpleJWT, "knox": Knox}[settings.PRODUCT]()
