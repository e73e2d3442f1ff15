"""Counting statements: what begins and ends transactions is not counted, since backends differ in showing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

FRAME = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")


@contextmanager
def failing(begins: str, *errors: Exception) -> Iterator[list[Exception]]:
    """Raise these errors, one after the other, instead of executing statements that begin so; yield what is left."""
    left = list(reversed(errors))

    def execute_or_fail(execute: Any, sql: str, *arguments: Any) -> Any:
        if left and sql.startswith(begins):
            raise left.pop()
        return execute(sql, *arguments)

    with connection.execute_wrapper(execute_or_fail):
        yield left


@contextmanager
def statements() -> Iterator[list[str]]:
    """Fill a list with the statements that were executed inside."""
    executed: list[str] = []
    with CaptureQueriesContext(connection) as captured:
        yield executed
    executed += [query["sql"] for query in captured if not query["sql"].startswith(FRAME)]
