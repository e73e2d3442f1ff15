"""Row locks."""

from typing import Any

from django.db import connections, models


def lock_free(rows: models.QuerySet[Any]) -> Any:
    """Lock rows, but for those that others have locked, for however long. Returns what names them in a query.

    SQLite locks no rows.
    """
    connection = connections[rows.db]
    keys = rows.values_list("pk", flat=True)
    if connection.features.has_select_for_update:
        keys = keys.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked)
    # MariaDB takes no limit in a subquery. Where one will do, keys that nobody looks at stay in the database.
    return keys if connection.vendor in {"postgresql", "sqlite"} else list(keys)
