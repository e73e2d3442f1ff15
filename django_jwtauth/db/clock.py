"""The clock of the database."""

from datetime import datetime
from typing import Any

from django.db.models.functions import Now
from django.utils import timezone


def utc_offset(connection: Any) -> float:
    """Return the seconds by which the times that Django keeps in a database are ahead of UTC at
    this moment."""
    offset = datetime.now(connection.timezone or timezone.get_default_timezone()).utcoffset()
    return offset.total_seconds() if offset else 0.0


class DatabaseNow(Now):
    """The clock of the database, in the time zone in which Django keeps times there.

    MariaDB's own is that of the server, and jumps where summer begins and ends; SQLite's is UTC.
    """

    def as_sqlite(self, compiler: Any, connection: Any, **extra_context: Any) -> tuple[str, Any]:
        """Return the SQL for SQLite."""
        offset = f"{utc_offset(connection):+.0f} seconds"
        template = f"STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW', '{offset}')"
        return self.as_sql(compiler, connection, template=template, **extra_context)

    def as_mysql(self, compiler: Any, connection: Any, **extra_context: Any) -> tuple[str, Any]:
        """Return the SQL for MariaDB."""
        template = f"(UTC_TIMESTAMP(6) + INTERVAL {utc_offset(connection):.0f} SECOND)"
        return self.as_sql(compiler, connection, template=template, **extra_context)
