"""Read the denylist from the database: whole, each time.

A row gets its id and its times before its transaction commits. Reading only the rows that look
newer than the last ones seen would therefore miss the revocations of slow transactions.
"""

from collections.abc import Set
from typing import Any, NamedTuple

from django.db import connections, models
from django.db.models import Case, When
from django.db.models.functions import Cast, Substr

from ..jose.encoding import ID_BYTES, PADDED_ID_BYTES, encode_id, encode_ids
from ..models import DenylistEntry, DenylistQuerySet

IS_EPOCH = models.Q(claim=DenylistEntry.Claim.IAT)
MAX_BYTES_AT_ONCE = 5000 * PADDED_ID_BYTES
"""Bytes that are decoded before other threads get their turn."""


class PaddedIds(models.Aggregate):
    """All UUIDs of a column in one value, each followed by two zero bytes. SQLite returns
    hexadecimal digits."""

    output_field = models.TextField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return the SQL for PostgreSQL."""
        template = "STRING_AGG(UUID_SEND(%(expressions)s) || '\\x0000'::bytea, ''::bytea)"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return the SQL for MariaDB."""
        template = (
            "GROUP_CONCAT(UNHEX(CONCAT(REPLACE(%(expressions)s, '-', ''), '0000')) SEPARATOR '')"
        )
        return self.as_sql(compiler, connection, template=template, **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return the SQL for SQLite."""
        template = "GROUP_CONCAT(%(expressions)s || '0000', '')"
        return self.as_sql(compiler, connection, template=template, **context)


class Listing(NamedTuple):
    """What the denylist holds."""

    ids: Set[str]
    """Of sessions and of access tokens, as tokens name them."""
    epoch: float
    """Access tokens issued before are denied. Seconds since 1970."""


def read(alias: str) -> Listing:
    """Return what is on the denylist, by one statement. Raises the database's errors."""
    entries = DenylistEntry.objects.using(alias).live()
    group = _prefix() if connections[alias].vendor == "mysql" else models.Value(0)
    groups = entries.values(group=group).annotate(
        ids=PaddedIds(Case(When(~IS_EPOCH, then="value"))),
        epochs=PaddedIds(Case(When(IS_EPOCH, then="value"))),
        count=models.Count("pk"),
    )
    ids: set[str] = set()
    epoch = 0
    for joined_ids, joined_epochs, count in groups.values_list("ids", "epochs", "count"):
        padded, epochs = _to_bytes(joined_ids), _to_bytes(joined_epochs)
        if len(padded) + len(epochs) != count * PADDED_ID_BYTES:
            return _read_by_row(entries)
        for start in range(0, len(padded), MAX_BYTES_AT_ONCE):
            ids.update(encode_ids(padded[start : start + MAX_BYTES_AT_ONCE]))
        for start in range(0, len(epochs), PADDED_ID_BYTES):
            epoch = max(epoch, int.from_bytes(epochs[start : start + ID_BYTES]))
    return Listing(ids, epoch)


def _read_by_row(entries: DenylistQuerySet) -> Listing:
    """Read it where the database has cut a value: ``group_concat_max_len`` of MariaDB is small."""
    ids = {encode_id(value) for value in entries.exclude(IS_EPOCH).values_list("value", flat=True)}
    epochs = [value.int for value in entries.filter(IS_EPOCH).values_list("value", flat=True)]
    return Listing(ids, max(epochs, default=0))


def _to_bytes(joined: str | bytes | None) -> bytes:
    return bytes.fromhex(joined) if isinstance(joined, str) else bytes(joined or b"")


def _prefix() -> Substr:
    """Group by the first two hexadecimal digits: MariaDB cuts a group that is longer than
    ``group_concat_max_len``."""
    return Substr(Cast("value", models.CharField()), 1, 2)
