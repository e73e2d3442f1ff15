"""A value that each process loads, shares between its requests, and reloads before it is too old.

Stale-while-revalidate with single-flight: one load at a time, in the background while the value is
good, waited for where it is too old. The process id is compared as well, for uWSGI forks without
the hooks of ``os.register_at_fork``.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, NamedTuple, TypeVar

from .clock import NEVER, Moment

T = TypeVar("T")

REFRESH_AT = 0.7, 0.8
"""Refresh in the background at this part of the maximum age, jittered so that workers started
together do not reload in step."""
MAX_LOAD_SECONDS = 10.0
"""A load that takes longer is given up and replaced; the next one may take twice as long."""
WAIT_AFTER_HANG = 0.25
"""Part of ``max_wait`` to wait for a load while the last one hung: enough for a source that answers
again."""
FOREVER = float("inf")

logger = logging.getLogger("django_jwtauth")


class TooOldError(Exception):
    """The value is older than it may be, and no load has replaced it."""


class Plan(NamedTuple, Generic[T]):
    """How to load: made in the thread of the request, which may hold what a background thread
    lacks."""

    load: Callable[[T], T]
    """Takes the value held so far and returns the next one."""
    in_background: bool = True
    """False where only the thread of the request sees the source, as in a transaction of a test."""


@dataclass(frozen=True, slots=True)
class Held(Generic[T]):
    """A value and its age."""

    value: T
    as_of: Moment
    """Read before the load began."""
    due_monotonic: float
    """Refresh once the monotonic or the wall clock is past its due time."""
    due_wall: float


class _Load:
    """One attempt."""

    def __init__(self, arrived: Moment, max_age: float, max_seconds: float) -> None:
        self.arrived = arrived
        """When the request arrived that started it; identifies that request too."""
        self.max_age = max_age
        self.max_seconds = max_seconds
        self.begun = Moment.now()
        self.ended = threading.Event()
        self.is_slow = False
        """A request timed out waiting for it."""


@dataclass(eq=False)
class _State:
    """What belongs to one process, and must not be inherited by a fork: a lock, and a load in a
    thread."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    load: _Load | None = None
    begun_at: Moment = NEVER
    failed_at: Moment = NEVER
    """When the last load failed; ``NEVER`` once one has succeeded."""
    hung: bool = False


class Reloader(Generic[T]):
    """Holds a value. It is loaded by the first request that asks, never at start.

    ``plan`` returns how to load and ``merge(held, found)`` what to hold then. ``on_failure`` is
    told why a load failed. ``max_wait``: seconds for which a request waits for a load.
    ``cooldown``: seconds after a failure until the next load begins; ``first_cooldown``: the same
    while nothing is held.
    """

    def __init__(
        self,
        name: str,
        nothing: T,
        plan: Callable[[], Plan[T]],
        *,
        on_failure: Callable[[Exception], None],
        max_wait: float,
        cooldown: float,
        first_cooldown: float | None = None,
        merge: Callable[[T, Held[T]], T] = lambda held, found: found.value,
    ) -> None:
        self.name = name
        self.max_wait = max_wait
        self.cooldown = cooldown
        self.first_cooldown = cooldown if first_cooldown is None else first_cooldown
        self._nothing = Held(nothing, NEVER, -FOREVER, -FOREVER)
        self._plan = plan
        self._merge = merge
        self._on_failure = on_failure
        self.held = self._nothing
        self._states: dict[int, _State] = {}

    def clear(self) -> None:
        """Forget the value; the next request loads. What a load under way finds is dropped."""
        state = self._state()
        # Under the lock, or a load that ends at this moment would restore an older value.
        with state.lock:
            self.held = self._nothing
            state.load, state.hung = None, False
            state.begun_at = state.failed_at = NEVER

    def pin(self, value: T) -> None:
        """Hold a value that is never too old."""
        self.held = Held(value, Moment.now(), FOREVER, FOREVER)

    def change(self, change: Callable[[T], T]) -> None:
        """Change the value that is held. Where none is held or being loaded, a later load knows
        better."""
        state = self._state()
        with state.lock:
            if self._holds_something() or state.load is not None:
                self.held = replace(self.held, value=change(self.held.value))

    def get(self, arrived: Moment, max_age: float, max_staleness: float) -> T:
        """Return the value for a request that arrived then; both ages in seconds.

        Past ``max_age`` the request waits for a load. An older value is returned only where that
        load fails or takes too long, and never past ``max_staleness``: then it raises
        ``TooOldError``.
        """
        held = self.held
        if arrived.monotonic < held.due_monotonic and arrived.wall < held.due_wall:
            return held.value
        if arrived.since(held.as_of) <= max_age:
            self._begin(arrived, max_age)
        # ``held`` is read anew each time: another thread may clear it, and nothing held would be
        # nothing denied. The load under way may have begun too long before this request arrived.
        # Then the next one counts.
        for _ in range(2):
            load = (
                self._begin(arrived, max_age) if arrived.since(self.held.as_of) > max_age else None
            )
            if load is None or not self._wait(load, arrived):
                break
        held = self.held
        if arrived.since(held.as_of) > max(max_age, max_staleness):
            raise TooOldError
        return held.value

    def renew(self, arrived: Moment, max_age: float, cooldown: float) -> bool:
        """Load anew for a request that misses something in the value, unless a load began less than
        ``cooldown`` ago.

        Only the request that starts a load waits for it, or a flood of them would occupy every
        thread. Returns whether the value is the truth by now: no load is under way, and the last
        one did not fail.
        """
        self._begin(arrived, max_age, cooldown)
        state = self._state()
        load = state.load
        if load is not None and load.arrived is arrived:
            self._wait(load, arrived)
        return state.load is None and state.failed_at is NEVER

    def is_loading(self) -> bool:
        """Whether a load is under way in this process."""
        return self._state().load is not None

    def _holds_something(self) -> bool:
        return self.held.as_of is not NEVER

    def _state(self) -> _State:
        pid = os.getpid()
        # Another thread may come here at the same time; setdefault gives both the same state.
        return self._states.get(pid) or self._states.setdefault(pid, _State())

    def _wait(self, load: _Load, arrived: Moment) -> bool:
        """Wait for a load, but no longer than the request that arrived then may wait in all."""
        state = self._state()
        longest = self.max_wait * (WAIT_AFTER_HANG if state.hung else 1)
        # The monotonic clock alone: setting the wall clock takes no time.
        if load.ended.wait(longest - (time.monotonic() - arrived.monotonic)):
            return True
        load.is_slow = True
        # With nothing to go on with, the next request waits as long.
        state.hung = state.hung or self._holds_something()
        logger.warning("%s takes long to load; the last one is used while it may be.", self.name)
        return False

    def _begin(self, arrived: Moment, max_age: float, cooldown: float = 0.0) -> _Load | None:
        """Begin a load unless one is under way. Return the one to wait for, or None where no wait
        is worth it."""
        state = self._state()
        with state.lock:
            now = Moment.now()
            under_way = state.load
            if under_way is None and self._is_cooling_down(state, now, cooldown):
                return None
            if under_way is not None and now.since(under_way.begun) <= under_way.max_seconds:
                load = under_way
            else:
                max_seconds = MAX_LOAD_SECONDS if under_way is None else 2 * under_way.max_seconds
                load = state.load = _Load(arrived, max_age, max_seconds)
                state.begun_at = load.begun
        if load is not under_way:
            self._start(load)
        # One request has timed out waiting for it. Others do not wait as well, unless they have
        # nothing to go on with.
        return None if load.is_slow and self._holds_something() else load

    def _is_cooling_down(self, state: _State, now: Moment, cooldown: float) -> bool:
        after_failure = self.cooldown if self._holds_something() else self.first_cooldown
        return now.since(state.failed_at) < after_failure or now.since(state.begun_at) < cooldown

    def _start(self, load: _Load) -> None:
        try:
            plan = self._plan()
            if plan.in_background:
                run = threading.Thread(
                    target=self._run, args=(load, plan), name=self.name, daemon=True
                )
                run.start()
        except Exception as error:
            # No thread can be had, or a hook of the project raised. Raised further, it would end in
            # an error report that shows the request's token.
            self._on_failure(error)
            self._end(load, None)
        except BaseException:
            self._end(load, None)
            raise
        else:
            if not plan.in_background:
                self._run(load, plan)

    def _run(self, load: _Load, plan: Plan[T]) -> None:
        found = None
        try:
            found = plan.load(self.held.value)
        except Exception as error:
            self._on_failure(error)
        finally:
            self._end(load, found)

    def _end(self, load: _Load, found: T | None) -> None:
        state = self._state()
        try:
            with state.lock:
                # Otherwise it was given up, or the value was cleared meanwhile.
                if state.load is load:
                    if found is None:
                        state.failed_at = Moment.now()
                        state.hung = state.hung or load.is_slow
                    else:
                        state.failed_at, state.hung = NEVER, False
                        self._hold(load, found)
                    # Last, because it is read without the lock: then what the load has found is
                    # there.
                    state.load = None
        finally:
            load.ended.set()

    def _hold(self, load: _Load, value: T) -> None:
        # From the system: without the hooks of a fork all children inherit one state of the random
        # module.
        good_for = random.SystemRandom().uniform(*REFRESH_AT) * load.max_age
        as_of = load.begun
        found = Held(value, as_of, as_of.monotonic + good_for, as_of.wall + good_for)
        self.held = replace(found, value=self._merge(self.held.value, found))
