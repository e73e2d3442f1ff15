"""Statements that are put together once run as those of the ORM do."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import partial

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, connections
from django.db.models.functions import Now
from django.utils import timezone

from django_jwtauth import sessions
from django_jwtauth.db.compiled import KEPT, Place, fetch, update
from django_jwtauth.jose.encoding import new_id
from django_jwtauth.models import Session
from tests.support.statements import statements

pytestmark = pytest.mark.django_db
FIELDS = {field.attname: field for field in Session._meta.concrete_fields}


@pytest.fixture(autouse=True)
def _nothing_kept():
    vars(connections["default"]).pop(KEPT, None)


class Built:
    """What is put together, and how often."""

    count = 0

    def rows(self):
        self.count += 1
        found = Session.objects.filter(pk=Place("pk", FIELDS["id"]))
        return found.values_list("id", "user_id", "generation", "created_at", "revoked_at", "ip_address")

    def change(self):
        self.count += 1
        found = Session.objects.filter(pk=Place("pk", FIELDS["id"]), expires_at__gt=Place("now", FIELDS["expires_at"]))
        names = ("revoked_at", "ip_address", "user_agent")
        return found, {"refreshed_at": Now(), **{name: Place(name, FIELDS[name]) for name in names}}


@pytest.fixture
def built():
    return Built()


def test_a_query_is_built_once_and_gives_what_the_orm_gives(built, user, other_user):
    for each in (user, other_user, user):
        session = sessions.start(each).session
        expected = Session.objects.values_list("id", "user_id", "generation", "created_at", "revoked_at", "ip_address")
        with statements() as executed:
            rows = fetch("default", "rows", built.rows, pk=session.pk)
        assert [tuple(row) for row in rows] == [expected.get(pk=session.pk)]
        assert len(executed) == 1
    assert fetch("default", "rows", built.rows, pk=new_id()) == []
    assert built.count == 1


def test_an_update_is_built_once_and_changes_what_the_orm_would(built, user):
    now = timezone.now()
    for minutes, address in ((1, "203.0.113.7"), (2, None), (3, "2001:db8::1")):
        session, other = (sessions.start(user).session for _ in range(2))
        revoked_at = now + timedelta(minutes=minutes)
        values = {"revoked_at": revoked_at, "ip_address": address, "user_agent": 'it\'s 100% "new"'}
        run = partial(update, "default", "change", built.change, pk=session.pk, **values)
        assert run(now=now + timedelta(days=15)) == 0
        assert run(now=now) == 1
        session.refresh_from_db()
        assert {name: getattr(session, name) for name in values} == values
        other.refresh_from_db()
        assert other.revoked_at is None
    assert built.count == 1


def test_of_two_keys_each_has_its_statement(built, pair):
    fetch("default", "rows", built.rows, pk=pair.session.pk)
    fetch("default", "others", built.rows, pk=pair.session.pk)
    assert built.count == 2


@pytest.mark.django_db(transaction=True)
def test_every_connection_has_its_own(built):
    kept = []

    def look():
        fetch("default", "rows", built.rows, pk=new_id())
        kept.append(vars(connections["default"])[KEPT])

    def look_elsewhere():
        look()
        connections.close_all()

    look()
    if connection.vendor != "sqlite":  # in memory there is but one connection
        thread = threading.Thread(target=look_elsewhere)
        thread.start()
        thread.join()
        assert kept[0] is not kept[1]
        assert built.count == 2


def test_a_time_zone_set_later_counts(built, pair, settings):
    [aware] = fetch("default", "rows", built.rows, pk=pair.session.pk)
    settings.USE_TZ = False
    [naive] = fetch("default", "rows", built.rows, pk=pair.session.pk)
    assert aware[3].tzinfo is not None
    assert naive[3].tzinfo is None


def test_the_session_of_a_refresh_is_the_one_of_the_orm_with_its_user(pair, user):
    found = sessions._session_with_user(pair.session.pk)
    expected = Session.objects.select_related("user").get()
    with statements() as executed:
        assert found.user == user
        for name in FIELDS:
            assert getattr(found, name) == getattr(expected, name)
        for field in get_user_model()._meta.concrete_fields:
            assert getattr(found.user, field.attname) == getattr(expected.user, field.attname)
    assert executed == []
    assert abs(found.database_now - timezone.now()) < timedelta(hours=1)
    assert found._state.db == found.user._state.db == "default"
    assert not found._state.adding
    assert sessions._session_with_user(new_id()) is None
