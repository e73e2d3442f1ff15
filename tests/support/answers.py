"""What a refusal looks like over HTTP."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

BARE = 'Bearer realm="api"'
INVALID = 'Bearer realm="api", error="invalid_token"'


def assert_bearer_refused(answer: Any, code: str = "token_invalid") -> None:
    """An access token was refused, or what was sent in its place (RFC 6750 section 3.1)."""
    _assert_refused(answer, INVALID, code)


def assert_grant_refused(answer: Any, code: str) -> None:
    """Credentials or a refresh token were refused."""
    _assert_refused(answer, BARE, code)
    assert answer["Cache-Control"] == "no-store"


def _assert_refused(answer: Any, challenge: str, code: str) -> None:
    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    assert answer["WWW-Authenticate"] == challenge
    assert set(answer.json()) == {"detail", "code"}
    assert answer.json()["code"] == code


AUTHORIZATIONS = ("Bearer {}", "bearer {}", "BEARER   {}", "Basic {}", "Bearer\t{}", "{}", " {}", "Bearer {} x")
"""Headers that hold an access token; the scheme decides whether it is read (RFC 9110 section 11.1)."""


def assert_no_token_in(text: str) -> None:
    """No token was logged. A random session id may contain its first characters."""
    assert re.search(r"eyJ[\w-]*\.[\w-]+\.|jrt_[\w-]{30}", text) is None
