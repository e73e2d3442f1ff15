"""The denylist is read whole, by one statement, whatever the database returns ids as."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from django_jwtauth.denylist import allow, loading
from django_jwtauth.jose.encoding import encode_id, encode_ids, new_id
from django_jwtauth.models import DenylistEntry, Reason
from tests.support.statements import statements

pytestmark = pytest.mark.django_db


def commit(count=1, ahead=timedelta(minutes=1)):
    """Store entries; return their ids as tokens name them."""
    entries = [
        DenylistEntry(value=new_id(), expires_at=timezone.now() + ahead, reason=Reason.ADMIN) for _ in range(count)
    ]
    return {str(entry) for entry in DenylistEntry.objects.bulk_create(entries)}


def test_it_is_read_in_one_statement():
    committed = commit(3)
    with statements() as executed:
        assert loading.read("default").ids == committed
    assert len(executed) == 1


def test_an_empty_list_is_empty():
    assert loading.read("default").ids == set()


def test_what_is_allowed_again_is_gone_at_the_next_read():
    committed = commit(4)
    assert loading.read("default").ids == committed
    gone = DenylistEntry.objects.all()[:1].get()
    allow(DenylistEntry.objects.filter(pk=gone.pk))
    assert loading.read("default").ids == committed - {str(gone)}


def test_what_expired_beyond_every_clock_skew_is_not_read():
    kept = commit(1, -timedelta(minutes=59))
    commit(1, -timedelta(hours=2))
    assert loading.read("default").ids == kept


def test_many_ids_are_decoded_in_several_parts(monkeypatch):
    monkeypatch.setattr(loading, "MAX_BYTES_AT_ONCE", 18)
    committed = commit(300)
    assert loading.read("default").ids == committed


@pytest.mark.parametrize("value", [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.UUID(int=10)])
def test_every_uuid_comes_back_as_it_is(value):
    DenylistEntry.objects.create(value=value, expires_at=timezone.now(), reason=Reason.ADMIN)
    assert loading.read("default").ids == {encode_id(value)}


def add_epochs(*epochs):
    """Store entries that deny what was issued before."""
    claim, expires_at = DenylistEntry.Claim.IAT, timezone.now()
    DenylistEntry.objects.bulk_create(
        [DenylistEntry(claim=claim, value=uuid.UUID(int=epoch), expires_at=expires_at) for epoch in epochs]
    )


def test_of_several_epochs_the_latest_counts_and_none_is_an_id():
    assert loading.read("default").epoch == 0
    committed = commit(3)
    add_epochs(1_800_000_000, 1_900_000_000, 1_700_000_000)
    assert loading.read("default") == (committed, 1_900_000_000)


def test_an_epoch_is_named_by_its_moment():
    entry = DenylistEntry(claim=DenylistEntry.Claim.IAT, value=uuid.UUID(int=1_800_000_000))
    assert str(entry) == "2027-01-15 08:00:00 UTC"


def test_a_database_that_cuts_long_values_hides_no_entry(monkeypatch):
    committed = commit(300)
    add_epochs(1_800_000_000)
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION group_concat_max_len = 20")
    else:
        monkeypatch.setattr(loading, "PADDED_ID_BYTES", 19)
    try:
        assert loading.read("default") == (committed, 1_800_000_000)
    finally:
        connection.close() if connection.vendor == "mysql" and not connection.in_atomic_block else None


def test_many_ids_are_encoded_as_each_alone():
    values = [new_id() for _ in range(1000)] + [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)]
    assert encode_ids(b"".join(value.bytes + b"\0\0" for value in values)) == [encode_id(value) for value in values]
    assert encode_ids(b"") == []
