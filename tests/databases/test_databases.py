"""Where a router sends writes, our tables are read, locked, written and committed, and nowhere else."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

import pytest
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.utils import timezone

from django_jwtauth import pruning, sessions, signals
from django_jwtauth.denylist import allow
from django_jwtauth.denylist.snapshot import denylist
from django_jwtauth.errors import ReusedTokenError, RevokedTokenError
from django_jwtauth.models import DenylistEntry, Reason, Session

SIGNALS = ("session_started", "session_revoked", "refresh_token_reused")


class Truth:
    """Writes to a database that is not the default one, and reads our tables from one that must not be asked."""

    def db_for_read(self, model, **hints):
        return "default" if model._meta.app_label == "jwtauth" else "truth"

    def db_for_write(self, model, **hints):
        return "truth"

    def allow_relation(self, one, other, **hints):
        return True


def stored():
    return Session.objects.using("truth")


@pytest.fixture
def _truth(django_db_setup, django_db_blocker, settings):
    """Use a second database, and refuse every statement in the first one, a savepoint included."""

    def refuse(execute, sql, params, many, context):
        raise AssertionError(sql)

    connections.settings["truth"] = connections.configure_settings(
        {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
    )["default"]
    settings.DATABASE_ROUTERS = [Truth()]
    try:
        with django_db_blocker.unblock(), connection.execute_wrapper(refuse):
            call_command("migrate", database="truth", run_syncdb=True, verbosity=0)
            yield
            connections["truth"].connection.close()  # Django keeps a database in memory open
    finally:
        del connections["truth"], connections.settings["truth"]


@pytest.fixture
def told():
    """The names of the signals that were sent, in their order."""
    names, sent = [], {name: getattr(signals, name) for name in SIGNALS}

    def receiver(signal, **arguments):
        names.extend(name for name in SIGNALS if sent[name] is signal)

    for signal in sent.values():
        signal.connect(receiver)
    yield names
    for signal in sent.values():
        signal.disconnect(receiver)


@pytest.fixture
def person(_truth):
    return get_user_model().objects.create_user("carol", password="correct horse")


def test_login_refresh_reuse_and_logout_happen_where_the_router_says(person, told):
    first = sessions.start(person)
    second = sessions.refresh(first.refresh_token)
    assert sessions.find(second.refresh_token) == sessions.find(second.access_token) == first.session
    assert sessions.verify(second.access_token)
    third = sessions.refresh(second.refresh_token)
    with pytest.raises(ReusedTokenError):
        sessions.refresh(first.refresh_token)
    with pytest.raises(RevokedTokenError):
        sessions.refresh(third.refresh_token)
    assert sessions.revoke(sessions.start(person).session) is True
    assert told == ["session_started", "session_revoked", "refresh_token_reused", "session_started", "session_revoked"]


def test_so_does_what_ends_several_sessions(person, jwtauth, told):
    pairs = [sessions.start(person) for _ in range(3)]
    assert sessions.revoke_all(person, except_for=pairs[0].session) == 2
    jwtauth(MAX_SESSIONS_PER_USER=1)
    sessions.start(person)
    assert told.count("session_revoked") == 3


def test_so_does_what_happens_to_a_user(person, told):
    pair = sessions.start(person)
    get_user_model().objects.update(password=make_password("correct horse", hasher="pbkdf2_sha256"))
    Session.objects.update(auth_hash=get_user_model().objects.get().get_session_auth_hash())
    assert authenticate(username="carol", password="correct horse") == person
    assert get_user_model().objects.get().password.startswith("md5$")
    assert sessions.refresh(pair.refresh_token)
    person.set_password("new")
    person.save()
    assert stored().get().revoke_reason == Reason.PASSWORD
    later = sessions.start(person)
    person.delete()
    with pytest.raises(RevokedTokenError):
        sessions.verify(later.access_token)
    assert told == ["session_started", "session_revoked"] * 2


def test_so_do_pruning_and_allowing_again(person):
    pair = sessions.start(person)
    sessions.revoke(pair.session)
    assert allow(DenylistEntry.objects.all()) == 1
    denylist.clear()
    assert sessions.verify(pair.access_token)
    yesterday = timezone.now() - timedelta(days=1)
    Session.objects.update(expires_at=yesterday, access_expires_at=yesterday)
    assert pruning.count_expired() == 1
    assert list(pruning.prune()) == [1]


def test_so_does_what_waits_for_the_end_of_a_transaction(person, told):
    pair = sessions.start(person)
    with transaction.atomic(using="truth"):
        sessions.revoke(pair.session)
        assert told == ["session_started"]
        denylist.clear()
        with pytest.raises(RevokedTokenError):
            sessions.verify(pair.access_token)
        assert not denylist._reloader.held.value.own
        assert pair.session.revoked_at is None
    assert pair.session.revoked_at is not None
    assert set(denylist._reloader.held.value.own) == {pair.session.sid}
    assert told == ["session_started", "session_revoked"]


def test_so_do_the_views_of_ones_own_sessions(person, bearer):
    pair = sessions.start(person)
    client = bearer(pair.access_token)
    assert [item["id"] for item in client.get("/auth/sessions/").json()] == [pair.session.sid]
    assert client.delete(f"/auth/sessions/{pair.session.sid}/").status_code == HTTPStatus.NO_CONTENT
