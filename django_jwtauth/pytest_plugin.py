"""Fixtures, for those who test with pytest: ``pytest_plugins =
["django_jwtauth.pytest_plugin"]``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .test import JWTClient

# Nothing of the app is imported before a test asks for it: pytest reads plugins before Django is
# set up.


@pytest.fixture
def jwt_client() -> JWTClient:
    """Return a client for ``jwt_client.force_login(user)``."""
    from .test import JWTClient

    return JWTClient()


@pytest.fixture
def jwt_steady() -> Iterator[None]:
    """Make the requests of any client steady for the length of the test."""
    from .test import steady

    with steady():
        yield
