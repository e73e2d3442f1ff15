"""Run functions of the tests in processes of their own, at the same moment, on one database.

A first process is spawned for each database and sets Django up; it forks one more for every function of a run.
None of them knows the database of the test that asks.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

Meet = Callable[[], None]
"""Returns when all functions of the run have called it as often as this one."""
Call = tuple[Callable[..., Any], *tuple[Any, ...]]
"""A function of a module, and what to call it with after the ``meet`` that every function gets first."""

LONGEST_RUN = 120.0
LONGEST_WAIT = 60.0


class ProcessError(Exception):
    """A function raised; the message is its traceback."""


class Processes:
    """Where the functions of a test run."""

    def __init__(self, first: Any, pipe: Connection) -> None:
        self._first = first
        self._pipe = pipe

    def run(self, calls: Sequence[Call], **jwtauth: Any) -> list[Any]:
        """Call all at once, each in its process, with these keys of ``JWTAUTH``; return what they return."""
        named = [(f"{function.__module__}:{function.__name__}", arguments) for function, *arguments in calls]
        self._pipe.send((named, jwtauth))
        if not self._pipe.poll(LONGEST_RUN):
            self.kill()
            raise ProcessError(f"no answer within {LONGEST_RUN:.0f} s")
        results, errors = self._pipe.recv()
        if errors:
            raise ProcessError("\n".join(errors))
        return list(results)

    def call(self, function: Callable[..., Any], *arguments: Any, **jwtauth: Any) -> Any:
        """Call one."""
        return self.run([(function, *arguments)], **jwtauth)[0]

    def close(self) -> None:
        """End the processes."""
        self._pipe.close()
        self._first.join(timeout=10)
        if self._first.exitcode is None:
            self.kill()

    def kill(self) -> None:
        """End the processes where they are."""
        # It made itself the leader of a group; until then there is only itself.
        if os.getpgid(self._first.pid) == self._first.pid:
            os.killpg(self._first.pid, signal.SIGKILL)
        else:
            self._first.kill()
        self._first.join(timeout=10)


@contextmanager
def processes(database_url: str) -> Iterator[Processes]:
    """Yield processes that use this database."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    first = context.Process(target=_first, args=(theirs, database_url))
    first.start()
    theirs.close()
    running = Processes(first, ours)
    try:
        yield running
    finally:
        running.close()


def _first(pipe: Connection, database_url: str) -> None:
    os.setpgid(0, 0)
    os.environ["DATABASE_URL"] = database_url
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    while True:
        try:
            calls, jwtauth = pipe.recv()
        except EOFError:
            return
        pipe.send(_run(calls, jwtauth))


def _run(calls: Sequence[tuple[str, Sequence[Any]]], jwtauth: dict[str, Any]) -> tuple[list[Any], list[str]]:
    for name, _ in calls:
        importlib.import_module(name.partition(":")[0])
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(calls), timeout=LONGEST_WAIT)
    pipes, children = [], []
    for name, arguments in calls:
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_child, args=(sender, barrier, name, arguments, jwtauth))
        child.start()
        sender.close()
        pipes.append(receiver)
        children.append(child)
    results, errors = [], []
    for pipe, child in zip(pipes, children, strict=True):
        try:
            result, error = pipe.recv()
        except EOFError:
            child.join()
            result, error = None, f"a process ended with {child.exitcode}"
        results.append(result)
        if error:
            errors.append(error)
        child.join()
        pipe.close()
    return results, errors


def _child(pipe: Connection, barrier: Any, name: str, arguments: Sequence[Any], jwtauth: dict[str, Any]) -> None:
    from django.conf import settings
    from django.db import connections
    from django.test import override_settings

    module, _, function = name.partition(":")
    error = None
    result = None
    try:
        with override_settings(JWTAUTH={**settings.JWTAUTH, **jwtauth}):
            # The time that connecting takes would spread what is meant to happen at once.
            connections["default"].ensure_connection()
            result = getattr(importlib.import_module(module), function)(barrier.wait, *arguments)
    except threading.BrokenBarrierError:
        error = f"{name} was left alone by the others"
    except BaseException:
        barrier.abort()
        error = traceback.format_exc()
    connections.close_all()
    pipe.send((result, error))
