"""Tenants with tables of their own: one denylist serves none of them, so it is an error that nobody overlooks."""

from __future__ import annotations

from http import HTTPStatus
from types import SimpleNamespace

import pytest
from django.db import connections

from django_jwtauth import sessions
from django_jwtauth.denylist import loading, snapshot
from django_jwtauth.denylist.snapshot import denylist
from django_jwtauth.errors import DenylistUnavailableError
from tests.support.clocks import Clocks

PING = "/api/ping/"


class Router:
    """Sends writes where the current request belongs."""

    def __init__(self):
        self.alias = "default"

    def db_for_write(self, model, **hints):
        if isinstance(self.alias, Exception):
            raise self.alias
        return self.alias


@pytest.fixture
def router(settings, monkeypatch):
    monkeypatch.setitem(connections.settings, "other", connections.settings["default"])
    router = Router()
    settings.DATABASE_ROUTERS = [router]
    return router


NOTHING = loading.Listing(frozenset(), 0)


@pytest.fixture
def reads(monkeypatch):
    """Return the databases that the denylist was read from."""
    read = []
    monkeypatch.setattr(loading, "read", lambda alias: read.append(alias) or NOTHING)
    monkeypatch.setattr(snapshot, "_read_here", lambda alias, before: snapshot._read(connections[alias]))
    monkeypatch.setattr(snapshot, "_is_seen_here_only", lambda connection: True)
    return read


@pytest.fixture
def clocks(monkeypatch):
    return Clocks(monkeypatch)


@pytest.fixture
def verify():
    claims = SimpleNamespace(sid="s", jti="j", iat=0)
    return lambda: denylist.check(claims)


def is_refused(verify):
    try:
        verify()
    except DenylistUnavailableError:
        return True
    return False


class TestDatabases:
    def test_a_request_with_another_database_is_503_and_the_log_says_why(self, pair, router, bearer, caplog):
        client = bearer(pair.access_token)
        assert client.get(PING).status_code == HTTPStatus.OK
        router.alias = "other"
        answer = client.get(PING)
        assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "denylist_unavailable")
        assert "this request uses another database or schema" in caplog.text
        assert pair.access_token not in caplog.text
        router.alias = "default"
        assert client.get(PING).status_code == HTTPStatus.OK

    def test_it_does_not_replace_a_snapshot_that_is_in_use(self, router, reads, clocks, verify):
        verify()
        router.alias = "other"
        for _ in range(10):
            assert is_refused(verify)
            clocks.pass_(6)
        assert reads == ["default"]
        router.alias = "default"
        verify()
        assert reads == ["default"] * 2

    def test_after_a_failover_it_waits_until_nobody_may_use_the_snapshot(self, router, reads, clocks, verify):
        verify()
        router.alias = "other"
        clocks.pass_(60)
        assert is_refused(verify)
        clocks.pass_(1)
        verify()
        assert reads == ["default", "other"]

    def test_a_load_by_another_request_is_not_taken_for_ones_own(self, router, reads, clocks, verify, monkeypatch):
        def read(alias):
            router.alias = "default"  # of the request that has waited
            return NOTHING

        router.alias = "other"
        monkeypatch.setattr(loading, "read", read)
        assert is_refused(verify)

    def test_without_routers_nothing_is_compared(self, reads, verify, monkeypatch):
        verify()
        monkeypatch.setattr(snapshot, "is_current", lambda source: pytest.fail("it is compared"))
        verify()

    @pytest.mark.parametrize("is_loaded", [True, False])
    def test_a_router_that_raises_is_503_and_no_report_shows_the_token(
        self, pair, router, bearer, caplog, settings, is_loaded
    ):
        settings.DEBUG = True
        if is_loaded:
            sessions.verify(pair.access_token)
        router.alias = LookupError("no tenant")
        client = bearer(pair.access_token)
        client.raise_request_exception = False
        answer = client.get(PING)
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert pair.access_token not in answer.content.decode() + caplog.text
        assert "LookupError: no tenant" in caplog.text


class TestSchemas:
    @pytest.fixture
    def schema(self, reads, monkeypatch):
        """Return a function that changes the schema of the connection, as django-tenants does for each request."""

        def change(name):
            monkeypatch.setattr(connections["default"], "schema_name", name, raising=False)

        change("a")
        return change

    def test_a_request_with_another_schema_is_refused(self, schema, settings, verify):
        settings.TENANT_APPS = ["django_jwtauth"]
        verify()
        schema("b")
        assert is_refused(verify)
        schema("a")
        verify()

    def test_tables_in_the_shared_schema_are_the_same_for_all(self, schema, settings, verify):
        settings.SHARED_APPS = ["django_jwtauth", "django.contrib.auth"]
        settings.TENANT_APPS = ["notes"]
        verify()
        schema("b")
        verify()
