"""Fixtures shared by all tests."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.utils import translation
from rest_framework.test import APIClient

from django_jwtauth import sessions
from django_jwtauth.client_info import warn_of_proxy
from django_jwtauth.denylist.snapshot import denylist
from django_jwtauth.tokens.pair import TokenPair

WHOLE = "not browser"
"""The expression for markers in ``addopts``."""
LONGEST_ID = 30


@pytest.fixture(autouse=True)
def _fresh_process() -> Iterator[None]:
    """Start every test as a process does: nothing loaded, counted, chosen or warned of."""
    translation.deactivate()
    denylist.clear()
    cache.clear()
    warn_of_proxy.cache_clear()
    yield
    denylist.clear()


@pytest.fixture
def user(db: None) -> Any:
    return get_user_model().objects.create_user("alice", password="correct horse")


@pytest.fixture
def other_user(db: None) -> Any:
    return get_user_model().objects.create_user("bob", password="battery staple")


@pytest.fixture
def proxy_user() -> Any:
    """Return a proxy model of the user model."""
    return apps.get_model("people", "Person")


@pytest.fixture
def pair(user: Any) -> TokenPair:
    return sessions.start(user)


@pytest.fixture
def client() -> APIClient:
    return APIClient()


@pytest.fixture
def bearer() -> Callable[[str], APIClient]:
    """Return a client that sends this access token."""

    def make(access_token: str) -> APIClient:
        client = APIClient()
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {access_token}")
        return client

    return make


@pytest.fixture
def jwtauth(settings: Any) -> Callable[..., None]:
    """Return a function that changes single keys of the ``JWTAUTH`` setting."""

    def change(**changes: Any) -> None:
        settings.JWTAUTH = {**settings.JWTAUTH, **changes}

    return change


@pytest.fixture
def quiet() -> Iterator[None]:
    """Nothing is logged: there would be as many records as there are examples, and pytest would keep them all."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite in two processes, if pytest-xdist is there. What is chosen or debugged runs in one."""
    options = config.option
    is_whole = config.args == config.getini("testpaths") and options.markexpr == WHOLE and not options.keyword
    is_watched = options.usepdb or options.capture == "no" or options.collectonly
    is_open = getattr(options, "numprocesses", 0) is None and not hasattr(config, "workerinput")
    if is_whole and is_open and not is_watched:
        options.numprocesses, options.dist = 2, "worksteal"


def pytest_make_parametrize_id(val: Any) -> str | None:
    """Give a long text a plain id. A random one would differ between the processes of pytest-xdist."""
    return "text" if isinstance(val, str | bytes) and len(val) > LONGEST_ID else None
