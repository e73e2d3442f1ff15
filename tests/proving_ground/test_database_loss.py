"""A database that ends, or hangs, under load: who needs it is told so, others are served, nobody is logged out."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http import HTTPStatus
from pathlib import Path
from threading import Event, Lock
from typing import NamedTuple

import pytest

from tests.proving_ground.conftest import DATABASES, FULL, INTERVAL, RecordLoss, Site
from tests.proving_ground.harness import SLOW_MACHINE, Login
from tests.proving_ground.private_servers import DatabaseServer, private_server
from tests.support.servers import Answer, Connection, Server, manage

pytestmark = pytest.mark.processes

MAX_STALENESS = 3 * INTERVAL
REUSE_LEEWAY = 60
"""Seconds, because a client whose answer was lost with the database comes back when that is there again."""
LONGEST_WAIT = 1.0
"""Seconds for which a request that needs no database waits for a load of the denylist."""
PASSWORD = "correct horse battery staple"
OK, REVOKED = (HTTPStatus.OK, ""), (HTTPStatus.UNAUTHORIZED, "token_revoked")
STALE = (HTTPStatus.SERVICE_UNAVAILABLE, "denylist_unavailable")
FAILED = (HTTPStatus.SERVICE_UNAVAILABLE, "database_unavailable")

GTHREAD, SYNC = {"worker_class": "gthread"}, {"worker_class": "sync"}
KEPT, ATOMIC = {"CONN_MAX_AGE": "60"}, {"ATOMIC_REQUESTS": "1"}
WAYS = [[GTHREAD, SYNC | KEPT | ATOMIC]]
"""How the site is served, by several servers at once."""
if FULL:
    WAYS += [[GTHREAD | KEPT, SYNC | ATOMIC], [GTHREAD | ATOMIC, SYNC | KEPT], [GTHREAD | KEPT | ATOMIC, SYNC]]


@pytest.fixture(scope="module", params=DATABASES)
def server_of_its_own(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    with private_server(request.param) as server:
        manage(server.url, "migrate", "--verbosity", "0")
        yield server


@pytest.fixture
def database(server_of_its_own: DatabaseServer) -> str:
    """The name of the database server in use."""
    return server_of_its_own.name


@pytest.fixture
def private(server_of_its_own: DatabaseServer) -> Iterator[DatabaseServer]:
    """A database server of our own, with all tables."""
    yield server_of_its_own
    server_of_its_own.restore()


def in_words(ways: list[dict[str, str]]) -> str:
    return "; ".join(
        ", ".join(value if name == "worker_class" else f"{name}={value}" for name, value in way.items()) for way in ways
    )


every_way = pytest.mark.parametrize("ways", WAYS, ids=in_words)


# --- Visitors

Outcome = tuple[int, str]
"""A status and a code."""
Ask = Callable[[Connection], Answer]


class Visit(NamedTuple):
    """A request and what came of it."""

    sent: float
    took: float
    outcome: tuple[int, str]
    retry_after: str | None


class Visitors:
    """Clients that ask all the time, each for one thing."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._over = Event()
        self._doors: list[Lock] = []

    def send(self, server: Server, ask: Ask, every: float = 0.05) -> Future[list[Visit]]:
        """Let one more ask; return its visits, which are there when all is over."""
        self._doors.append(Lock())
        return self._pool.submit(self._ask, server.port, ask, every, self._doors[-1])

    def go(self) -> None:
        """Let them go home."""
        self._over.set()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let nobody ask for a moment, and be in the middle of it."""
        with ExitStack() as stack:
            for door in self._doors:
                stack.enter_context(door)
            yield

    def _ask(self, port: int, ask: Ask, every: float, door: Lock) -> list[Visit]:
        visits = []
        with closing(Connection(port, timeout=60)) as connection:
            while not self._over.wait(every):
                with door:
                    sent = time.monotonic()
                    answer = ask(connection)
                code = "" if answer.status == HTTPStatus.OK else answer.json["code"]
                took = time.monotonic() - sent
                visits.append(Visit(sent, took, (answer.status, code), answer.headers["Retry-After"]))
        return visits


@contextmanager
def visitors() -> Iterator[Visitors]:
    """Let visitors come as long as the block lasts."""
    with ThreadPoolExecutor(32) as pool:
        coming = Visitors(pool)
        try:
            yield coming
        finally:
            coming.go()


def pinging(login: Login) -> Ask:
    headers = {"Authorization": f"Bearer {login.access_token}"}
    return lambda connection: connection.request("GET", "/api/ping/", headers=headers)


def listing(login: Login) -> Ask:
    headers = {"Authorization": f"Bearer {login.access_token}"}
    return lambda connection: connection.request("GET", "/auth/sessions/", headers=headers)


def ending(login: Login) -> Ask:
    data = {"token": login.refresh_token}
    return lambda connection: connection.request("POST", "/auth/token/revoke/", data)


def logging_in(username: str) -> Ask:
    data = {"username": username, "password": PASSWORD}
    return lambda connection: connection.request("POST", "/auth/token/", data)


def refreshing(login: Login) -> Ask:
    data = {"refresh_token": login.refresh_token}

    def refresh(connection: Connection) -> Answer:
        answer = connection.request("POST", "/auth/token/refresh/", data)
        if answer.status == HTTPStatus.OK:
            data["refresh_token"] = answer.json["refresh_token"]
        return answer

    return refresh


def outcomes(visits: Sequence[Visit], since: float = 0, until: float = float("inf")) -> set[Outcome]:
    """Return what came of requests that were sent and answered between two moments; there must be some."""
    found = {visit.outcome for visit in visits if since <= visit.sent and visit.sent + visit.took <= until}
    assert found, "nobody asked"
    return found


# --- What is promised


class Loss(NamedTuple):
    """When the database was lost, when it was asked to come back, and when it had."""

    at: float
    until: float
    over: float

    def check_served(self, visits: Sequence[Visit], served: Outcome) -> None:
        """Assert that those who need no database were served as long as they may be, and as soon as they can be."""
        assert outcomes(visits) == {served, STALE}
        assert outcomes(visits, until=self.at + MAX_STALENESS - INTERVAL) == {served}
        assert outcomes(visits, self.at + MAX_STALENESS + SLOW_MACHINE, self.until) == {STALE}
        assert outcomes(visits, self.over + INTERVAL + SLOW_MACHINE) == {served}
        self.check_told(visits)

    def check_all_served(self, served: Sequence[Future[list[Visit]]], denied: Sequence[Future[list[Visit]]]) -> None:
        """Assert the same of several visitors, some of whom come with a token that is revoked."""
        for visits in served:
            self.check_served(visits.result(), OK)
        for visits in denied:
            self.check_served(visits.result(), REVOKED)

    def figures(self, served: Sequence[Future[list[Visit]]]) -> tuple[float, float, float, float]:
        """Return how long the longest answer took, how long it may, and after how many seconds the first one was
        sent away, and was served again.
        """
        visits = [visit for visits in served for visit in visits.result()]
        sent_away = min(visit.sent for visit in visits if visit.outcome == STALE)
        again = max(visit.sent + visit.took for visit in visits if visit.outcome == STALE)
        return max(visit.took for visit in visits), LONGEST_WAIT, sent_away - self.at, again - self.over

    def check_refused(self, visits: Sequence[Visit]) -> None:
        """Assert that those who need the database were told so until it was back."""
        assert outcomes(visits) <= {OK, FAILED, STALE}
        assert outcomes(visits, until=self.at) == {OK}
        assert outcomes(visits, self.at + SLOW_MACHINE, self.until) <= {FAILED, STALE}
        assert outcomes(visits, self.over + INTERVAL + SLOW_MACHINE) == {OK}
        self.check_told(visits)

    def check_told(self, visits: Sequence[Visit]) -> None:
        """Assert that who was sent away was told when to come back."""
        assert all(visit.retry_after for visit in visits if visit.outcome in {STALE, FAILED})


@pytest.fixture
def site(private: DatabaseServer, tmp_path: Path) -> Callable[..., Site]:
    """Return a function that makes a site on that server, with options of the driver."""

    def make(options: str = "", max_staleness: float = MAX_STALENESS) -> Site:
        durations = {"DENYLIST_MAX_STALENESS": max_staleness, "REUSE_LEEWAY": REUSE_LEEWAY}
        return Site(private.url + options, tmp_path, durations=durations)

    return make


def log_in(site: Site) -> tuple[Login, Login]:
    """Return a session, and another one that was revoked."""
    with site.write(1) as writer:
        kept, revoked = writer.log_in(2)
        writer.revoke([revoked.sid], then=lambda revoked: None).result()
    return kept, revoked


def make_user(site: Site) -> str:
    """Return the name of a user."""
    username = f"user-{os.urandom(4).hex()}"
    with site.write(1) as writer:
        writer.make_superuser(username, PASSWORD)
    return username


@contextmanager
def serving(site: Site, ways: list[dict[str, str]]) -> Iterator[list[Server]]:
    """Serve a site in several ways at once."""
    with ExitStack() as stack:
        yield [stack.enter_context(site.serve(f"site-{number}", **way)) for number, way in enumerate(ways)]


@every_way
@pytest.mark.parametrize("how", ["stop", "kill"] if FULL else ["kill"])
def test_without_its_database_the_site_goes_on_and_then_says_that_it_cannot(
    private: DatabaseServer, site: Callable[..., Site], ways: list[dict[str, str]], how: str, record_loss: RecordLoss
) -> None:
    used = site()
    kept, revoked = log_in(used)
    username = make_user(used)
    with serving(used, ways) as servers:
        with visitors() as coming:
            served = [coming.send(server, pinging(kept)) for server in servers]
            denied = [coming.send(server, pinging(revoked)) for server in servers]
            needing = [coming.send(server, logging_in(username)) for server in servers]
            needing += [coming.send(server, listing(kept)) for server in servers]
            # One client of each session, that is, or they would replay each other's tokens.
            needing += [coming.send(server, refreshing(log_in(used)[0])) for server in servers]
            time.sleep(1.5 * INTERVAL)
            at = time.monotonic()
            getattr(private, how)()
            time.sleep(MAX_STALENESS + SLOW_MACHINE + INTERVAL)
            loss = Loss(at, time.monotonic(), private.start())
            time.sleep(2 * INTERVAL + SLOW_MACHINE)
        for visits in needing:
            loss.check_refused(visits.result())
        loss.check_all_served(served, denied)
    record_loss(f"is {'killed' if how == 'kill' else 'stopped'}, {in_words(ways)}", *loss.figures(served))


@every_way
def test_a_database_that_hangs_holds_up_nobody_who_does_not_need_it(
    private: DatabaseServer, site: Callable[..., Site], ways: list[dict[str, str]], record_loss: RecordLoss
) -> None:
    used = site()
    kept, revoked = log_in(used)
    with serving(used, ways) as servers:
        with visitors() as coming:
            served = [coming.send(server, pinging(kept)) for server in servers]
            denied = [coming.send(server, pinging(revoked)) for server in servers]
            time.sleep(1.5 * INTERVAL)
            at = time.monotonic()
            private.freeze()
            time.sleep(MAX_STALENESS + SLOW_MACHINE + INTERVAL)
            loss = Loss(at, time.monotonic(), private.thaw())
            time.sleep(2 * INTERVAL + SLOW_MACHINE)
        loss.check_all_served(served, denied)
    record_loss(f"hangs, {in_words(ways)}", *loss.figures(served))


# --- Who needs a database that hangs

BOUNDED = {
    "PostgreSQL": ("?connect_timeout=2", [GTHREAD]),
    "MariaDB": ("?connect_timeout=2&read_timeout=2&write_timeout=2", [GTHREAD, GTHREAD | KEPT]),
}
"""Options of the drivers, in seconds, and where they bound how long a login takes."""
LONGEST_ANSWER = 4.0
"""A connection that was kept fails, and then a new one does."""


def test_options_of_the_driver_bound_how_long_a_login_takes(
    private: DatabaseServer, site: Callable[..., Site], record_loss: RecordLoss
) -> None:
    options, ways = BOUNDED[private.name]
    used = site(options)
    username = make_user(used)
    with serving(used, ways) as servers, visitors() as coming:
        needing = []
        for server in servers:
            kept, _ = log_in(used)
            needing += [coming.send(server, ask) for ask in (logging_in(username), refreshing(kept), listing(kept))]
        time.sleep(INTERVAL)
        # A statement that psycopg has sent already would wait without end.
        with coming.waiting():
            at = time.monotonic()
            private.freeze()
        time.sleep(2.5 * LONGEST_ANSWER)
        loss = Loss(at, time.monotonic(), private.thaw())
        time.sleep(2 * INTERVAL + SLOW_MACHINE)
        coming.go()
        for visits in needing:
            loss.check_refused(visits.result())
    longest = max(visit.took for visits in needing for visit in visits.result())
    record_loss("hangs, logins and refreshes with options of the driver", longest, LONGEST_ANSWER)


# --- Afterwards


def test_a_worker_that_was_idle_since_a_hang_knows_what_was_revoked_after_it(
    private: DatabaseServer, site: Callable[..., Site]
) -> None:
    used = site(max_staleness=60)
    kept, _ = log_in(used)
    with used.serve(workers=1) as server, closing(Connection(server.port)) as connection:
        assert pinging(kept)(connection).status == HTTPStatus.OK
        time.sleep(INTERVAL)
        private.freeze()
        # It waits in vain for the load, which fails when the server is gone.
        assert pinging(kept)(connection).status == HTTPStatus.OK
        private.kill()
        private.start()
        with used.write(1) as writer:
            revoked = writer.revoke([kept.sid], then=lambda revoked: None).result()
        time.sleep(revoked.done + INTERVAL + SLOW_MACHINE - time.monotonic())
        answer = pinging(kept)(connection)
        assert (answer.status, answer.json.get("code")) == REVOKED


def test_a_database_that_became_a_replica_is_no_error_of_the_server(
    private: DatabaseServer, site: Callable[..., Site]
) -> None:
    used = site()
    kept, _ = log_in(used)
    username = make_user(used)
    with used.serve() as server, closing(Connection(server.port)) as connection:
        with private.read_only():
            for ask in (logging_in(username), refreshing(kept), ending(kept)):
                answer = ask(connection)
                assert (answer.status, answer.json["code"]) == FAILED, answer.body
                assert answer.headers["Retry-After"]
            assert pinging(kept)(connection).status == HTTPStatus.OK
        assert refreshing(kept)(connection).status == HTTPStatus.OK
