"""The denylist between processes: late commits, rollbacks, forks, loads that are under way, locks, replicas."""

from __future__ import annotations

import os
import select
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Set
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test import override_settings

from django_jwtauth import sessions
from django_jwtauth.denylist import loading, snapshot
from django_jwtauth.errors import JWTAuthError, RevokedTokenError
from django_jwtauth.jose.encoding import decode_id
from django_jwtauth.models import DenylistEntry, Session
from tests.support.processes import Meet, Processes, processes
from tests.support.servers import mariadb_database, postgres_database

pytestmark = pytest.mark.processes

INTERVAL = timedelta(milliseconds=400)
LONG = 20.0
ACCEPTED, REVOKED = "accepted", "token_revoked"

NewDatabase = Callable[[], AbstractContextManager[str]]
Login = tuple[str, str, str]
"""A session, its access token and its refresh token."""


@pytest.fixture(scope="module", params=[postgres_database, mariadb_database], ids=["postgres", "mariadb"])
def database(request: pytest.FixtureRequest) -> NewDatabase:
    """Make an empty database."""
    new: NewDatabase = request.param
    return new


@pytest.fixture(scope="module")
def shared(database: NewDatabase) -> Iterator[Processes]:
    """Processes on one database."""
    with database() as url, processes(url) as running:
        running.call(migrate)
        yield running


# --- What the processes do


def migrate(meet: Meet) -> None:
    call_command("migrate", verbosity=0)


def log_in(meet: Meet, count: int = 1) -> list[Login]:
    return [start() for _ in range(count)]


def start() -> Login:
    pair = sessions.start(get_user_model().objects.create_user(f"user-{os.urandom(8).hex()}"))
    return pair.session.sid, pair.access_token, pair.refresh_token


def check(login: Login) -> str:
    try:
        sessions.verify(login[1])
    except JWTAuthError as error:
        return error.code
    return ACCEPTED


def revoke(login: Login) -> None:
    sessions.revoke(Session.objects.get(pk=decode_id(login[0])), "logout")


def wait_for_the_bound() -> None:
    time.sleep(INTERVAL.total_seconds())


@contextmanager
def in_thread(function: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run a function beside the block, on a connection of its own; what it returned is in the list afterwards."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(function())
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield results
    finally:
        thread.join(LONG)
        assert not thread.is_alive()


@contextmanager
def held_load() -> Iterator[tuple[threading.Event, threading.Event]]:
    """Let the first load stop when it has read; yield "has read" and "go on"."""
    has_read, go_on = threading.Event(), threading.Event()
    read = loading.read

    def read_and_wait(alias: str) -> Set[str]:
        found = read(alias)
        if not has_read.is_set():
            has_read.set()
            assert go_on.wait(LONG)
        return found

    with mock.patch.object(loading, "read", read_and_wait):
        try:
            yield has_read, go_on
        finally:
            go_on.set()


# --- Transactions


def revoke_late(meet: Meet, login: Login, rolls_back: bool) -> list[str]:
    """Revoke in a transaction that is open for long; return what this process says of the token meanwhile."""
    outcomes = [check(login)]
    with transaction.atomic():
        revoke(login)
        meet()  # revoked, not committed
        outcomes.append(check(login))
        meet()  # another one was revoked
        meet()  # this was seen by all
        transaction.set_rollback(rolls_back)
    meet()  # committed or rolled back
    wait_for_the_bound()
    outcomes.append(check(login))
    return outcomes


def revoke_at_once(meet: Meet, login: Login) -> None:
    meet()
    revoke(login)
    meet()
    meet()
    meet()


def watch(meet: Meet, late: Login, prompt: Login) -> list[tuple[str, str]]:
    outcomes = [(check(late), check(prompt))]
    meet()
    meet()
    wait_for_the_bound()
    outcomes.append((check(late), check(prompt)))
    meet()
    meet()
    wait_for_the_bound()
    outcomes.append((check(late), check(prompt)))
    return outcomes


@pytest.mark.parametrize("rolls_back", [False, True], ids=["commits", "rolls_back"])
def test_a_slow_transaction_counts_from_its_commit_on(shared: Processes, rolls_back: bool) -> None:
    late, prompt = shared.call(log_in, 2)
    own, _, *others = shared.run(
        [(revoke_late, late, rolls_back), (revoke_at_once, prompt), (watch, late, prompt), (watch, late, prompt)],
        DENYLIST_INTERVAL=INTERVAL,
    )
    after = ACCEPTED if rolls_back else REVOKED
    assert own == [ACCEPTED, ACCEPTED, after]
    assert others == [[(ACCEPTED, ACCEPTED), (ACCEPTED, REVOKED), (after, REVOKED)]] * 2


@contextmanager
def repeatable_read() -> Iterator[None]:
    """Open a transaction that sees the database as it was at its first statement."""
    level = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"
    # For MariaDB that is the next transaction, for PostgreSQL the one that has begun.
    before, after = ([level], []) if connection.vendor == "mysql" else ([], [level])
    with connection.cursor() as cursor:
        for statement in before:
            cursor.execute(statement)
        with transaction.atomic():
            for statement in after:
                cursor.execute(statement)
            yield


def check_in_a_long_transaction(meet: Meet, login: Login) -> list[str]:
    """Check in a transaction that sees the database as it was before the revocation."""
    with repeatable_read():
        assert not DenylistEntry.objects.filter(value=decode_id(login[0])).exists()
        outcomes = [check(login)]
        meet()
        meet()  # revoked
        wait_for_the_bound()
        outcomes.append(check(login))
        assert not DenylistEntry.objects.filter(value=decode_id(login[0])).exists()
    return outcomes


def test_a_request_in_a_long_transaction_sees_what_was_revoked_since(shared: Processes) -> None:
    [login] = shared.call(log_in)
    outcomes, _ = shared.run(
        [(check_in_a_long_transaction, login), (revoke_between, login)], DENYLIST_INTERVAL=INTERVAL
    )
    assert outcomes == [ACCEPTED, REVOKED]


def revoke_between(meet: Meet, login: Login) -> None:
    meet()
    revoke(login)
    meet()


# --- Loads that are under way


def revoke_during_a_load(meet: Meet, in_transaction: bool) -> list[str]:
    """Revoke while another thread has read the table, but does not use yet what it read."""
    login, other = start(), start()
    with held_load() as (has_read, go_on), in_thread(lambda: check(other)) as loaded:
        assert has_read.wait(LONG)
        if in_transaction:
            with transaction.atomic():
                revoke(login)
        else:
            revoke(login)
        go_on.set()
    outcomes = [*loaded, check(login)]
    wait_for_the_bound()
    return [*outcomes, check(login), check(other)]


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_load_under_way_does_not_lose_a_revocation(shared: Processes, in_transaction: bool) -> None:
    outcomes = shared.call(revoke_during_a_load, in_transaction, DENYLIST_INTERVAL=INTERVAL)
    assert outcomes == [ACCEPTED, REVOKED, REVOKED, ACCEPTED]


def commit_after_a_load(meet: Meet) -> list[str]:
    """Let a load begin after the revocation but before its commit: it does not see it, and must not forget it."""
    login, other = start(), start()
    with transaction.atomic():
        revoke(login)
        with in_thread(lambda: check(other)):
            pass
    outcomes = [check(login)]
    wait_for_the_bound()
    return [*outcomes, check(login), check(other)]


def test_a_load_between_revocation_and_commit_does_not_lose_it(shared: Processes) -> None:
    assert shared.call(commit_after_a_load) == [REVOKED, REVOKED, ACCEPTED]


@contextmanager
def locked_table() -> Iterator[None]:
    """Let nobody read the denylist."""
    table = DenylistEntry._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute(f"LOCK TABLES {table} WRITE")
            yield
            cursor.execute("UNLOCK TABLES")
        else:
            with transaction.atomic():
                cursor.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                yield


def hold_the_table(meet: Meet) -> None:
    meet()
    with locked_table():
        meet()
        meet()
    meet()


def check_a_held_table(meet: Meet, interval: float, max_staleness: float) -> list[tuple[str, bool]]:
    """Return the outcomes of checks, and whether each took as long as it may wait for a load."""
    login = start()
    longest_wait = 0.5

    def timed(after: float) -> tuple[str, bool]:
        time.sleep(max(loaded_at + after - time.monotonic(), 0))
        begun = time.monotonic()
        outcome = check(login)
        took = time.monotonic() - begun
        assert took < longest_wait + 0.4
        return outcome, took >= longest_wait

    with mock.patch.object(snapshot.denylist._reloader, "max_wait", longest_wait):
        loaded_at = time.monotonic()
        outcomes = [timed(0)]
        meet()
        meet()  # the table is locked
        outcomes.append(timed(0))
        time.sleep(max(loaded_at + 0.85 * interval - time.monotonic(), 0))
        outcomes.append(timed(0.9 * interval))
        outcomes.append(timed(1.1 * interval))
        outcomes.append(timed(1.3 * interval))
        outcomes.append(timed(max_staleness + 0.1))
        load = snapshot.denylist._reloader._state().load
        assert load is not None
        meet()  # release it
        meet()
        assert load.ended.wait(LONG)
        outcomes.append(timed(0))
    return outcomes


def test_a_load_that_hangs_holds_others_up_no_longer_than_it_may(shared: Processes) -> None:
    interval, max_staleness = 1.0, 2.5
    outcomes, _ = shared.run(
        [(check_a_held_table, interval, max_staleness), (hold_the_table,)],
        DENYLIST_INTERVAL=timedelta(seconds=interval),
        DENYLIST_MAX_STALENESS=timedelta(seconds=max_staleness),
    )
    assert outcomes == [
        (ACCEPTED, False),
        (ACCEPTED, False),  # fresh
        (ACCEPTED, False),  # due: it is reloaded, and this one goes on
        (ACCEPTED, True),  # old: it waits, then takes the last snapshot
        (ACCEPTED, False),  # one has waited in vain, so no other does
        ("denylist_unavailable", False),  # too old
        (ACCEPTED, False),
    ]


def check_while_the_pool_is_exhausted(meet: Meet) -> list[str]:
    """Check in a transaction of a request, while other requests hold all other connections of Django's pool."""
    login, revoked = start(), start()
    revoke(revoked)
    connections.close_all()
    connections.settings["default"]["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 2, "timeout": LONG}
    held, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            connection.ensure_connection()
            held.set()
            assert go_on.wait(LONG)

    with in_thread(hold), transaction.atomic():
        assert held.wait(LONG)
        DenylistEntry.objects.exists()
        try:
            return [check(login), check(revoked)]
        finally:
            go_on.set()


def test_a_pool_that_requests_keep_busy_does_not_delay_a_load() -> None:
    pytest.importorskip("psycopg_pool")
    with postgres_database() as url, processes(url) as running:
        running.call(migrate)
        assert running.call(check_while_the_pool_is_exhausted) == [ACCEPTED, REVOKED]


def revoke_all(meet: Meet, logins: list[Login]) -> None:
    for login in logins:
        revoke(login)


# --- Forks


def fork_during_a_load(meet: Meet) -> list[str]:
    """Fork while a load is under way; return what the child says."""
    login, revoked = start(), start()
    revoke(revoked)
    # Else the child would share this connection.
    connections.close_all()
    snapshot.denylist.clear()
    with held_load() as (has_read, go_on), in_thread(lambda: check(login)):
        assert has_read.wait(LONG)
        assert snapshot.denylist._reloader.is_loading()
        receiver, sender = os.pipe()
        with warnings.catch_warnings():
            # Python warns of just this.
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            try:
                os.write(sender, f"{check(login)} {check(revoked)}".encode())
            finally:
                os._exit(0)
        os.close(sender)
        answered, _, _ = select.select([receiver], [], [], LONG)
        if not answered:
            os.kill(child, 9)
        os.waitpid(child, 0)
        answer = os.read(receiver, 100).decode()
        os.close(receiver)
        go_on.set()
    return answer.split()


def test_a_child_forked_during_a_load_loads_for_itself(shared: Processes) -> None:
    assert shared.call(fork_during_a_load) == [ACCEPTED, REVOKED]


# --- Replicas


class ReplicaRouter:
    """Reads from a replica."""

    def db_for_read(self, model: Any, **hints: Any) -> str:
        return "replica"

    def db_for_write(self, model: Any, **hints: Any) -> str:
        return "default"

    def allow_relation(self, one: Any, other: Any, **hints: Any) -> bool:
        return True


def use_a_replica_that_lags(meet: Meet, name: str) -> list[str]:
    """Use the app where what is read elsewhere is still empty."""
    connections.settings["replica"] = {**connections.settings["default"], "NAME": name}
    call_command("migrate", database="replica", verbosity=0)
    with override_settings(DATABASE_ROUTERS=[ReplicaRouter()]):
        assert not Session.objects.exists()
        sid, access_token, refresh_token = start()
        outcomes = [check((sid, access_token, refresh_token))]
        pair = sessions.refresh(refresh_token)
        session = sessions.find(pair.refresh_token)
        assert session is not None
        sessions.revoke(session, "logout")
        assert not DenylistEntry.objects.exists()
        # As another process, that did not revoke it.
        snapshot.denylist.clear()
        outcomes.append(check((sid, pair.access_token, pair.refresh_token)))
        with pytest.raises(RevokedTokenError):
            sessions.refresh(pair.refresh_token)
    return outcomes


def test_the_database_that_is_written_to_is_what_is_read(shared: Processes, database: NewDatabase) -> None:
    with database() as url:
        outcomes = shared.call(use_a_replica_that_lags, urlsplit(url).path.removeprefix("/"))
    assert outcomes == [ACCEPTED, REVOKED]
