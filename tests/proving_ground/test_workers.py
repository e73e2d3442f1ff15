"""What happens to workers: they are killed and replaced, they sleep, they are stopped, their clocks are wrong."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.proving_ground.conftest import FULL, INTERVAL, WORKERS, Record, Site
from tests.proving_ground.harness import Client, Figures, Revoked, watching
from tests.proving_ground.test_transactions import revoke_in_overlapping_transactions
from tests.support.servers import Server

pytestmark = pytest.mark.processes

COUNT = 1_000 if FULL else 30
ROUNDS = 20 if FULL else 2
SLEEPS = 10 if FULL else 1
AN_HOUR = 3600.0


@contextmanager
def repeating(act: Callable[[], None], every: float) -> Iterator[None]:
    """Do something again and again beside the block."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(every):
            act()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def workers_of(server: Server) -> list[int]:
    """Return the process ids of a server's workers."""
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# --- Killed and replaced


@pytest.mark.parametrize("how", [{}, {"worker_class": "sync", "preload": True}], ids=["gthread", "sync --preload"])
def test_workers_that_are_killed_are_replaced_by_workers_that_know(
    site: Callable[..., Site], record: Record, request: pytest.FixtureRequest, how: dict[str, object]
) -> None:
    used = site()
    killed = set()
    with used.serve(**how) as server, used.write() as writer:

        def kill_one() -> None:
            victim = random.choice(workers_of(server))  # noqa: S311
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)

        with watching([server], WORKERS, used.interval) as watch, repeating(kill_one, every=INTERVAL):
            revoke_in_overlapping_transactions(writer, watch, COUNT)
        assert killed
        record(f"workers are killed and replaced, {request.node.callspec.id.partition('-')[2]}", watch.figures)


# --- Asleep


@pytest.mark.parametrize("stopped", [False, True], ids=["idle", "stopped"])
def test_a_worker_that_wakes_serves_nobody_by_what_it_knew_before(
    site: Callable[..., Site], record: Record, stopped: bool
) -> None:
    used, figures = site(), Figures()
    with used.serve(workers=1) as server, used.write() as writer:
        client = Client(server.port)
        for number, login in enumerate(writer.log_in(ROUNDS)):
            # In every other round it wakes earlier.
            asleep = used.interval * (random.random() if number % 2 else 1)  # noqa: S311
            worker = client.ping(login.access_token).worker
            if stopped:
                os.kill(worker, signal.SIGSTOP)
            ended: Revoked = writer.revoke([login.sid], then=lambda revoked: None).result()
            time.sleep(max(ended.done + asleep - time.monotonic(), 0))
            if stopped:
                # It finds the request waiting.
                threading.Timer(0.2, os.kill, (worker, signal.SIGCONT)).start()
            sent, answer = time.monotonic(), client.ping(login.access_token)
            figures.revocations += 1
            figures.requests += 2
            if answer.status == HTTPStatus.OK:
                figures.worst = max(figures.worst, sent - ended.begun)
                figures.late += sent >= ended.done + used.interval
        client.close()
    record("a worker that was stopped goes on" if stopped else "an idle worker wakes", figures)


# --- Wrong clocks

CLOCKS = {
    "an hour ahead": [AN_HOUR],
    "an hour behind": [-AN_HOUR],
    "jumping by an hour and back": [AN_HOUR, 0.0, -AN_HOUR, AN_HOUR, -AN_HOUR, 0.0],
}


def clocks(*in_short: str) -> pytest.MarkDecorator:
    """Try all wrong clocks, or in short some of them."""
    return pytest.mark.parametrize("name", CLOCKS if FULL else in_short)


@contextmanager
def wrong_clock(file: Path, errors: list[float]) -> Iterator[str]:
    """Let a clock be wrong by one error after the other; yield the file in which it says so."""
    cycle = itertools.cycle(errors)

    def turn() -> None:
        (new := file.with_suffix(".new")).write_text(str(next(cycle)))
        new.replace(file)

    turn()
    with repeating(turn, every=INTERVAL / 5) if len(errors) > 1 else nullcontext():
        yield str(file)


@clocks("jumping by an hour and back")
def test_a_worker_whose_clock_is_wrong_refuses_in_time(
    site: Callable[..., Site], record: Record, tmp_path: Path, name: str
) -> None:
    # Good by each of the clocks.
    used = site(durations={"ACCESS_TOKEN_LIFETIME": 4 * AN_HOUR})
    with wrong_clock(tmp_path / "clock", CLOCKS[name]) as clock, ExitStack() as stack:
        servers = [stack.enter_context(used.serve("right")), stack.enter_context(used.serve("wrong", CLOCK=clock))]
        writer = stack.enter_context(used.write())
        with watching(servers, WORKERS, used.interval) as watch:
            revoke_in_overlapping_transactions(writer, watch, COUNT, ago=2 * AN_HOUR)
    record(f"a server's clock is {name}", watch.figures)


@clocks("an hour ahead")
def test_what_is_revoked_by_a_wrong_clock_is_refused_in_time(
    site: Callable[..., Site], record: Record, tmp_path: Path, name: str
) -> None:
    used = site()
    with wrong_clock(tmp_path / "clock", CLOCKS[name]) as clock, ExitStack() as stack:
        server, right = stack.enter_context(used.serve()), stack.enter_context(used.write())
        wrong = stack.enter_context(used.write(CLOCK=clock))
        with watching([server], WORKERS, used.interval) as watch:
            revoke_in_overlapping_transactions(wrong, watch, COUNT, logins_by=right)
    record(f"the revoker's clock is {name}", watch.figures)


def test_a_token_that_lives_on_by_a_clock_behind_can_be_revoked(
    site: Callable[..., Site], record: Record, tmp_path: Path
) -> None:
    used = site(durations={"ACCESS_TOKEN_LIFETIME": AN_HOUR})
    with wrong_clock(tmp_path / "clock", [-AN_HOUR]) as clock, ExitStack() as stack:
        server, writer = stack.enter_context(used.serve(CLOCK=clock)), stack.enter_context(used.write())
        with watching([server], WORKERS, used.interval) as watch:
            revoke_in_overlapping_transactions(writer, watch, COUNT, ago=1.5 * AN_HOUR)
    record("a token that has expired, for a server an hour behind", watch.figures)
