"""What is refused before it expires: store it, lift it, and enforce it in this process."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from django.db import connections, transaction

from ..db.batches import BATCH, chunks
from ..jose.encoding import encode_id
from ..models import DenylistEntry, DenylistQuerySet, SessionQuerySet, write_alias
from .snapshot import _is_in_test_case, denylist


def deny(entries: Sequence[DenylistEntry]) -> None:
    """Store entries, except those that exist already, and enforce them in this process."""
    alias = write_alias()
    # In one order: two of these at once then wait for each other, but never both.
    entries = sorted(entries, key=lambda entry: entry.value)
    ids = [encode_id(entry.value) for entry in entries]
    with transaction.atomic(using=alias):
        DenylistEntry.objects.primary().bulk_create(
            entries, batch_size=BATCH, ignore_conflicts=True
        )
    _enforce(ids)


def deny_sessions(
    sessions: SessionQuerySet, keys: Sequence[UUID], reason: str, user_id: str
) -> int:
    """Do what ``deny`` does for those sessions of a queryset, all of one user, that have these
    keys.

    Until when is read from their rows as the entries are written. Returns how many entries are new.
    """
    alias = write_alias()
    ids = [encode_id(key) for key in keys]
    with transaction.atomic(using=alias):
        entries = DenylistEntry.objects.primary()
        added = sum(
            entries.add_sessions(sessions.filter(pk__in=some), reason, user_id)
            for some in chunks(keys)
        )
    _enforce(ids)
    return added


def deny_issued_before(epoch: int, expires_at: datetime, reason: str) -> None:
    """Deny all access tokens of ours that were issued before an epoch, in seconds since 1970."""
    entry = DenylistEntry(
        claim=DenylistEntry.Claim.IAT, value=UUID(int=epoch), expires_at=expires_at, reason=reason
    )
    DenylistEntry.objects.primary().bulk_create([entry], ignore_conflicts=True)
    transaction.on_commit(denylist.clear, using=write_alias())


def _enforce(ids: Sequence[str]) -> None:
    """Deny ids in this process, from the commit on: a transaction that is rolled back denies
    nothing.

    By a change of the snapshot rather than a load, for the load that is under way may have read
    before the commit.
    """
    alias = write_alias()
    if _is_in_test_case(connections[alias]):
        # A test never commits, and nobody else sees what it has written.
        denylist.add(ids)
    transaction.on_commit(partial(denylist.add, ids), using=alias)


def allow(entries: DenylistQuerySet) -> int:
    """Delete entries and return how many there were.

    Every process, this one too, follows within ``DENYLIST_INTERVAL``.
    """
    return entries.primary().delete()[0]
