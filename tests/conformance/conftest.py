"""Clients of the example project, which know nothing of the app but its URLs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jwt
import pytest
from rest_framework.test import APIClient

from django_jwtauth.models import Session
from tests.conformance.tokens import ISSUER, PING
from tests.support.answers import assert_bearer_refused

OBTAIN, REFRESH, REVOKE = "/auth/token/", "/auth/token/refresh/", "/auth/token/revoke/"


@pytest.fixture
def _issuer(db: None, jwtauth: Any) -> None:
    """Accept what tests.conformance.tokens makes."""
    jwtauth(**ISSUER)


@pytest.fixture
def call(client: APIClient) -> Callable[..., Any]:
    """Return a function that calls the API with an access token."""
    return lambda token, path=PING: client.get(path, HTTP_AUTHORIZATION=f"Bearer {token}")


@pytest.fixture
def refuses(call: Callable[..., Any]) -> Callable[..., None]:
    """Return a function that fails unless the API refuses an access token."""

    def refuses(token: str, code: str = "token_invalid", path: str = PING) -> None:
        assert_bearer_refused(call(token, path), code)

    return refuses


@pytest.fixture
def log_in(client: APIClient, user: Any) -> Callable[..., Any]:
    """Return a function that logs alice in and returns the answer."""

    def log_in(username: str = "alice", password: str = "correct horse", **extra: Any) -> Any:
        return client.post(OBTAIN, {"username": username, "password": password}, format="json", **extra)

    return log_in


@pytest.fixture
def refresh(client: APIClient) -> Callable[[str], Any]:
    """Return a function that presents a refresh token and returns the answer."""
    return lambda token: client.post(REFRESH, {"refresh_token": token}, format="json")


@pytest.fixture
def revoke(client: APIClient) -> Callable[[str], Any]:
    """Return a function that logs out with a token and returns the answer."""
    return lambda token: client.post(REVOKE, {"token": token}, format="json")


@pytest.fixture
def _unthrottled(settings: Any) -> None:
    """Let one session, and one address, refresh as often as it likes."""
    rates = {"jwtauth_refresh": None, "jwtauth_refresh_failed": None}
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": rates}


@pytest.fixture
def tokens(log_in: Callable[..., Any]) -> Any:
    """The body of the answer to a login."""
    return log_in().json()


def claims_of(access_token: str) -> dict[str, Any]:
    """What an access token says, whoever signed it."""
    claims: dict[str, Any] = jwt.decode(access_token, options={"verify_signature": False})
    return claims


def session_of(tokens: dict[str, Any]) -> Session:
    """The row of a login."""
    sid = claims_of(tokens["access_token"])["sid"]
    return next(session for session in Session.objects.all() if session.sid == sid)
