"""The snapshot: how old it may be, who reloads it, and what happens when the database does not answer."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import suppress
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.core.signals import setting_changed
from django.db import OperationalError, connection, connections, transaction
from django.utils import timezone

from django_jwtauth import denylist as module
from django_jwtauth import sessions
from django_jwtauth.claims import Claims
from django_jwtauth.db.batches import BATCH
from django_jwtauth.denylist import allow, deny, loading, snapshot
from django_jwtauth.denylist.snapshot import denylist
from django_jwtauth.errors import DenylistUnavailableError, RevokedTokenError
from django_jwtauth.jose.encoding import encode_id, new_id
from django_jwtauth.models import DenylistEntry, Reason
from django_jwtauth.process import reloading
from django_jwtauth.process.clock import Moment
from tests.support.clocks import Clocks
from tests.support.statements import statements


@pytest.fixture
def clocks(monkeypatch):
    return Clocks(monkeypatch)


@pytest.fixture
def loads(monkeypatch):
    """Count loads; ``loads.answer`` replaces what is read, ``loads.error`` makes it fail.

    They happen in the thread that begins them, as in a ``TestCase``, unless ``loads.apart`` says otherwise.
    """

    class Loads:
        count = 0
        answer = frozenset()
        epoch = 0
        error = None
        apart = False
        during = staticmethod(lambda: None)

    def read(alias):
        Loads.count += 1
        Loads.during()
        if Loads.error:
            raise Loads.error
        return loading.Listing(Loads.answer, Loads.epoch)

    monkeypatch.setattr(loading, "read", read)
    monkeypatch.setattr(snapshot, "_read_here", lambda alias, before: snapshot._read(connections[alias]))
    monkeypatch.setattr(snapshot, "_is_seen_here_only", lambda connection: not Loads.apart)
    return Loads


def claims(sid=None, jti=None):
    ids = {"sid": sid or encode_id(new_id()), "jti": jti or encode_id(new_id())}
    return Claims(iss="i", sub="1", aud=("a",), exp=2**31, iat=0, **ids)


def entry(value=None, ahead=timedelta(minutes=1), claim="sid"):
    return DenylistEntry(value=value or new_id(), claim=claim, expires_at=timezone.now() + ahead, reason=Reason.ADMIN)


class TestWhatIsDenied:
    @pytest.mark.parametrize("claim", ["sid", "jti"])
    def test_an_entry_denies_its_session_or_its_token(self, db, claim):
        value = new_id()
        DenylistEntry.objects.bulk_create([entry(value, claim=claim)])
        with pytest.raises(RevokedTokenError):
            denylist.check(claims(**{claim: encode_id(value)}))
        denylist.check(claims())

    @pytest.mark.parametrize(("ahead", "denied"), [(timedelta(minutes=-59), True), (timedelta(minutes=-61), False)])
    def test_an_entry_is_read_until_the_margin_for_clock_skew_is_over(self, db, ahead, denied):
        value = new_id()
        DenylistEntry.objects.bulk_create([entry(value, ahead)])
        denylist.add([])
        denylist.check(claims())
        assert (encode_id(value) in denylist._reloader.held.value.denied) is denied

    def test_denying_twice_is_denying_once(self, db):
        value = new_id()
        deny([entry(value), entry()])
        deny([entry(value)])
        assert DenylistEntry.objects.count() == 2

    def test_entries_are_written_in_one_order_so_that_two_writers_never_wait_for_each_other(self, db, monkeypatch):
        written = []

        def bulk_create(self, rows, batch_size, ignore_conflicts):
            written.append((rows, batch_size))

        monkeypatch.setattr(module.DenylistQuerySet, "bulk_create", bulk_create)
        entries = [entry(uuid.UUID(int=number)) for number in (3, 1, 2)]
        deny(entries)
        assert written == [([entries[1], entries[2], entries[0]], BATCH)]

    @pytest.mark.parametrize("setting", ["JWTAUTH", "DATABASES", "DATABASE_ROUTERS"])
    def test_a_setting_that_decides_what_is_read_has_everything_forgotten(self, loads, setting):
        denylist.check(claims())
        setting_changed.send(sender=None, setting="LANGUAGE_CODE", value="de", enter=False)
        assert denylist._reloader.held.value is not snapshot.NOTHING_LOADED
        setting_changed.send(sender=None, setting=setting, value=None, enter=False)
        assert denylist._reloader.held.value is snapshot.NOTHING_LOADED

    def test_what_is_allowed_again_passes_after_the_next_reload(self, db, clocks):
        value = new_id()
        deny([entry(value)])
        with pytest.raises(RevokedTokenError):
            denylist.check(claims(sid=encode_id(value)))
        assert allow(DenylistEntry.objects.filter(value=value)) == 1
        clocks.pass_(5.1)
        denylist.check(claims(sid=encode_id(value)))


class TestReload:
    @pytest.mark.parametrize("make", [lambda: denylist, snapshot.Denylist])
    def test_nothing_is_loaded_until_the_first_request(self, loads, make):
        one = make()
        assert loads.count == 0
        one.check(claims())
        assert loads.count == 1

    def test_a_process_that_never_asks_keeps_nothing_of_what_it_denies(self, loads):
        one = snapshot.Denylist()
        one.add(["x" * 22])
        assert not one._reloader.held.value.own
        one.check(claims())
        one.add(["x" * 22])
        assert set(one._reloader.held.value.own) == {"x" * 22}

    def test_a_load_is_one_select(self, db):
        with statements() as executed:
            denylist.check(claims())
        assert [sql.split()[0] for sql in executed] == ["SELECT"]

    @pytest.mark.parametrize(("seconds", "count"), [(0.0, 1), (3.4, 1), (4.1, 2)])
    def test_a_request_reloads_from_about_three_quarters_of_the_interval(self, loads, clocks, seconds, count):
        denylist.check(claims())
        clocks.pass_(seconds)
        denylist.check(claims())
        assert loads.count == count

    def test_until_then_the_snapshot_is_looked_at_and_nothing_else(self, loads, clocks, monkeypatch):
        denylist.check(claims())
        clocks.pass_(3.4)
        monkeypatch.setattr(denylist, "_renewed", lambda arrived: pytest.fail("it was asked whether to reload"))
        denylist.check(claims())

    def test_processes_that_were_started_together_do_not_ask_together_for_long(self, loads, clocks):
        dues = set()
        for _ in range(100):
            denylist.clear()
            denylist.check(claims())
            dues.add(denylist._reloader.held.due_monotonic - clocks.monotonic)
        assert len(dues) > 50
        assert 3.5 <= min(dues) < 3.6
        assert 3.9 < max(dues) <= 4.0

    @pytest.mark.parametrize("clock", ["monotonic", "wall"])
    def test_a_request_at_the_very_moment_reloads(self, loads, clocks, clock):
        denylist.check(claims())
        setattr(clocks, clock, getattr(denylist._reloader.held, f"due_{clock}"))
        denylist.check(claims())
        assert loads.count == 2

    def test_at_the_end_of_the_interval_it_does_not_wait_for_the_load(self, loads, clocks, monkeypatch):
        denylist.check(claims())
        monkeypatch.setattr(denylist._reloader, "_wait", lambda load, arrived: pytest.fail("it waits"))
        clocks.pass_(5)
        denylist.check(claims())
        assert loads.count == 2

    @pytest.mark.parametrize("clock", ["monotonic", "wall"])
    def test_old_by_one_clock_is_old(self, loads, clocks, clock):
        denylist.check(claims())
        setattr(clocks, clock, getattr(clocks, clock) + 10)
        denylist.check(claims())
        assert loads.count == 2

    def test_a_wall_clock_put_back_hides_no_age(self, loads, clocks):
        denylist.check(claims())
        clocks.pass_(6)
        clocks.wall -= 3600
        denylist.check(claims())
        assert loads.count == 2

    def test_a_wall_clock_put_back_while_a_request_loads_does_not_make_the_load_look_old(self, loads, clocks):
        arrived = Moment.now()
        clocks.monotonic += 0.001
        clocks.wall -= 3600
        denylist._renewed(arrived)
        denylist.check(claims())
        assert loads.count == 1

    def test_an_interval_of_zero_loads_for_every_request(self, loads, jwtauth):
        jwtauth(DENYLIST_INTERVAL=timedelta(0))
        for _ in range(3):
            denylist.check(claims())
        assert loads.count == 3

    def test_without_an_interval_nothing_is_ever_loaded_or_denied(self, loads, jwtauth, clocks):
        jwtauth(DENYLIST_INTERVAL=None)
        denylist.add(["x" * 22])
        for _ in range(3):
            denylist.check(claims(sid="x" * 22))
            clocks.pass_(3600)
        assert loads.count == 0

    def test_a_load_of_the_very_moment_counts_with_an_interval_of_zero_as_well(self, loads, jwtauth, clocks):
        jwtauth(DENYLIST_INTERVAL=timedelta(0))
        denylist.check(claims())
        assert loads.count == 1

    def test_the_age_of_a_snapshot_counts_from_before_the_query(self, loads, clocks):
        loads.during = lambda: clocks.pass_(3)
        denylist.check(claims())
        loads.during = lambda: None
        clocks.pass_(1.5)
        denylist.check(claims())
        assert loads.count == 2

    def test_a_changed_setting_takes_effect_at_once(self, loads, jwtauth, clocks):
        denylist.check(claims())
        jwtauth(DENYLIST_INTERVAL=timedelta(seconds=1))
        denylist.check(claims())
        clocks.pass_(1.1)
        denylist.check(claims())
        assert loads.count == 3

    def test_what_this_process_denies_is_enforced_without_a_reload(self, loads):
        denylist.check(claims())
        denylist.add(["x" * 22, "y" * 22])
        for ids in ({"sid": "x" * 22}, {"jti": "y" * 22}):
            with pytest.raises(RevokedTokenError):
                denylist.check(claims(**ids))
        assert loads.count == 1

    def test_a_load_in_flight_does_not_lose_what_this_process_denies_meanwhile(self, loads, clocks):
        def revocation_commits():
            clocks.pass_(0.001)
            denylist.add(["x" * 22])

        loads.during = revocation_commits
        denylist.check(claims())
        with pytest.raises(RevokedTokenError):
            denylist.check(claims(sid="x" * 22))

    def test_neither_does_one_that_began_at_the_same_moment(self, loads, clocks):
        denylist.check(claims())
        clocks.pass_(100)
        denylist.add(["x" * 22])
        with pytest.raises(RevokedTokenError):
            denylist.check(claims(sid="x" * 22))

    def test_a_load_that_began_later_replaces_what_this_process_denied(self, loads, clocks):
        denylist.check(claims())
        clocks.pass_(100)
        denylist.add(["x" * 22])
        clocks.pass_(0.001)
        denylist.check(claims(sid="x" * 22))


class TestTransactions:
    def test_inside_a_transaction_that_never_commits_a_revocation_is_enforced_at_once(self, db):
        value = new_id()
        denylist.check(claims())
        deny([entry(value)])
        with pytest.raises(RevokedTokenError):
            denylist.check(claims(sid=encode_id(value)))

    def test_a_rolled_back_revocation_is_forgotten_by_the_next_reload(self, db, clocks):
        value = new_id()
        with transaction.atomic():
            deny([entry(value)])
            transaction.set_rollback(True)
        clocks.pass_(6)
        denylist.check(claims(sid=encode_id(value)))

    @pytest.mark.django_db(transaction=True)
    def test_a_revocation_that_is_rolled_back_is_never_enforced(self, user):
        pair = sessions.start(user)
        sessions.verify(pair.access_token)
        with transaction.atomic():
            sessions.revoke(pair.session)
            assert sessions.verify(pair.access_token)
            transaction.set_rollback(True)
        assert sessions.verify(pair.access_token)
        assert sessions.refresh(pair.refresh_token)

    @pytest.mark.django_db(transaction=True)
    def test_on_its_own_it_denies_nothing_that_was_not_committed(self, monkeypatch):
        value = new_id()

        def fail(*args, **kwargs):
            raise OperationalError

        denylist.check(claims())
        monkeypatch.setattr(module.DenylistQuerySet, "bulk_create", fail)
        with pytest.raises(OperationalError):
            deny([entry(value)])
        denylist.check(claims(sid=encode_id(value)))

    @pytest.mark.django_db(transaction=True)
    def test_after_commit_it_is_enforced_at_once(self):
        value = new_id()
        denylist.check(claims())
        deny([entry(value)])
        with statements() as executed, pytest.raises(RevokedTokenError):
            denylist.check(claims(sid=encode_id(value)))
        assert executed == []

    def test_a_failed_load_leaves_the_callers_transaction_usable(self, db, monkeypatch, caplog):
        monkeypatch.setattr(DenylistEntry._meta, "db_table", "no_such_table")
        with pytest.raises(DenylistUnavailableError):
            denylist.check(claims())
        monkeypatch.undo()
        assert DenylistEntry.objects.count() == 0


class TestFailure:
    def test_the_last_snapshot_is_used_while_it_may_be_then_nothing(self, loads, clocks, caplog):
        loads.answer = frozenset({"x" * 22})
        denylist.check(claims())
        loads.error = OperationalError("down")
        clocks.pass_(59)
        denylist.check(claims())
        with pytest.raises(RevokedTokenError):
            denylist.check(claims(sid="x" * 22))
        assert "denylist could not be loaded" in caplog.text
        assert "OperationalError: down" in caplog.text
        assert {record.name for record in caplog.records} == {"django_jwtauth"}
        clocks.pass_(1)
        denylist.check(claims())
        clocks.pass_(1)
        with pytest.raises(DenylistUnavailableError):
            denylist.check(claims())

    def test_a_process_that_never_loaded_knows_nothing(self, loads):
        loads.error = OperationalError("down")
        with pytest.raises(DenylistUnavailableError):
            denylist.check(claims())

    @pytest.mark.parametrize("age", [6, 100])
    def test_nobody_tries_again_for_a_second(self, loads, clocks, age):
        denylist.check(claims())
        loads.error = OperationalError("down")
        clocks.pass_(age)
        for _ in range(10):
            with suppress(DenylistUnavailableError):
                denylist.check(claims())
            clocks.pass_(0.09)
        assert loads.count == 2
        clocks.pass_(0.2)
        with suppress(DenylistUnavailableError):
            denylist.check(claims())
        assert loads.count == 3

    def test_the_second_begins_when_the_load_has_failed_however_long_that_took(self, loads, clocks):
        denylist.check(claims())
        loads.error, loads.during = OperationalError("down"), lambda: clocks.pass_(3)
        clocks.pass_(6)
        for _ in range(4):
            denylist.check(claims())
        assert loads.count == 2

    def test_what_this_process_denied_is_not_kept_for_ever_where_nothing_is_verified(self, loads, clocks):
        denylist.check(claims())
        denylist.add(["x" * 22])
        clocks.pass_(59)
        denylist.add(["y" * 22])
        assert set(denylist._reloader.held.value.own) == {"x" * 22, "y" * 22}
        clocks.pass_(1)
        denylist.add([])
        assert set(denylist._reloader.held.value.own) == {"x" * 22, "y" * 22}
        clocks.pass_(1)
        denylist.add(["z" * 22])
        assert set(denylist._reloader.held.value.own) == {"y" * 22, "z" * 22}

    def test_it_recovers_with_the_first_load_that_succeeds(self, loads, clocks):
        denylist.check(claims())
        loads.error = OperationalError("down")
        clocks.pass_(100)
        with pytest.raises(DenylistUnavailableError):
            denylist.check(claims())
        loads.error = None
        clocks.pass_(1.001)
        denylist.check(claims())


class Blocked:
    """A load in another thread that stands still until it is let go."""

    def __init__(self, loads):
        self.begun, self.go_on = threading.Event(), threading.Event()
        loads.during = self.wait
        self.thread = threading.Thread(target=lambda: denylist.check(claims()))

    def wait(self):
        self.begun.set()
        assert self.go_on.wait(10)

    def __enter__(self):
        self.thread.start()
        assert self.begun.wait(10)
        return self

    def __exit__(self, *exc):
        self.go_on.set()
        self.thread.join()


class TestThreads:
    def test_before_the_interval_is_over_the_others_go_on_while_one_reloads(self, loads, clocks):
        denylist.check(claims())
        clocks.pass_(4.5)
        with Blocked(loads):
            denylist.check(claims())
        assert loads.count == 2

    def test_past_the_interval_they_wait_for_the_one_that_reloads_and_share_its_snapshot(self, loads, clocks):
        denylist.check(claims())
        clocks.pass_(6)
        waited = threading.Thread(target=lambda: denylist.check(claims()))
        with Blocked(loads):
            waited.start()
            waited.join(0.05)
            assert waited.is_alive()
            clocks.pass_(0)
        waited.join()
        assert loads.count == 2

    def test_with_an_interval_of_zero_a_load_begun_before_the_request_is_not_shared(self, loads, jwtauth, clocks):
        jwtauth(DENYLIST_INTERVAL=timedelta(0))
        waited = threading.Thread(target=lambda: denylist.check(claims()))
        with Blocked(loads) as blocked:
            clocks.pass_(0.001)
            waited.start()
            waited.join(0.05)
            assert waited.is_alive()
            clocks.pass_(0.001)
            loads.during = lambda: None
            blocked.go_on.set()
        waited.join()
        assert loads.count == 2

    def test_they_share_a_failure_as_well(self, loads, clocks):
        denylist.check(claims())
        clocks.pass_(6)
        with Blocked(loads) as blocked:
            waited = threading.Thread(target=lambda: denylist.check(claims()))
            waited.start()
            loads.error = OperationalError("down")
            blocked.go_on.set()
            waited.join()
        assert loads.count == 2


class Hanging:
    """A database that answers no load until it is told to."""

    def __init__(self, loads, monkeypatch):
        self._loads, self._answer = loads, threading.Event()
        self._threads = threading.active_count()
        monkeypatch.setattr(denylist._reloader, "max_wait", 0.05)
        loads.apart = True
        loads.during = self._hang

    def _hang(self):
        assert self._answer.wait(10)

    def let_go(self):
        self._loads.during = lambda: None
        self._answer.set()

    def answer(self):
        self.let_go()
        while threading.active_count() > self._threads:
            time.sleep(0.001)


class TestHangingDatabase:
    @pytest.fixture
    def hanging(self, loads, clocks, monkeypatch):
        denylist.check(claims())
        loads.count = 0
        hanging = Hanging(loads, monkeypatch)
        yield hanging
        hanging.answer()

    def test_a_request_waits_for_a_second_at_most_and_goes_on_with_what_there_is(self, hanging, clocks, caplog):
        clocks.pass_(6)
        denylist.check(claims())
        assert "takes long to load" in caplog.text
        clocks.pass_(55)
        with pytest.raises(DenylistUnavailableError):
            denylist.check(claims())

    def test_once_one_has_waited_in_vain_no_other_waits_for_that_load(self, hanging, clocks, monkeypatch):
        clocks.pass_(6)
        denylist.check(claims())
        monkeypatch.setattr(denylist._reloader, "_wait", lambda load, arrived: pytest.fail("it waits"))
        clocks.pass_(10)
        denylist.check(claims())

    def test_in_a_process_that_never_loaded_everybody_waits(self, hanging, loads, clocks, monkeypatch, caplog):
        denylist.clear()
        with pytest.raises(DenylistUnavailableError):
            denylist.check(claims())
        assert caplog.text.count("takes long to load") == 1
        monkeypatch.setattr(denylist._reloader, "max_wait", 10)
        threading.Timer(0.05, hanging.let_go).start()
        denylist.check(claims())

    def test_a_load_after_one_that_hung_and_failed_is_waited_for(self, hanging, loads, clocks, monkeypatch):
        clocks.pass_(6)
        denylist.check(claims())
        loads.error = OperationalError("the server was killed")
        hanging.answer()
        loads.error, loads.answer = None, frozenset({"x" * 22})
        clocks.pass_(snapshot.COOLDOWN_SECONDS)
        monkeypatch.setattr(reloading, "WAIT_AFTER_HANG", 200)
        with pytest.raises(RevokedTokenError):
            denylist.check(claims(sid="x" * 22))

    def test_a_load_that_hangs_is_left_to_itself_ever_later(self, hanging, loads, clocks):
        begun = []
        clocks.pass_(6)
        for second in range(200):
            with suppress(DenylistUnavailableError):
                denylist.check(claims())
            if loads.count > len(begun):
                begun.append(second)
            clocks.pass_(1)
        assert begun == [0, 11, 32, 73, 154]

    def test_the_last_one_counts_when_the_database_answers_again(self, hanging, loads, clocks):
        loads.answer = frozenset({"x" * 22})
        for _ in range(3):
            clocks.pass_(11)
            denylist.check(claims())
        assert loads.count == 2
        hanging.answer()
        assert denylist._reloader.held.as_of.wall == clocks.wall - 11
        denylist.check(claims())
        with pytest.raises(RevokedTokenError):
            denylist.check(claims(sid="x" * 22))

    def test_after_it_has_answered_everybody_waits_as_before(self, hanging, loads, clocks, monkeypatch):
        clocks.pass_(6)
        denylist.check(claims())
        hanging.answer()
        monkeypatch.setattr(denylist._reloader, "max_wait", 10)
        loads.during = lambda: time.sleep(0.05)
        clocks.pass_(6)
        loads.answer = frozenset({"x" * 22})
        with pytest.raises(RevokedTokenError):
            denylist.check(claims(sid="x" * 22))

    def test_what_hung_while_everything_was_forgotten_is_not_used(self, hanging, loads, clocks):
        loads.answer = frozenset({"x" * 22})
        clocks.pass_(6)
        denylist.check(claims())
        denylist.clear()
        hanging.answer()
        assert denylist._reloader.held.value is snapshot.NOTHING_LOADED


class TestConnection:
    """The load is apart from what the request does in the database."""

    @pytest.fixture
    def apart(self, monkeypatch):
        """What was done in which thread."""
        seen = []
        read = loading.read
        monkeypatch.setattr(loading, "read", lambda *a: seen.append(threading.current_thread()) or read(*a))
        return seen

    def test_in_a_test_case_it_reads_what_the_test_has_written(self, db, apart):
        value = new_id()
        DenylistEntry.objects.bulk_create([entry(value)])
        with pytest.raises(RevokedTokenError):
            denylist.check(claims(sid=encode_id(value)))
        assert apart == [threading.current_thread()]

    @pytest.mark.django_db(transaction=True)
    def test_in_a_transaction_it_reads_what_others_have_committed_and_leaves_no_connection(self, apart):
        value = new_id()
        with transaction.atomic():
            entry(value).save()
            if connection.vendor != "sqlite":  # in memory there is but one connection
                denylist.check(claims(sid=encode_id(value)))
                assert apart != [threading.current_thread()]
        denylist.clear()
        with pytest.raises(RevokedTokenError):
            denylist.check(claims(sid=encode_id(value)))

    @pytest.mark.parametrize(
        ("vendor", "in_memory", "blocks", "here_only"),
        [
            ("postgresql", None, [], False),
            ("postgresql", None, [False], False),
            ("postgresql", None, [True, False], True),
            ("sqlite", True, [], True),
            ("sqlite", False, [], False),
            ("tidb", True, [], False),
        ],
    )
    def test_it_is_not_apart_where_others_do_not_see_the_rows(self, vendor, in_memory, blocks, here_only):
        blocks = [SimpleNamespace(**{"_from_testcase": True} if of_a_test_case else {}) for of_a_test_case in blocks]
        seen = SimpleNamespace(vendor=vendor, is_in_memory_db=lambda: in_memory, atomic_blocks=blocks)
        assert snapshot._is_seen_here_only(seen) is here_only

    def test_the_connection_of_a_load_is_closed(self, monkeypatch):
        closed = []
        monkeypatch.setattr(loading, "read", lambda alias: {}["nothing"])
        monkeypatch.setattr(
            type(connections["default"]), "close", lambda self: closed.append(threading.current_thread())
        )
        monkeypatch.setattr(snapshot, "_is_seen_here_only", lambda connection: False)
        with suppress(DenylistUnavailableError):
            denylist.check(claims())
        assert closed
        assert threading.current_thread() not in closed

    def test_it_is_apart_from_the_pool_of_requests(self, monkeypatch):
        pooled = {**connections.settings["default"], "OPTIONS": {"pool": True, "timeout": 20}}
        monkeypatch.setitem(connections.settings, "default", pooled)
        assert snapshot._unpooled("default").settings_dict == {**pooled, "OPTIONS": {"timeout": 20}}
        assert pooled["OPTIONS"]["pool"] is True

    def test_where_no_thread_can_be_started_a_load_has_failed(self, loads, monkeypatch):
        def refuse(thread):
            assert thread.daemon, "a load that hangs would keep the process from ending"
            raise RuntimeError("can't start new thread")

        loads.apart = True
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(DenylistUnavailableError):
            denylist.check(claims())
        assert not denylist._reloader.is_loading()


def test_the_waits_are_what_is_promised():
    assert snapshot.MAX_WAIT_SECONDS * reloading.WAIT_AFTER_HANG == 0.25
    assert snapshot.MAX_WAIT_SECONDS == 1.0


def test_verify_costs_no_query_with_a_fresh_snapshot(pair):
    sessions.verify(pair.access_token)
    with statements() as executed:
        sessions.verify(pair.access_token)
    assert executed == []
