"""What the contract says that things cost, in statements and bytes."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model
from django.db import connection

from django_jwtauth import sessions
from django_jwtauth.db.batches import BATCH
from django_jwtauth.denylist import deny
from django_jwtauth.jose.encoding import new_id
from django_jwtauth.jose.keys import generate_private_key
from django_jwtauth.models import DenylistEntry, Reason
from tests.support.statements import statements


@pytest.fixture
def fresh(pair):
    """A client's token, with the denylist just loaded."""
    sessions.verify(pair.access_token)
    return pair


def test_a_request_that_uses_the_key_costs_none(fresh, bearer):
    client = bearer(fresh.access_token)
    with statements() as executed:
        client.get("/api/ping/")
    assert executed == []


def test_a_request_that_reads_the_user_costs_one(fresh, bearer):
    client = bearer(fresh.access_token)
    with statements() as executed:
        client.get("/api/me/")
    assert len(executed) == 1


def test_obtain_costs_three_beside_djangos_own_authentication(user, client):
    with statements() as executed:
        client.post("/auth/token/", {"username": "alice", "password": "correct horse"}, format="json")
    # MariaDB is asked by which name it knows the account.
    name = ["SELECT"] if connection.vendor == "mysql" else []
    assert [sql.split()[0] for sql in executed] == [*name, "SELECT", "INSERT", "SELECT", "UPDATE"]
    assert get_user_model()._meta.db_table in executed[0]
    assert "last_login" in executed[-1]


def test_a_refresh_costs_two(fresh, client):
    with statements() as executed:
        client.post("/auth/token/refresh/", {"refresh_token": fresh.refresh_token}, format="json")
    assert [sql.split()[0] for sql in executed] == ["SELECT", "UPDATE"]


def test_a_retry_costs_two(fresh):
    sessions.refresh(fresh.refresh_token)
    with statements() as executed:
        sessions.refresh(fresh.refresh_token)
    assert [sql.split()[0] for sql in executed] == ["SELECT", "UPDATE"]


def test_reuse_costs_three(fresh, client):
    sessions.refresh(sessions.refresh(fresh.refresh_token).refresh_token)
    with statements() as executed:
        client.post("/auth/token/refresh/", {"refresh_token": fresh.refresh_token}, format="json")
    assert [sql.split()[0] for sql in executed] == ["SELECT", "UPDATE", "INSERT"]


def test_a_logout_costs_three_and_a_forged_token_none(fresh, client):
    with statements() as executed:
        client.post("/auth/token/revoke/", {"token": "jrt_forged"}, format="json")
        client.post("/auth/token/revoke/", {"token": fresh.access_token[:-4] + "AAAA"}, format="json")
    assert executed == []
    with statements() as executed:
        client.post("/auth/token/revoke/", {"token": fresh.refresh_token}, format="json")
    assert len(executed) == 3


@pytest.mark.parametrize("count", [1, 20])
def test_ending_all_sessions_costs_the_same_however_many_there_are(user, count):
    for _ in range(count):
        sessions.start(user)
    with statements() as executed:
        sessions.revoke_all(user, Reason.ADMIN)
    # SQLite locks no rows, so another statement takes its lock.
    lock = [] if connection.features.has_select_for_update else ["UPDATE"]
    assert [sql.split()[0] for sql in executed] == [*lock, "SELECT", "UPDATE", "INSERT"]


def test_entries_are_written_in_batches(db):
    from django.utils import timezone

    now = timezone.now()
    entries = [DenylistEntry(value=new_id(), expires_at=now, reason=Reason.ADMIN) for _ in range(BATCH * 2)]
    with statements() as executed:
        deny(entries)
    assert 2 <= len(executed) <= 10
    assert DenylistEntry.objects.count() == BATCH * 2


@pytest.mark.parametrize(("algorithm", "most"), [("HS256", 315), ("ES256", 360), ("EdDSA", 360)])
def test_an_access_token_is_small(user, jwtauth, algorithm, most):
    if algorithm != "HS256":
        key = {"ALGORITHM": algorithm, "PRIVATE_KEY": generate_private_key(algorithm)}
        jwtauth(SIGNING_KEYS=[key], ISSUER="issuer.example")
    token = sessions.start(user).access_token
    assert len(token) - len(str(user.pk)) + 1 <= most


def test_a_refresh_token_is_small(pair):
    assert len(pair.refresh_token) <= 56
