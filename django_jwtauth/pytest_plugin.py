"""Fixtures, for those who test with pytest: ``pytest_plugins = ["django_jwtauth.pytest_plugin"]``."""

from collections.abc import Iterator

import pytest

from .test import JWTClient, steady


@pytest.fixture
def jwt_client() -> JWTClient:
    """Return a client for ``jwt_client.force_login(user)``."""
    return JWTClient()


@pytest.fixture
def jwt_steady() -> Iterator[None]:
    """Make the requests of any client steady for the length of the test."""
    with steady():
        yield
