"""Many rows, by as many as one statement takes."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")
BATCH = 500
"""Rows of one statement."""


def chunks(keys: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield keys by as many as one statement takes."""
    return (keys[start : start + BATCH] for start in range(0, len(keys), BATCH))
