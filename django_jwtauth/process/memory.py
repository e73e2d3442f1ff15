"""A bounded map from a token's text to what was found authentic. It knows nothing of time."""

from typing import Generic, TypeVar

T = TypeVar("T")

MEAN_LENGTH = 1024
"""Characters of a remembered token on average; of longer ones fewer are remembered."""


class TokenCache(Generic[T]):
    """Remembers at most ``size`` values, those used lately rather than those used long ago.

    Two generations of half the size: when the young one is full it becomes the old one, and what the old
    one still held is forgotten. That needs no lock, no bookkeeping at a hit and no search for a victim; two
    threads that meet here can at worst forget early. The key is the whole token: a shortened one could be
    made to collide.

    A generation is also full when its tokens have ``MEAN_LENGTH`` characters for each of its places. A value takes
    memory in proportion to its token, so long tokens of another issuer cannot fill the memory of a process.
    """

    def __init__(self, size: int) -> None:
        self._half = size // 2
        self._young: dict[str, T] = {}
        self._old: dict[str, T] = {}
        self._left = self._half * MEAN_LENGTH

    def get(self, token: str) -> T | None:
        """Return what is remembered of this token, or None."""
        value = self._young.get(token)
        if value is None and (value := self._old.get(token)) is not None:
            self.put(token, value)
        return value

    def put(self, token: str, value: T) -> None:
        """Remember a value, and forget old ones where the bound asks for it."""
        if not self._half:
            return
        if len(self._young) >= self._half or self._left <= 0:
            self._old, self._young = self._young, {}
            self._left = self._half * MEAN_LENGTH
        self._left -= len(token)
        self._young[token] = value

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
