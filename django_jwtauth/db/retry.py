"""Writes that meet others: tried again where another one came first."""

from collections.abc import Callable
from typing import TypeVar

from django.db import OperationalError, connections, transaction

LOST_RACES = frozenset({"40001", "40P01", (1020,), (1213,)})
"""Serialization failure and deadlock, in the codes of PostgreSQL and of MariaDB."""
ROUNDS = 32
"""How often a write that met another one is tried. Each round lost is one that another writer won,
so under REPEATABLE READ, where one of many at a time gets through, this many at once are served for
certain."""

T = TypeVar("T")


def in_transaction(alias: str, write: Callable[[], T], rounds: int = ROUNDS) -> T:
    """Run a write in one transaction, again where it lost against another one and the transaction
    is our own."""
    try:
        with transaction.atomic(using=alias):
            return write()
    except OperationalError as error:
        if rounds == 1 or connections[alias].in_atomic_block or not lost_a_race(error):
            raise
    return in_transaction(alias, write, rounds - 1)


def lost_a_race(error: OperationalError) -> bool:
    """Whether the database tells that another write came first, rather than that it does not
    work."""
    cause = error.__cause__
    code = (
        getattr(cause, "sqlstate", None)
        or getattr(cause, "pgcode", None)
        or (cause and cause.args[:1])
    )
    return code in LOST_RACES
