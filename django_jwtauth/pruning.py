"""Deleting the rows that can concern nothing any more."""

import logging
import random
from collections.abc import Iterator
from typing import Any

from django.db import connections, models

from .db.batches import BATCH
from .db.locking import lock_unlocked_rows
from .db.retry import in_transaction
from .models import DenylistEntry, Session, write_alias

PRUNE_EVERY = 100
"""One refresh in so many also deletes a batch of what has expired."""

logger = logging.getLogger("django_jwtauth")


def prune(batch_size: int = BATCH) -> Iterator[int]:
    """Delete sessions and denylist entries that can concern nothing any more.

    One transaction a batch of each; yields how many rows it deleted. Stop it whenever you like.
    """
    while deleted := sum(_delete_some(rows, batch_size) for rows in _expired()):
        yield deleted


def count_expired() -> int:
    """Return how many rows ``prune`` would delete."""
    return sum(rows.count() for rows in _expired())


def _expired() -> tuple[models.QuerySet[Any], ...]:
    return Session.objects.primary().expired(), DenylistEntry.objects.primary().expired()


def _delete_some(expired: models.QuerySet[Any], batch_size: int) -> int:
    def write() -> int:
        # A refresh does this now and then, and must not wait for a transaction that goes on for
        # long.
        batch = lock_unlocked_rows(expired.order_by("expires_at")[:batch_size])
        # Of all rows: PostgreSQL, where it believes that few have expired, would read the batch
        # once for each of them.
        deleted: int = (
            expired.model._default_manager.using(expired.db).filter(pk__in=batch).delete()[0]
        )
        return deleted

    return in_transaction(write_alias(), write)


def prune_now_and_then() -> None:
    """Delete a batch once in so many refreshes, so that the tables stay bounded where nobody
    prunes."""
    if connections[write_alias()].in_atomic_block or random.randrange(PRUNE_EVERY):  # noqa: S311
        return
    try:
        next(prune(), 0)
    except (
        Exception
    ):  # of the database, or of a receiver of the project's own; the refresh has succeeded
        logger.warning("Expired rows could not be deleted.", exc_info=True)
