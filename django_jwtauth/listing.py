"""Read the denylist from the database: whole, each time.

A row gets its id and its times before its transaction commits. Reading only the rows that look newer than the last
ones seen would therefore miss the revocations of slow transactions.
"""

from collections.abc import Set
from typing import Any

from django.db import connections, models
from django.db.models.functions import Cast, Substr

from .encoding import PADDED_ID_BYTES, encode_id, encode_ids
from .models import DenylistEntry

MAX_BYTES_AT_ONCE = 5000 * PADDED_ID_BYTES
"""Bytes that are decoded before other threads get their turn."""


class PaddedIds(models.Aggregate):
    """All UUIDs of a column in one value, each followed by two zero bytes. SQLite returns hexadecimal digits."""

    output_field = models.TextField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return the SQL for PostgreSQL."""
        template = "STRING_AGG(UUID_SEND(%(expressions)s) || '\\x0000'::bytea, ''::bytea)"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return the SQL for MariaDB."""
        template = "GROUP_CONCAT(UNHEX(CONCAT(REPLACE(%(expressions)s, '-', ''), '0000')) SEPARATOR '')"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> tuple[str, Any]:
        """Return the SQL for SQLite."""
        template = "GROUP_CONCAT(%(expressions)s || '0000', '')"
        return self.as_sql(compiler, connection, template=template, **context)


def read(alias: str) -> Set[str]:
    """Return the ids on the denylist as tokens name them, by one statement. Raises the database's errors."""
    entries = DenylistEntry.objects.using(alias).live()
    grouped = _prefix() if connections[alias].vendor == "mysql" else models.Value(0)
    groups = entries.values(group=grouped).annotate(ids=PaddedIds("value"), count=models.Count("pk"))
    denied: set[str] = set()
    for ids, count in groups.values_list("ids", "count"):
        padded = bytes.fromhex(ids) if isinstance(ids, str) else bytes(ids or b"")
        if len(padded) != count * PADDED_ID_BYTES:
            # ``group_concat_max_len`` is small.
            return {encode_id(value) for value in entries.values_list("value", flat=True)}
        for start in range(0, len(padded), MAX_BYTES_AT_ONCE):
            denied.update(encode_ids(padded[start : start + MAX_BYTES_AT_ONCE]))
    return denied


def _prefix() -> Substr:
    """Group by the first two hexadecimal digits: MariaDB cuts a group that is longer than ``group_concat_max_len``."""
    return Substr(Cast("value", models.CharField()), 1, 2)
