"""Row locks."""

from typing import Any

from django.db import connections, models


def lock_unlocked_rows(rows: models.QuerySet[Any]) -> Any:
    """Lock the rows that no other transaction has locked, and return their keys for use in a query.

    SQLite has no row locks: there it returns all keys.
    """
    connection = connections[rows.db]
    keys = rows.values_list("pk", flat=True)
    if connection.features.has_select_for_update:
        skip_locked = connection.features.has_select_for_update_skip_locked
        keys = keys.select_for_update(skip_locked=skip_locked)
    # MariaDB takes no LIMIT in a subquery. PostgreSQL and SQLite do, and need not send the keys.
    return keys if connection.vendor in {"postgresql", "sqlite"} else list(keys)
