"""A writer beside the site, and clients that ask every worker how long it accepts what was revoked.

All moments are readings of the monotonic clock, which is one for all processes of a machine.
"""

from __future__ import annotations

import heapq
import http.client
import itertools
import json
import random
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple

from django_jwtauth.jose.encoding import encode_id
from tests.support.servers import EXAMPLE, ROOT, Answer, Connection, Server, connect, environment

SLOW_MACHINE = 1.0
"""Seconds over the promise that are forgiven: a load that takes longer than a second is not waited for."""
GIVE_UP = 10.0
"""Seconds over the promise after which a revocation counts as missed."""


class Login(NamedTuple):
    """A session and its tokens."""

    sid: str
    access_token: str
    refresh_token: str


class Revoked(NamedTuple):
    """The end of a transaction that revoked sessions: it was visible to others after ``begun``, before ``done``."""

    sids: list[str]
    begun: float
    done: float
    rolled_back: bool


# --- The writer


class Writer:
    """The process of ``tests.proving_ground.writer``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[Any]] = {}
        self._writing = threading.Lock()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def log_in(self, count: int, **how: Any) -> list[Login]:
        """Start sessions."""
        return [Login(*login) for login in self._order("log_in", count=count, **how).result()]

    def make_superuser(self, name: str, password: str) -> None:
        """Make somebody who may do everything in the admin."""
        self._order("make_superuser", name=name, password=password).result()

    def revoke(self, sids: Sequence[str], then: Callable[[Revoked], None], **how: Any) -> Future[Revoked]:
        """Revoke sessions in one transaction; when it has ended, do something, and only then say so in the future."""
        done: Future[Revoked] = Future()

        def told(answer: Future[Any]) -> None:
            try:
                revoked = Revoked(**answer.result())
                then(revoked)
            except Exception as error:
                done.set_exception(error)
            else:
                done.set_result(revoked)

        self._order("revoke", sids=list(sids), **how).add_done_callback(told)
        return done

    def close(self) -> None:
        """Let it finish what it was told, and end it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._reader.join()
        self._process.wait()

    def _order(self, what: str, **arguments: Any) -> Future[Any]:
        number, future = next(self._numbers), Future[Any]()
        self._waiting[number] = future
        assert self._process.stdin
        with self._writing:
            self._process.stdin.write(json.dumps([number, what, arguments]) + "\n")
            self._process.stdin.flush()
        return future

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            answer = json.loads(line)
            future = self._waiting.pop(answer["number"])
            if "error" in answer:
                future.set_exception(AssertionError(answer["error"]))
            else:
                future.set_result(answer["result"])
        for future in self._waiting.values():
            future.set_exception(AssertionError("the writer has ended"))


@contextmanager
def writing(database_url: str, threads: int = 4, **variables: str) -> Iterator[Writer]:
    """Run a writer."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.proving_ground.writer", str(threads)],
        cwd=ROOT,
        env=environment(database_url, PYTHONPATH=str(EXAMPLE), **variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        writer = Writer(process)
        try:
            yield writer
        finally:
            writer.close()


@contextmanager
def noticing(url: str, then: Callable[[Revoked], None], every: float = 0.05) -> Iterator[None]:
    """Look again and again which sessions the denylist has got, and tell between which moments that was committed."""
    over = threading.Event()

    def read(cursor: Any) -> set[str]:
        cursor.execute("SELECT CAST(value AS char(36)) FROM jwtauth_denylistentry WHERE claim = 'sid'")
        return {value for (value,) in cursor.fetchall()}

    def notice() -> None:
        with closing(connect(url)) as connection, closing(connection.cursor()) as cursor:
            begun, known = time.monotonic(), read(cursor)
            started.set()
            while True:
                last = over.wait(every)
                before, begun = begun, time.monotonic()
                denied = read(cursor)
                if new := denied - known:
                    sids = [encode_id(uuid.UUID(value)) for value in new]
                    then(Revoked(sids, before, time.monotonic(), rolled_back=False))
                if last:
                    return
                known = denied

    started = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        noticed = pool.submit(notice)
        assert started.wait(10)
        try:
            yield
        finally:
            over.set()
        noticed.result()


# --- Clients


class Client:
    """Asks with a token. It keeps its connection, and so its worker, as long as the worker lets it."""

    def __init__(self, port: int, connection: Connection | None = None) -> None:
        self.port = port
        self._connection = connection or Connection(port)

    def ping(self, token: str) -> Answer:
        """Ask; once more, of whoever answers, where the worker was killed."""
        headers = {"Authorization": f"Bearer {token}"}
        for _ in range(100):
            try:
                return self._connection.request("GET", "/api/ping/", headers=headers)
            except (OSError, http.client.HTTPException):
                self._connection.close()
                self._connection = Connection(self.port)
                time.sleep(0.05)
        raise AssertionError("no worker answers any more")

    def close(self) -> None:
        """Hang up."""
        self._connection.close()


@dataclass
class Figures:
    """What the clients saw."""

    revocations: int = 0
    requests: int = 0
    worst: float = 0.0
    """The most seconds after its commit began that a token was sent and still accepted."""
    missed: int = 0
    """Tokens that some worker accepted until the clients gave up."""
    late: int = 0
    """Requests that were sent later than promised after the commit was over, and accepted."""
    revived: int = 0
    """Requests that were accepted by a worker which had refused the token before they were sent."""
    kept: int = 0
    """Requests with tokens whose revocation was rolled back, or which never were revoked, some time after."""
    wrongly_refused: int = 0
    """Those of them that were refused."""
    others: Counter[str] = field(default_factory=Counter)
    """Answers that were neither."""

    def check(self) -> None:
        """Assert that the promise was kept."""
        assert self.others == Counter()
        assert (self.missed, self.late, self.revived, self.wrongly_refused) == (0, 0, 0, 0), self


class _Question(NamedTuple):
    due: float
    number: int
    token: str
    revoked: Revoked | None
    last: bool


class Watch:
    """Clients, each with the questions that it still has to ask."""

    def __init__(self, clients: Sequence[Client], interval: float) -> None:
        self.figures = Figures()
        self._interval = interval
        self._numbers = itertools.count()
        self._refused: dict[tuple[str, int], float] = {}
        """When a worker had first refused a token. Two clients may have the same one, once theirs were killed."""
        self._lock = threading.Condition()
        self._questions: list[list[_Question]] = [[] for _ in clients]
        self._ending = False
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._ask_all, args=each) for each in zip(clients, self._questions, strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def revoked(self, token: str, revoked: Revoked, early: int = 1) -> None:
        """Ask each worker at so many moments within the interval, and when it is over."""
        with self._lock:
            self.figures.revocations += 1
        moments = [random.uniform(0, self._interval) for _ in range(early)]  # noqa: S311
        for questions in self._questions:
            for moment in moments:
                self._add(questions, revoked.done + moment, token, revoked, last=False)
            self._add(questions, revoked.done + self._interval, token, revoked, last=True)

    def kept(self, token: str, due: float) -> None:
        """Ask each worker then, and expect that it accepts."""
        for questions in self._questions:
            self._add(questions, due, token, None, last=True)

    @contextmanager
    def traffic(self, token: str, every: float = 0.05) -> Iterator[None]:
        """Ask with a token that is not revoked all the time, so that every worker has a denylist of some age."""
        over = threading.Event()

        def keep_asking() -> None:
            while not over.wait(every):
                self.kept(token, time.monotonic())

        with ThreadPoolExecutor(1) as pool:
            pool.submit(keep_asking)
            try:
                yield
            finally:
                over.set()

    def ended(self, tokens: dict[str, str], early: int = 1) -> Callable[[Revoked], None]:
        """Return what to do when a transaction has ended that revoked some of these sessions' tokens."""

        def tell(revoked: Revoked) -> None:
            for sid in revoked.sids:
                if revoked.rolled_back:
                    self.kept(tokens[sid], revoked.done + self._interval)
                else:
                    self.revoked(tokens[sid], revoked, early)

        return tell

    def finish(self) -> Figures:
        """Wait until all is asked."""
        with self._lock:
            self._ending = True
            self._lock.notify_all()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]
        return self.figures

    def _add(self, questions: list[_Question], due: float, token: str, revoked: Revoked | None, last: bool) -> None:
        with self._lock:
            heapq.heappush(questions, _Question(due, next(self._numbers), token, revoked, last))
            self._lock.notify_all()

    def _next(self, questions: list[_Question]) -> _Question | None:
        with self._lock:
            while True:
                if questions and (wait := questions[0].due - time.monotonic()) <= 0:
                    return heapq.heappop(questions)
                if not questions and self._ending:
                    return None
                self._lock.wait(wait if questions else None)

    def _ask_all(self, client: Client, questions: list[_Question]) -> None:
        try:
            while (question := self._next(questions)) is not None:
                sent = time.monotonic()
                again = self._settle(question, sent, client.ping(question.token))
                if again:
                    self._add(questions, time.monotonic() + 0.1, question.token, question.revoked, last=True)
        except BaseException as error:
            self._errors.append(error)
            with self._lock:
                questions.clear()

    def _settle(self, question: _Question, sent: float, answer: Answer) -> bool:
        """Count an answer; return whether the question is to be asked again."""
        accepted = answer.status == HTTPStatus.OK
        refused = answer.status == HTTPStatus.UNAUTHORIZED and answer.json["code"] == "token_revoked"
        figures, revoked, key = self.figures, question.revoked, (question.token, answer.worker)
        with self._lock:
            figures.requests += 1
            if not accepted and not refused:
                figures.others[f"{answer.status} {answer.body[:100]!r}"] += 1
            elif revoked is None:
                figures.kept += 1
                figures.wrongly_refused += refused
            elif refused:
                self._refused.setdefault(key, time.monotonic())
            else:
                figures.worst = max(figures.worst, sent - revoked.begun)
                figures.revived += sent > self._refused.get(key, float("inf"))
                figures.late += sent > revoked.done + self._interval + SLOW_MACHINE
                if question.last:
                    given_up = sent > revoked.done + self._interval + GIVE_UP
                    figures.missed += given_up
                    return not given_up
        return False


@contextmanager
def watching(servers: Sequence[Server], workers: int, interval: float, clients: int = 1) -> Iterator[Watch]:
    """Watch each worker of some servers with so many clients."""
    with ExitStack() as stack:
        asking: list[Client] = []
        for server in servers:
            for _ in range(clients):
                if server.keeps_connections:
                    connections = stack.enter_context(server.connection_to_each_worker(workers))
                    asking += [Client(server.port, connection) for connection in connections.values()]
                else:
                    # Whoever is free answers: so many that all are meant.
                    asking += [Client(server.port) for _ in range(workers)]
        watch = Watch(asking, interval)
        try:
            yield watch
        finally:
            watch.finish()
            for client in asking:
                client.close()
