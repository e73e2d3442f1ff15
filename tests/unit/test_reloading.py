"""The value that a process reloads: how old it may be, who loads it, who waits, and what a source does that hangs."""

from __future__ import annotations

import os
import random
import threading
import time
import warnings
from contextlib import suppress

import pytest

from django_jwtauth.process import reloading
from django_jwtauth.process.clock import Moment
from django_jwtauth.process.reloading import MAX_LOAD_SECONDS, Plan, Reloader, TooOldError
from tests.support.clocks import Clocks

MAX_AGE, MAX_STALENESS, COOLDOWN = 100.0, 1000.0, 30.0


@pytest.fixture
def clocks(monkeypatch):
    return Clocks(monkeypatch)


class Source:
    """What is loaded: numbers that count up. ``free`` lets loads end; ``error`` is what they end in."""

    def __init__(self):
        self.count = 0
        self.error = None
        self.plan_error = None
        self.here = False
        self.failures = []
        self.threads = []
        self.during = lambda: None
        self.free = threading.Event()
        self.free.set()

    def plan(self):
        if self.plan_error:
            raise self.plan_error
        return Plan(self.load, in_background=not self.here)

    def load(self, before):
        self.count += 1
        found = self.count
        self.threads.append(threading.current_thread())
        self.during()
        assert self.free.wait(10)
        if self.error:
            raise self.error
        return found

    def finish(self):
        """Let all loads end, and wait until they have."""
        self.free.set()
        for thread in self.threads:
            if thread is not threading.current_thread():
                thread.join(10)

    def failed(self, error):
        self.failures.append(error)


@pytest.fixture
def source():
    source = Source()
    yield source
    source.finish()


@pytest.fixture
def reloader(source):
    return make(source)


def make(source, **options):
    options = {"max_wait": 10.0, "cooldown": COOLDOWN} | options
    return Reloader("The number", 0, source.plan, on_failure=source.failed, **options)


def get(reloader, max_age=MAX_AGE, max_staleness=MAX_STALENESS):
    return reloader.get(Moment.now(), max_age, max_staleness)


def in_threads(function, count=1):
    threads = [threading.Thread(target=function) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def until(condition):
    deadline = time.perf_counter() + 10
    while not condition():
        assert time.perf_counter() < deadline
        time.sleep(0.001)


class TestAge:
    def test_the_first_request_loads(self, reloader, source):
        assert source.count == 0
        assert get(reloader) == 1
        assert source.threads[0].daemon, "a load that hangs would keep the process from ending"

    @pytest.mark.parametrize("age", [81, 101])
    def test_a_request_is_not_answered_from_what_was_cleared_meanwhile(self, reloader, source, clocks, age):
        get(reloader)
        clocks.pass_(age)
        source.here, source.during = True, lambda: source.count == 2 and reloader.clear()
        assert get(reloader) == 3

    @pytest.mark.parametrize(("age", "count"), [(0, 1), (69, 1), (81, 2), (100, 2)])
    def test_it_is_refreshed_in_the_background_before_it_is_too_old(self, reloader, source, clocks, age, count):
        get(reloader)
        source.free.clear()
        clocks.pass_(age)
        assert get(reloader) == 1
        until(lambda: source.count == count)
        source.finish()
        assert get(reloader) == count

    def test_the_refresh_is_jittered(self, reloader, source, clocks):
        dues = set()
        for _ in range(100):
            reloader.clear()
            get(reloader)
            dues.add(reloader.held.due_monotonic - clocks.monotonic)
        assert len(dues) > 50
        assert 70 <= min(dues) < 72
        assert 78 < max(dues) <= 80

    def test_the_jitter_differs_between_children_that_inherit_one_random_state(self, source, clocks):
        dues = set()
        for _ in range(10):
            random.seed(1)
            reloader = make(source)
            get(reloader)
            dues.add(reloader.held.due_monotonic)
        assert len(dues) == 10

    @pytest.mark.parametrize("clock", ["monotonic", "wall"])
    def test_too_old_by_one_clock_is_too_old(self, reloader, clocks, clock):
        get(reloader)
        setattr(clocks, clock, getattr(clocks, clock) + MAX_AGE + 1)
        assert get(reloader) == 2

    def test_the_age_counts_from_before_the_load(self, reloader, source, clocks):
        source.here, source.during = True, lambda: clocks.pass_(MAX_AGE)
        get(reloader)
        source.during = lambda: None
        clocks.pass_(1)
        assert get(reloader) == 2

    def test_a_load_that_began_before_the_request_is_too_old_for_an_age_of_zero(self, reloader, source, clocks):
        source.free.clear()
        found = []
        first = in_threads(lambda: get(reloader, 0.0))
        until(lambda: source.count == 1)
        clocks.pass_(0.001)
        arrived = Moment.now()
        clocks.pass_(0.001)
        second = in_threads(lambda: found.append(reloader.get(arrived, 0.0, MAX_STALENESS)))
        source.finish()
        for thread in first + second:
            thread.join()
        assert (found, source.count) == ([2], 2)

    def test_a_pinned_value_is_never_loaded(self, reloader, source, clocks):
        reloader.pin(7)
        clocks.pass_(10**9)
        assert (get(reloader), source.count) == (7, 0)


class TestSingleFlight:
    def test_all_requests_share_one_load(self, reloader, source):
        source.free.clear()
        found = []
        threads = in_threads(lambda: found.append(get(reloader)), 20)
        until(lambda: source.count == 1)
        source.free.set()
        for thread in threads:
            thread.join()
        assert (found, source.count) == ([1] * 20, 1)

    def test_it_may_be_loaded_in_the_thread_of_the_request(self, reloader, source):
        source.here = True
        get(reloader)
        assert source.threads == [threading.current_thread()]


class TestFailure:
    def test_the_last_value_is_used_while_it_may_be(self, reloader, source, clocks):
        get(reloader)
        source.error = OSError("down")
        clocks.pass_(MAX_STALENESS)
        assert get(reloader) == 1
        clocks.pass_(1)
        with pytest.raises(TooOldError):
            get(reloader)
        assert source.failures == [source.error]

    def test_nothing_is_loaded_until_the_cooldown_is_over(self, reloader, source, clocks):
        get(reloader)
        source.error = OSError("down")
        clocks.pass_(MAX_AGE + 1)
        for _ in range(10):
            assert get(reloader) == 1
        assert source.count == 2
        source.error = None
        clocks.pass_(COOLDOWN)
        assert get(reloader) == 3

    def test_the_cooldown_counts_from_when_the_load_has_failed(self, reloader, source, clocks):
        source.here, source.error, source.during = True, OSError("down"), lambda: clocks.pass_(COOLDOWN)
        for _ in range(3):
            with pytest.raises(TooOldError):
                get(reloader)
        assert source.count == 1

    def test_the_first_request_after_a_recovery_is_answered(self, source, clocks):
        reloader = make(source, first_cooldown=5.0)
        source.error = OSError("down")
        with pytest.raises(TooOldError):
            get(reloader)
        source.error = None
        clocks.pass_(5)
        assert get(reloader) == 2

    @pytest.mark.parametrize("here", [True, False])
    def test_a_plan_that_raises_is_a_failure_and_holds_up_nobody(self, reloader, source, clocks, here):
        source.plan_error, source.here = KeyError("no tenant"), here
        with pytest.raises(TooOldError) as refused:
            get(reloader)
        assert refused.value.__context__ is None
        assert source.failures == [source.plan_error]
        assert not reloader.is_loading()
        source.plan_error = None
        clocks.pass_(COOLDOWN)
        assert get(reloader) == 1

    def test_what_ends_the_process_is_raised_and_holds_up_nobody(self, reloader, source):
        source.plan_error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            get(reloader)
        assert not reloader.is_loading()

    def test_a_thread_that_cannot_be_had_is_a_failure(self, reloader, source, monkeypatch):
        def refuse(thread):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(TooOldError):
            get(reloader)
        assert [type(error) for error in source.failures] == [RuntimeError]
        assert not reloader.is_loading()


class TestHang:
    @pytest.fixture
    def hanging(self, source, clocks):
        """Return a reloader that holds 1, too old; its source hangs."""
        reloader = make(source, max_wait=0.05)
        get(reloader)
        clocks.pass_(MAX_AGE + 1)
        source.free.clear()
        return reloader

    def test_a_request_waits_no_longer_than_it_may(self, hanging, caplog):
        assert get(hanging) == 1
        assert "The number takes long to load" in caplog.text

    def test_once_one_has_timed_out_no_other_waits(self, hanging, source):
        get(hanging)
        hanging.max_wait = 60.0  # longer than a test may take
        begun = time.perf_counter()
        for _ in range(100):
            assert get(hanging) == 1
        assert time.perf_counter() - begun < 5
        assert source.count == 2

    def test_with_nothing_to_go_on_with_every_request_waits(self, source, caplog):
        reloader = make(source, max_wait=0.05)
        source.free.clear()
        with pytest.raises(TooOldError):
            get(reloader)
        reloader.max_wait = 10.0
        threading.Timer(0.05, source.free.set).start()
        assert get(reloader) == 1

    def test_the_next_load_is_waited_for_a_shorter_time(self, hanging, source, clocks, caplog):
        get(hanging)
        caplog.clear()
        hanging.max_wait = 0.05 / reloading.WAIT_AFTER_HANG
        clocks.pass_(MAX_LOAD_SECONDS + 1)
        begun = time.perf_counter()
        assert get(hanging) == 1
        assert time.perf_counter() - begun < 0.15
        assert "takes long" in caplog.text

    def test_so_is_one_after_a_first_load_that_hung_and_failed(self, source, clocks):
        reloader = make(source, max_wait=0.05)
        source.free.clear()
        source.error = OSError("down")
        with pytest.raises(TooOldError):
            get(reloader)
        source.finish()
        assert reloader._state().hung
        source.error = None
        clocks.pass_(COOLDOWN)
        reloader.max_wait = 40.0
        assert get(reloader) == 2
        assert not reloader._state().hung

    def test_a_load_that_hangs_is_given_up_and_replaced_ever_later(self, hanging, source, clocks):
        begun = []
        for second in range(200):
            with suppress(TooOldError):
                get(hanging)
            until(lambda: source.count >= 1)
            if source.count - 1 > len(begun):
                begun.append(second)
            clocks.pass_(1)
        assert begun == [0, 11, 32, 73, 154]

    def test_what_a_load_finds_that_was_given_up_is_dropped(self, hanging, source, clocks):
        get(hanging)
        clocks.pass_(MAX_LOAD_SECONDS + 1)
        get(hanging)
        until(lambda: source.count == 3)
        source.finish()
        assert hanging.held.value == 3

    def test_so_is_what_it_finds_after_everything_was_cleared(self, hanging, source):
        get(hanging)
        hanging.clear()
        source.finish()
        assert hanging.held.value == 0

    def test_so_is_what_it_finds_while_everything_is_cleared(self, reloader, source, clocks, monkeypatch):
        get(reloader)
        state_of = reloader._state

        def clear_once_it_is_known():
            state = state_of()
            monkeypatch.undo()
            reloader.clear()
            return state

        source.during = lambda: monkeypatch.setattr(reloader, "_state", clear_once_it_is_known)
        source.here = True
        reloader._begin(Moment.now(), MAX_AGE)
        assert reloader.held.value == 0

    @pytest.mark.parametrize("jump", [-3600, 0, 3600])
    def test_the_wait_counts_from_when_the_request_arrived(self, source, clocks, monkeypatch, jump):
        reloader = make(source, max_wait=0.05)
        waits = []
        arrived = Moment.now()
        clocks.pass_(0.02)
        clocks.wall += jump
        load = reloading._Load(arrived, MAX_AGE, MAX_LOAD_SECONDS)
        monkeypatch.setattr(load.ended, "wait", lambda timeout: waits.append(timeout))
        assert not reloader._wait(load, arrived)
        assert waits == [pytest.approx(0.03)]


class TestRenew:
    """A request misses something in a value that is not too old."""

    def renew(self, reloader):
        return reloader.renew(Moment.now(), MAX_AGE, COOLDOWN)

    def test_nothing_is_loaded_within_the_cooldown(self, reloader, source, clocks):
        get(reloader)
        clocks.pass_(COOLDOWN - 1)
        assert self.renew(reloader)
        assert source.count == 1
        clocks.pass_(1)
        assert self.renew(reloader)
        assert (source.count, reloader.held.value) == (2, 2)

    def test_a_load_is_under_way_until_its_value_is_held(self, source, clocks):
        loading = []

        def merge(held, found):
            loading.append(reloader.is_loading())
            return found.value

        reloader = make(source, merge=merge)
        get(reloader)
        assert loading == [True]

    def test_only_the_request_that_starts_a_load_waits(self, reloader, source, clocks):
        get(reloader)
        clocks.pass_(COOLDOWN)
        source.free.clear()
        known = []
        starter = in_threads(lambda: known.append(self.renew(reloader)))
        until(lambda: source.count == 2)
        for _ in range(100):
            assert not self.renew(reloader)
        assert known == []
        source.free.set()
        for thread in starter:
            thread.join()
        assert known == [True]

    def test_it_waits_for_the_refresh_that_it_has_started_itself(self, reloader, source, clocks):
        get(reloader)
        clocks.pass_(MAX_AGE)
        arrived = Moment.now()
        reloader.get(arrived, MAX_AGE, MAX_STALENESS)
        assert reloader.renew(arrived, MAX_AGE, COOLDOWN)
        assert reloader.held.value == 2

    def test_after_a_failure_nothing_is_known(self, reloader, source, clocks):
        get(reloader)
        source.error = OSError("down")
        clocks.pass_(COOLDOWN)
        assert not self.renew(reloader)
        assert not self.renew(reloader)
        assert source.count == 2


class TestChange:
    def test_a_value_that_is_held_is_changed(self, reloader):
        get(reloader)
        reloader.change(lambda value: value + 10)
        assert get(reloader) == 11

    def test_where_nothing_is_held_or_loaded_there_is_nothing_to_change(self, reloader):
        reloader.change(lambda value: value + 10)
        assert reloader.held.value == 0

    def test_a_change_during_a_load_is_merged(self, source):
        reloader = make(source, merge=lambda held, found: held + found.value)
        source.free.clear()
        first = in_threads(lambda: get(reloader))
        until(lambda: source.count == 1)
        reloader.change(lambda value: value + 10)
        source.free.set()
        for thread in first:
            thread.join()
        assert reloader.held.value == 11


class TestForks:
    """A child has neither the threads of its parent nor anybody to release what they hold."""

    def test_a_child_loads_for_itself_with_or_without_hooks(self, reloader, source):
        source.free.clear()
        first = in_threads(lambda: get(reloader))
        until(lambda: source.count == 1)
        with reloader._state().lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python warns of just this
            child = os.fork()
            if child == 0:
                try:
                    source.free = threading.Event()
                    source.free.set()
                    os._exit(get(reloader))
                finally:
                    os._exit(99)
        source.finish()
        for thread in first:
            thread.join()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2

    def test_a_value_that_is_not_too_old_is_good_in_a_child(self, reloader, source, monkeypatch):
        get(reloader)
        monkeypatch.setattr(os, "getpid", lambda: -1)
        assert (get(reloader), source.count) == (1, 1)
