"""Requests that meet: refreshes, revocations, logins, deletions and hash upgrades at the same moment.

Every party is a process with a connection of its own. A race that is lost once in a thousand rounds is not seen
in a few: ``JWTAUTH_RACE_ROUNDS=200 python -m pytest tests/databases/test_races.py`` is the full size, and
what to run after a change of ``sessions`` or ``receivers``.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple, TypeVar

import pytest
from django.conf import settings
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.core.management import call_command
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test import override_settings
from django.utils import timezone

from django_jwtauth import pruning, sessions
from django_jwtauth.errors import CredentialsError, JWTAuthError
from django_jwtauth.jose.encoding import decode_id
from django_jwtauth.models import DenylistEntry, Session
from django_jwtauth.tokens.access import get_codec
from tests.support.processes import Meet, Processes, processes
from tests.support.servers import REPEATABLE_READ, mariadb_database, postgres_database, sqlite_database

pytestmark = pytest.mark.processes

ROUNDS = int(os.environ.get("JWTAUTH_RACE_ROUNDS") or 20)
SNAPSHOTS = "&init_command=SET+SESSION+innodb_snapshot_isolation%3D{}"
MANY = 16
"""As many clients present one token."""
DATABASES = {
    "postgres": ("postgres_url", ""),
    "postgres_repeatable_read": ("postgres_url", REPEATABLE_READ["PostgreSQL"]),
    "mariadb": ("mariadb_url", ""),
    # The default of the server up to 11.4, and from 11.8 on.
    "mariadb_repeatable_read": ("mariadb_url", REPEATABLE_READ["MariaDB"] + SNAPSHOTS.format("OFF")),
    "mariadb_snapshots": ("mariadb_url", REPEATABLE_READ["MariaDB"] + SNAPSHOTS.format("ON")),
    "sqlite": ("sqlite_url", ""),
}
"""Fixtures that give an empty database, and the options under which it is used."""

PASSWORD = "correct horse"
NO_LEEWAY = timedelta(0)

T = TypeVar("T")


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with postgres_database() as url:
        yield migrated(url)


@pytest.fixture(scope="module")
def mariadb_url() -> Iterator[str]:
    with mariadb_database() as url:
        yield migrated(url)


@pytest.fixture(scope="module")
def sqlite_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return migrated(sqlite_database(tmp_path_factory.mktemp("races")))


def migrated(url: str) -> str:
    with processes(url) as running:
        running.call(migrate)
    return url


@pytest.fixture(scope="module", params=DATABASES)
def shared(request: pytest.FixtureRequest) -> Iterator[Processes]:
    """Processes on PostgreSQL and MariaDB under each isolation level, and on one SQLite file."""
    name, options = DATABASES[request.param]
    with processes(request.getfixturevalue(name) + options) as shared:
        yield shared


# --- What the processes do


class Login(NamedTuple):
    """A session and its first refresh token."""

    sid: str
    refresh_token: str


class State(NamedTuple):
    """What the database says of a session."""

    generation: int
    revoke_reason: str | None
    denied_until: datetime | None


class Refreshed(NamedTuple):
    """How one refresh ended."""

    outcome: str
    refresh_token: str = ""
    access_expires_at: float = 0
    begun: float = 0


def migrate(meet: Meet) -> None:
    call_command("migrate", verbosity=0)


def log_in(meet: Meet, count: int, **fields: Any) -> list[Login]:
    """Make so many users with one session each."""
    pairs = [sessions.start(new_user(**fields)) for _ in range(count)]
    return [Login(pair.session.sid, pair.refresh_token) for pair in pairs]


def new_user(**fields: Any) -> Any:
    return get_user_model().objects.create_user(f"user-{os.urandom(8).hex()}", password=PASSWORD, **fields)


def states(meet: Meet, sids: list[str]) -> list[State]:
    ids = [decode_id(sid) for sid in sids]
    found = Session.objects.in_bulk(ids)
    denied = dict(DenylistEntry.objects.filter(value__in=ids).values_list("value", "expires_at"))
    return [
        State(found[pk].generation, found[pk].revoke_reason if found[pk].revoked_at else None, denied.get(pk))
        for pk in ids
    ]


def refresh(token: str) -> Refreshed:
    begun = time.monotonic()
    try:
        pair = sessions.refresh(token)
    except JWTAuthError as error:
        return Refreshed(error.code, begun=begun)
    expires_at = get_codec().decode(pair.access_token).exp
    return Refreshed("refreshed", pair.refresh_token, expires_at, begun)


def refresh_each(meet: Meet, tokens: list[str]) -> list[Refreshed]:
    """Refresh one token after the other, each at the same moment as the other processes."""
    outcomes = []
    for token in tokens:
        meet()
        outcomes.append(refresh(token))
    return outcomes


def keep_refreshing(meet: Meet, tokens: list[str]) -> list[list[Refreshed]]:
    """Refresh each token, then its successors, every one of them twice, until one is refused.

    The first access token lives longer than all before it, the second one, from the retry, not as long.
    """
    rounds = []
    for token in tokens:
        outcomes: list[Refreshed] = []
        meet()
        while not outcomes or outcomes[-1].outcome == "refreshed":
            lifetime = timedelta(minutes=1 if len(outcomes) % 2 else len(outcomes) + 2)
            with override_settings(JWTAUTH={**settings.JWTAUTH, "ACCESS_TOKEN_LIFETIME": lifetime}):
                outcomes.append(refresh(token))
            if len(outcomes) % 2 == 0:
                token = outcomes[-1].refresh_token
        rounds.append(outcomes)
    return rounds


def revoke_after_a_moment(meet: Meet, sids: list[str], all_of_user: bool) -> list[float]:
    """Revoke one session after the other; return when each revocation had committed."""
    done = []
    for sid in sids:
        session = Session.objects.select_related("user").get(pk=decode_id(sid))
        meet()
        linger(0.05)  # long enough for a refresh on a busy machine
        if all_of_user:
            sessions.revoke_all(session.user, "logout")
        else:
            sessions.revoke(session, "logout")
        done.append(time.monotonic())
    return done


def patiently(write: Callable[[], T], *more_errors: type[Exception]) -> T:
    """Under REPEATABLE READ the database tells the loser of a race to try again; nowhere else."""
    told_by: tuple[type[Exception], ...] = (OperationalError, *more_errors)
    while True:
        try:
            return write()
        except told_by:
            if "isolation_level" not in connection.settings_dict["OPTIONS"]:
                raise


def linger(most: float) -> None:
    """Wait a random time, so that the rounds of a race meet in different places."""
    time.sleep(random.uniform(0, most))  # noqa: S311


# --- Refreshing at the same moment


def test_one_token_from_many_clients_is_one_rotation(shared: Processes) -> None:
    logins = shared.call(log_in, max(ROUNDS // 6, 1))
    tokens = [login.refresh_token for login in logins]
    outcomes = shared.run([(refresh_each, tokens)] * MANY)
    for of_one_token in zip(*outcomes, strict=True):
        assert Counter(one.outcome for one in of_one_token) == {"refreshed": MANY}
        assert len({one.refresh_token for one in of_one_token}) == 1
    assert shared.call(states, [login.sid for login in logins]) == [State(1, None, None)] * len(logins)


def test_outside_of_the_leeway_at_most_one_wins_and_the_session_ends(shared: Processes) -> None:
    logins = shared.call(log_in, max(ROUNDS // 6, 1))
    tokens = [login.refresh_token for login in logins]
    outcomes = shared.run([(refresh_each, tokens)] * MANY, REUSE_LEEWAY=NO_LEEWAY)
    ended = shared.call(states, [login.sid for login in logins])
    for of_one_token, state in zip(zip(*outcomes, strict=True), ended, strict=True):
        counted = Counter(one.outcome for one in of_one_token)
        assert counted["refreshed"] <= 1
        assert counted["token_reused"] >= 1
        assert counted.keys() <= {"refreshed", "token_reused", "token_revoked"}
        assert (state.generation, state.revoke_reason) == (1, "reuse")
        assert_covered(state, of_one_token)


def refresh_twice_then_the_first(meet: Meet, token: str) -> list[str]:
    successor = refresh(token).refresh_token
    return [refresh(successor).outcome, refresh(token).outcome, refresh(successor).outcome]


def test_two_generations_old_inside_the_leeway_is_reuse(shared: Processes) -> None:
    [login] = shared.call(log_in, 1)
    outcomes = shared.call(refresh_twice_then_the_first, login.refresh_token)
    assert outcomes == ["refreshed", "token_reused", "token_revoked"]
    assert shared.call(states, [login.sid])[0].revoke_reason == "reuse"


# --- Refreshing while something else ends the session


def assert_covered(state: State, outcomes: Iterable[Refreshed]) -> None:
    """Assert that the denylist entry outlives every access token that was handed out."""
    assert state.denied_until is not None
    latest = max((one.access_expires_at for one in outcomes), default=0)
    assert latest <= state.denied_until.timestamp()


@pytest.mark.parametrize("all_of_user", [False, True], ids=["revoke", "revoke_all"])
def test_no_refresh_succeeds_once_a_revocation_has_committed(shared: Processes, all_of_user: bool) -> None:
    logins = shared.call(log_in, ROUNDS, ACCESS_TOKEN_LIFETIME=timedelta(minutes=1))
    sids, tokens = [login.sid for login in logins], [login.refresh_token for login in logins]
    refreshed, revoked = shared.run([(keep_refreshing, tokens), (revoke_after_a_moment, sids, all_of_user)])
    for outcomes, revoked_at, state in zip(refreshed, revoked, shared.call(states, sids), strict=True):
        *succeeded, refused = outcomes
        assert {one.outcome for one in succeeded} <= {"refreshed"}
        assert refused.outcome == "token_revoked"
        assert all(one.begun < revoked_at for one in succeeded)
        assert state.revoke_reason == "logout"
        assert_covered(state, outcomes)
    assert sum(map(len, refreshed)) > 2 * ROUNDS, "the sessions ended too early to meet a refresh"


def log_in_long_ago(meet: Meet, count: int) -> list[Login]:
    """Make sessions that an epoch covers unless they are refreshed."""
    logins = log_in(meet, count)
    long_ago = timezone.now() - timedelta(minutes=10)
    Session.objects.filter(pk__in=[decode_id(login.sid) for login in logins]).update(
        created_at=long_ago, refreshed_at=long_ago
    )
    return logins


def revoke_everybody_after_a_moment(meet: Meet) -> float:
    """Revoke all sessions in the middle of refreshes; return when it had committed."""
    meet()
    linger(0.05)
    patiently(lambda: sum(sessions.revoke_everybody_in_batches("admin")))
    return time.monotonic()


def refresh_while_it_lasts(meet: Meet, token: str) -> list[Refreshed]:
    meet()
    outcomes = [refresh(token)]
    while outcomes[-1].outcome == "refreshed":
        # Under REPEATABLE READ a transaction that locks all sessions gets through only if none changes meanwhile.
        linger(0.1)
        outcomes.append(refresh(outcomes[-1].refresh_token))
    return outcomes


def test_no_refresh_gets_away_from_the_end_of_all_sessions(shared: Processes) -> None:
    for _ in range(max(ROUNDS // 10, 1)):
        logins = shared.call(log_in_long_ago, MANY // 2)
        *refreshed, done = shared.run(
            [(refresh_while_it_lasts, login.refresh_token) for login in logins] + [(revoke_everybody_after_a_moment,)]
        )
        for outcomes, state in zip(refreshed, shared.call(states, [login.sid for login in logins]), strict=True):
            *succeeded, refused = outcomes
            assert refused.outcome == "token_revoked"
            assert all(one.begun < done for one in succeeded)
            assert state.revoke_reason == "admin"
            # What was refreshed holds a token that is younger than the epoch; what was not is covered by that.
            if succeeded:
                assert_covered(state, succeeded)
            else:
                assert state.denied_until is None


# --- Logging in while the user goes


def start_each(meet: Meet, names: list[str]) -> list[tuple[str, float] | None]:
    """Log each user in; return session and expiry of the access token, or None where it was refused."""
    outcomes: list[tuple[str, float] | None] = []
    for name in names:
        user = get_user_model().objects.get(username=name)
        meet()
        linger(0.01)
        try:
            pair = patiently(partial(sessions.start, user))
        except CredentialsError:
            outcomes.append(None)
        else:
            outcomes.append((pair.session.sid, get_codec().decode(pair.access_token).exp))
    return outcomes


def delete_each(meet: Meet, names: list[str]) -> None:
    for name in names:
        user = get_user_model().objects.get(username=name)
        meet()
        linger(0.01)
        # Under REPEATABLE READ it does not see, and so leaves, the session of a login that commits meanwhile.
        patiently(user.delete, IntegrityError)


def make_users(meet: Meet, count: int) -> list[str]:
    return [new_user().username for _ in range(count)]


def remains(meet: Meet, names: list[str], sids: list[str]) -> tuple[int, dict[str, datetime]]:
    """Return how many of the users are left, and until when the sessions are denied."""
    users = get_user_model().objects.filter(username__in=names)
    entries = DenylistEntry.objects.filter(value__in=map(decode_id, sids))
    return users.count(), {str(entry): entry.expires_at for entry in entries}


def test_a_login_and_the_deletion_of_its_user(shared: Processes) -> None:
    names = shared.call(make_users, ROUNDS)
    *started, _ = shared.run([(start_each, names), (start_each, names), (delete_each, names)])
    handed_out = dict(filter(None, itertools.chain(*started)))
    left, denied = shared.call(remains, names, list(handed_out))
    assert left == 0
    assert denied.keys() == handed_out.keys()
    for sid, access_expires_at in handed_out.items():
        assert access_expires_at <= denied[sid].timestamp()


def revoke_all_of_each(meet: Meet, names: list[str]) -> None:
    for name in names:
        user = get_user_model().objects.get(username=name)
        sessions.start(user)
        meet()
        linger(0.01)
        sessions.revoke_all(user, "logout")


def test_a_login_beside_the_end_of_all_sessions_ends_or_goes_on_whole(shared: Processes) -> None:
    names = shared.call(make_users, ROUNDS)
    *started, _ = shared.run([(start_each, names), (start_each, names), (revoke_all_of_each, names)])
    ends = dict(filter(None, itertools.chain(*started)))
    assert len(ends) == 2 * ROUNDS
    for state, expires_at in zip(shared.call(states, list(ends)), ends.values(), strict=True):
        if state.revoke_reason is None:
            assert state.denied_until is None
        else:
            assert state.denied_until is not None
            assert expires_at <= state.denied_until.timestamp()


def test_logins_at_once_leave_no_more_than_the_cap(shared: Processes) -> None:
    names = shared.call(make_users, max(ROUNDS // 3, 1))
    shared.run([(start_each, names)] * 3, MAX_SESSIONS_PER_USER=1)
    assert shared.call(count_live, names) == [1] * len(names)


def count_live(meet: Meet, names: list[str]) -> list[int]:
    return [Session.objects.live().filter(user__username=name).count() for name in names]


# --- Revoking many at once


def start_many(meet: Meet, count: int) -> list[str]:
    user = new_user()
    return [sessions.start(user).session.sid for _ in range(count)]


def lift_entries(meet: Meet, sids: list[str]) -> None:
    DenylistEntry.objects.filter(value__in=map(decode_id, sids)).delete()


def revoke_sessions(meet: Meet, sids: list[str], order: str, in_transaction: bool) -> tuple[int, list[str]]:
    """Revoke them at once; return how many were live and the database's errors, those that were caught as well."""
    errors: list[str] = []

    def record(execute: Any, *arguments: Any) -> Any:
        try:
            return execute(*arguments)
        except Exception as error:
            errors.append(type(error.__cause__).__name__)
            raise

    queryset = Session.objects.filter(pk__in=map(decode_id, sids)).order_by(order)
    meet()
    with connection.execute_wrapper(record), transaction.atomic() if in_transaction else nullcontext():
        return sessions.revoke_each(queryset, "admin"), errors


@pytest.mark.parametrize("in_transaction", [False, True], ids=["alone", "in_a_transaction"])
@pytest.mark.parametrize("shared", ["postgres", "mariadb"], indirect=True)
def test_overlapping_sets_in_opposite_orders_do_not_deadlock(shared: Processes, in_transaction: bool) -> None:
    for _ in range(max(ROUNDS // 30, 1)):
        sids = shared.call(start_many, 300)
        sets = [(sids[:200], "pk"), (sids[100:], "-pk"), (sids[50:250], "created_at"), (sids[:200], "-created_at")]
        outcomes = shared.run([(revoke_sessions, *one, in_transaction) for one in sets])
        assert sum(ended for ended, _ in outcomes) == len(sids)
        # Ended ones are denied again where they were allowed.
        shared.call(lift_entries, sids)
        outcomes += shared.run([(revoke_sessions, *one, in_transaction) for one in sets])
        assert [errors for _, errors in outcomes] == [[]] * 8
        assert {state.revoke_reason for state in shared.call(states, sids)} == {"admin"}
        assert None not in {state.denied_until for state in shared.call(states, sids)}


def test_overlapping_sets_end_whatever_the_isolation(shared: Processes) -> None:
    sids = shared.call(start_many, 300)
    sets = [(sids[:200], "pk"), (sids[100:], "-pk"), (sids[50:250], "created_at"), (sids[:200], "-created_at")]
    outcomes = shared.run([(revoke_sessions, *one, False) for one in sets])
    assert sum(ended for ended, _ in outcomes) == len(sids)
    assert None not in {state.denied_until for state in shared.call(states, sids)}


# --- The upgrade of a password's hash


def log_in_with_outdated_hash(meet: Meet, count: int) -> list[tuple[str, str]]:
    """Make users with one session each, whose hashes Django will upgrade; return names and refresh tokens."""
    logins = []
    for _ in range(count):
        user = new_user()
        user.password = PBKDF2PasswordHasher().encode(PASSWORD, "salt", iterations=1)
        user.save()
        logins.append((user.username, sessions.start(user).refresh_token))
    return logins


def log_in_each(meet: Meet, names: list[str]) -> list[str]:
    """Log each user in by password; return the refresh tokens."""
    tokens = []
    for name in names:
        meet()
        linger(0.005)
        user = patiently(partial(authenticate, username=name, password=PASSWORD))
        tokens.append(sessions.start(user).refresh_token)
        meet()
    return tokens


def refresh_meanwhile(meet: Meet, tokens: list[str]) -> list[list[str]]:
    """Refresh each token a few times while something else happens, and once after it; return the outcomes."""
    rounds = []
    for token in tokens:
        outcomes = []
        meet()
        for _ in range(6):
            refreshed = refresh(token)
            outcomes.append(refreshed.outcome)
            token = refreshed.refresh_token
        meet()
        outcomes.append(refresh(token).outcome)
        rounds.append(outcomes)
    return rounds


def refresh_all(meet: Meet, tokens: list[str]) -> list[str]:
    return [refresh(token).outcome for token in tokens]


def test_a_hash_upgrade_ends_no_session_that_is_refreshed_meanwhile(shared: Processes) -> None:
    names, tokens = zip(*shared.call(log_in_with_outdated_hash, ROUNDS), strict=True)
    _, rounds = shared.run([(log_in_each, names), (refresh_meanwhile, tokens)])
    assert Counter(itertools.chain(*rounds)) == {"refreshed": 7 * ROUNDS}


def test_two_hash_upgrades_at_once_end_no_session(shared: Processes) -> None:
    names, tokens = zip(*shared.call(log_in_with_outdated_hash, max(ROUNDS // 3, 1)), strict=True)
    started = shared.run([(log_in_each, names)] * 2)
    assert set(shared.call(refresh_all, list(tokens))) == {"refreshed"}
    # A login that was overtaken cannot tell the other's upgrade from a password change, and must log in once more.
    outcomes = zip(*(shared.call(refresh_all, pairs) for pairs in started), strict=True)
    assert all("refreshed" in both and set(both) <= {"refreshed", "token_revoked"} for both in outcomes)


# --- Pruning beside a transaction that goes on for long


def expire(meet: Meet, sids: list[str]) -> None:
    past = timezone.now() - timedelta(days=20)
    keys = [decode_id(sid) for sid in sids]
    assert Session.objects.filter(pk__in=keys).update(expires_at=past, access_expires_at=past) == len(keys)


def hold_a_session(meet: Meet, sid: str) -> None:
    with transaction.atomic():
        Session.objects.select_for_update().get(pk=decode_id(sid))
        meet()
        meet()  # pruned


def prune_meanwhile(meet: Meet) -> list[str]:
    """Prune while another process has a session locked; return the sessions that are left."""
    meet()
    list(pruning.prune())
    meet()
    return [session.sid for session in Session.objects.all()]


@pytest.mark.parametrize("url", ["postgres_url", "mariadb_url"], ids=["postgres", "mariadb"])
def test_pruning_waits_for_nobody(url: str, request: pytest.FixtureRequest) -> None:
    with processes(request.getfixturevalue(url)) as running:
        held, *others = [login[0] for login in running.call(log_in, 3)]
        running.call(expire, [held, *others])
        _, left = running.run([(hold_a_session, held), (prune_meanwhile,)])
        assert held in left
        assert not set(others).intersection(left)
