"""Revocations in transactions that overlap, last, and sometimes roll back: none is missed, none is made up."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from tests.proving_ground.conftest import DATABASES, FULL, WORKERS, Record, Site
from tests.proving_ground.harness import Watch, Writer, watching
from tests.support.servers import REPEATABLE_READ

pytestmark = pytest.mark.processes

MANY = 10_000 if FULL else 60
FEW = 1_000 if FULL else 30
LONGEST_HOLD = 2.0 if FULL else 1.0
MOST_AT_ONCE = 5
"""Sessions that one transaction revokes."""
WAYS = ["revoke", "revoke", "revoke_all", "password", "deletion"]


class SetUp(NamedTuple):
    """A way to deploy the site."""

    name: str
    count: int = FEW
    server: Mapping[str, Any] = MappingProxyType({})
    """Of gunicorn."""
    changes: Mapping[str, Any] = MappingProxyType({})
    """Of the settings."""
    repeatable_read: bool = False
    only_full: bool = False


SYNC = {"worker_class": "sync"}
SET_UPS = [
    SetUp("slow transactions, some rolled back", MANY),
    SetUp("the same, gthread workers, --preload", server={"preload": True}, only_full=True),
    SetUp("the same, sync workers", server=SYNC, only_full=True),
    SetUp("the same, sync workers, --preload", server={**SYNC, "preload": True}),
    SetUp("the same, CONN_MAX_AGE", server={"CONN_MAX_AGE": "60"}, only_full=True),
    SetUp("the same, REPEATABLE READ", repeatable_read=True, only_full=True),
    SetUp("the same, ATOMIC_REQUESTS", server={"ATOMIC_REQUESTS": "1"}, only_full=True),
    SetUp(
        "the same, REPEATABLE READ, ATOMIC_REQUESTS, CONN_MAX_AGE",
        server={"ATOMIC_REQUESTS": "1", "CONN_MAX_AGE": "60"},
        repeatable_read=True,
    ),
    SetUp("the same, users and tables on another alias", changes={"elsewhere": True}),
    SetUp("the same, a replica that lags", changes={"replica": True}),
    SetUp("the same, DENYLIST_INTERVAL 0", changes={"durations": {"DENYLIST_INTERVAL": 0}}),
]
TRIED = [set_up for set_up in SET_UPS if FULL or not set_up.only_full]


@pytest.fixture(params=TRIED, ids=[set_up.name for set_up in TRIED])
def set_up(request: pytest.FixtureRequest) -> SetUp:
    """A way to deploy the site."""
    set_up: SetUp = request.param
    return set_up


@pytest.fixture
def changes(set_up: SetUp, database: str) -> Iterator[dict[str, Any]]:
    """The changes to the settings, with an empty database for the replica, and tokens that outlive the test."""
    with ExitStack() as stack:
        changes = {
            **set_up.changes,
            "durations": {"ACCESS_TOKEN_LIFETIME": 3600, **set_up.changes.get("durations", {})},
        }
        if "replica" in changes:
            changes["replica"] = stack.enter_context(DATABASES[database]())
        yield changes


def revoke_in_overlapping_transactions(
    writer: Writer, watch: Watch, count: int, ago: float = 0, logins_by: Writer | None = None
) -> None:
    """Revoke so many sessions, a few in each transaction, and every fifth transaction in vain.

    They were logged in so many seconds ago, by another writer if need be.
    """
    draw = random.Random(count)  # noqa: S311
    transactions = []
    while count > 0:
        transactions.append({"hold": draw.uniform(0, LONGEST_HOLD), "how": draw.choice(WAYS)})
        transactions[-1]["roll_back"] = len(transactions) % 5 == 0
        transactions[-1]["sids"] = draw.randint(1, MOST_AT_ONCE)
        count -= 0 if transactions[-1]["roll_back"] else transactions[-1]["sids"]
    left = (logins_by or writer).log_in(sum(one["sids"] for one in transactions) + MOST_AT_ONCE, ago=ago)
    tokens = {login.sid: login.access_token for login in left}
    running = []
    for one in transactions:
        one["sids"], left = [login.sid for login in left[: one["sids"]]], left[one["sids"] :]
        running.append(writer.revoke(then=watch.ended(tokens), **one))
    for one in running:
        ended = one.result()
    for login in left:
        watch.kept(login.access_token, ended.done)


def test_every_worker_refuses_in_time_what_was_committed_and_nothing_else(
    site: Callable[..., Site], record: Record, database: str, set_up: SetUp, changes: dict[str, Any]
) -> None:
    used = site(REPEATABLE_READ[database] if set_up.repeatable_read else "", **changes)
    with used.serve(**set_up.server) as server, used.write() as writer:
        with watching([server], WORKERS, used.interval) as watch:
            revoke_in_overlapping_transactions(writer, watch, set_up.count)
        record(set_up.name, watch.figures, used.interval)
        assert "Traceback" not in server.log
