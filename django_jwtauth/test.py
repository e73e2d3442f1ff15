"""For the tests of those who use the app: a client that is authenticated by a real session and its
access token.

Its requests cost the same every time: the denylist is read before each, out of sight of
``assertNumQueries``, where the app itself reads it now and then. So what a test revokes, allows
again or rolls back counts at once.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from django.db import connections
from rest_framework.test import APIClient

from . import sessions
from .claims import Claims
from .conf import get_config
from .denylist import loading
from .denylist.snapshot import denylist
from .errors import RevokedTokenError
from .models import write_alias
from .throttling import OutcomeThrottle

_lock = threading.Lock()
_patches = ExitStack()
_depth = 0


class JWTClient(APIClient):
    """The REST framework's test client, with ``force_login`` by access token. Every request is a
    steady one."""

    def force_login(self, user: Any, backend: str | None = None) -> None:
        """Start a session for this user and send its access token from now on, whatever the
        password.

        Raises ``CredentialsError`` for an inactive user. ``credentials()`` without arguments logs
        out.
        """
        self.credentials(HTTP_AUTHORIZATION=f"Bearer {sessions.start(user).access_token}")

    def request(self, **kwargs: Any) -> Any:
        """Send a request. All other methods come through here."""
        with steady():
            return super().request(**kwargs)


@contextmanager
def steady() -> Iterator[None]:
    """Make requests of any client steady meanwhile: as many queries every time, and no throttle of
    this app.

    It may be nested, and entered by several threads at once.
    """
    global _depth
    with _lock:
        if _depth == 0:
            _patches.enter_context(patch.object(denylist, "check", _check))
            _patches.enter_context(patch.object(OutcomeThrottle, "allow_request", _allow))
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                _patches.close()


def _check(claims: Claims) -> None:
    """Refuse what is denied by now."""
    if get_config().denylist_interval is None:
        return
    alias = write_alias()
    # Threads share the connection where SQLite is in memory.
    with _lock, patch.multiple(connections[alias], queries_log=deque(), execute_wrappers=[]):
        found = loading.read(alias)
    if claims.sid in found.ids or claims.jti in found.ids or (claims.iat or 0) < found.epoch:
        raise RevokedTokenError("denylist")


def _allow(throttle: OutcomeThrottle, request: Any, view: Any) -> bool:
    return True
