"""Long lists: only what is new is read, and yet no revocation is missed, however late it commits."""

from __future__ import annotations

import random
import uuid
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from django_jwtauth import clock, listing
from django_jwtauth.denylist import allow
from django_jwtauth.encoding import encode_id, encode_ids, new_id
from django_jwtauth.listing import NOTHING_READ, SETTLING, WHOLE_EVERY
from django_jwtauth.models import BATCH, DenylistEntry, DenylistQuerySet, Reason
from tests.statements import statements

pytestmark = pytest.mark.django_db


class Machine:
    """A process on a machine with clocks of its own, that reads the list again and again."""

    now = 1_000_000.0
    """The time that passes for all."""

    def __init__(self, monkeypatch, ahead=0.0):
        self._monkeypatch, self._ahead = monkeypatch, ahead
        self.listing = NOTHING_READ

    def read(self):
        times = SimpleNamespace(monotonic=lambda: Machine.now, time=lambda: Machine.now + self._ahead)
        with self._monkeypatch.context() as patched:
            patched.setattr(clock, "time", times)
            self.listing = listing.read("default", self.listing)
        return self.listing.denied


@pytest.fixture(autouse=True)
def long_from_two(monkeypatch):
    monkeypatch.setattr(listing, "LONG", 2)
    monkeypatch.setattr(Machine, "now", 1_000_000.0)


@pytest.fixture
def machine(monkeypatch):
    return Machine(monkeypatch)


def commit(count=1):
    """Store entries; return their ids as tokens name them. No column tells when they became visible."""
    expires_at = timezone.now() + timedelta(minutes=random.randrange(1, 10))  # noqa: S311
    entries = [DenylistEntry(value=new_id(), expires_at=expires_at, reason=Reason.ADMIN) for _ in range(count)]
    return {str(entry) for entry in DenylistEntry.objects.bulk_create(entries)}


def settled():
    return {str(entry) for entry in DenylistEntry.objects.filter(settled=True)}


def pass_(seconds):
    Machine.now += seconds


def test_a_short_list_is_read_whole_in_one_statement(machine):
    first = commit()
    assert machine.read() == first
    with statements() as executed:
        assert machine.read() == first
    assert len(executed) == 1
    DenylistEntry.objects.all().delete()
    assert machine.read() == set()


def test_of_a_long_list_only_what_is_not_settled_is_read(machine):
    known = commit(3)
    machine.read()
    DenylistEntry.objects.update(settled=True)
    new = commit()
    with statements() as executed:
        assert machine.read() == known | new
    assert len(executed) == 1
    with connection.cursor() as cursor:
        cursor.execute(executed[0])
        assert len(cursor.fetchall()) == 1


def test_it_is_read_whole_every_minute_and_then_forgets_what_is_gone(machine):
    known = commit(4)
    machine.read()
    gone = DenylistEntry.objects.all()[:1].get()
    allow(DenylistEntry.objects.filter(pk=gone.pk))
    pass_(WHOLE_EVERY / 2)
    assert machine.read() == known
    pass_(WHOLE_EVERY / 2)
    assert machine.read() == known - {str(gone)}


def test_an_entry_is_settled_once_it_was_seen_for_long_enough(machine):
    known = commit(3)
    for _ in range(3):
        machine.read()
        pass_(SETTLING / 2)
    assert settled() == set()
    new = commit()
    pass_(1)
    assert machine.read() == known | new
    assert settled() == known
    pass_(SETTLING)
    assert machine.read() == known | new
    assert settled() == known | new


def test_a_row_with_the_key_of_another_is_not_settled_in_its_place(machine):
    commit(3)
    machine.read()
    pass_(WHOLE_EVERY)
    machine.read()
    last = DenylistEntry.objects.latest("pk")
    # As after a restored backup, whose next row has the same key.
    last.delete()
    new = DenylistEntry.objects.create(
        pk=last.pk or DenylistEntry.objects.latest("pk").pk + 1, value=new_id(), expires_at=last.expires_at
    )
    pass_(SETTLING)
    machine.read()
    assert len(settled()) == 2
    assert str(new) not in settled()


def test_a_wall_clock_that_jumps_settles_nothing_too_early(machine):
    commit(3)
    machine.read()
    pass_(WHOLE_EVERY)
    machine.read()
    machine._ahead = 2 * SETTLING
    machine.read()
    assert settled() == set(), "only the wall clock says that it was seen for long"
    machine._ahead = -SETTLING
    pass_(SETTLING)
    machine.read()
    assert settled() == set(), "only the monotonic clock says so"
    machine._ahead = 0
    machine.read()
    assert settled() != set()


def test_whoever_has_not_read_for_long_reads_everything(machine):
    known = commit(3)
    machine.read()
    pass_(WHOLE_EVERY)
    missed = commit()
    DenylistEntry.objects.update(settled=True)
    assert machine.read() == known | missed


def test_whoever_took_long_to_read_reads_everything(machine, monkeypatch):
    known = commit(3)
    machine.read()
    ids = DenylistQuerySet.ids

    def slow_ids(queryset):
        pass_(WHOLE_EVERY)
        return ids(queryset)

    missed = commit()
    DenylistEntry.objects.update(settled=True)
    monkeypatch.setattr(DenylistQuerySet, "ids", slow_ids)
    assert machine.read() == known | missed


def test_what_is_settled_while_everything_is_read_is_not_missed(machine, monkeypatch):
    known = commit(3)
    machine.read()
    pass_(WHOLE_EVERY)
    ids = DenylistQuerySet.ids

    def ids_then_all_settled(queryset):
        found = ids(queryset)
        DenylistEntry.objects.update(settled=True)
        return found

    monkeypatch.setattr(DenylistQuerySet, "ids", ids_then_all_settled)
    assert machine.read() == known


def test_a_failure_to_settle_is_no_failure_to_read(machine, monkeypatch):
    def fail(queryset, ids):
        raise OperationalError("deadlock detected")

    known = commit(3)
    monkeypatch.setattr(DenylistQuerySet, "settle", fail)
    for _ in range(5):
        assert machine.read() == known
        pass_(SETTLING)


def test_entries_are_settled_in_batches():
    seen = commit(BATCH + 2)
    keys = set(DenylistEntry.objects.values_list("pk", flat=True))
    commit(2)
    with statements() as executed:
        DenylistEntry.objects.settle(keys)
    assert len([sql for sql in executed if sql.startswith("UPDATE")]) == 2
    assert settled() == seen


def test_what_was_allowed_and_is_denied_again_is_not_taken_for_the_entry_that_was_seen_before(monkeypatch):
    one, other = Machine(monkeypatch), Machine(monkeypatch)
    known = commit(3)
    one.read()
    pass_(WHOLE_EVERY)
    assert one.read() == known
    pass_(SETTLING - 10)
    again = DenylistEntry.objects.all()[0]
    allow(DenylistEntry.objects.filter(pk=again.pk))
    other.read()
    pass_(9)
    again.pk = None
    again.save()
    pass_(1)
    one.read()
    pass_(1)
    assert other.read() == known


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_in_whatever_order_no_process_misses_a_commit(monkeypatch, seed):
    """Commits, readers whose clocks are wrong, pauses of any length: each reading holds all that is committed."""
    choose = random.Random(seed)  # noqa: S311
    machines = [Machine(monkeypatch, ahead) for ahead in (0, 3600, -3600)]
    committed = commit(3)
    for _ in range(60):
        what = choose.random()
        if what < 0.3:
            committed |= commit()
        elif what < 0.35:
            choose.choice(machines)._ahead += choose.choice([-3600, -60, 60, 3600])
        else:
            pass_(choose.choice([0, 1, 4, 30, 59, 61, 119, 121, 1000]) * choose.random())
            assert choose.choice(machines).read() >= committed
    assert settled(), "nothing was settled, so nothing was shown"


@pytest.mark.parametrize("dashes", [True, False])
def test_many_ids_are_encoded_as_each_alone(dashes):
    values = [new_id() for _ in range(1000)] + [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)]
    texts = [str(value) if dashes else value.hex for value in values]
    assert encode_ids(texts) == [encode_id(value) for value in values]
    assert encode_ids([]) == []
