"""What one process remembers, and which changes of the settings make it forget."""

import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from django.core.signals import setting_changed

T = TypeVar("T")

MEAN_LENGTH = 1024
"""Mean number of characters of a remembered token; of longer ones fewer are remembered."""


def cached_by_settings(
    *names: str,
    maxsize: int = 1,
) -> Callable[[Callable[..., T]], "functools._lru_cache_wrapper[T]"]:
    """Cache a function by its arguments until one of these settings changes."""

    def decorate(function: Callable[..., T]) -> "functools._lru_cache_wrapper[T]":
        cached = functools.lru_cache(maxsize)(function)
        on_settings_change(*names)(cached.cache_clear)
        return cached

    return decorate


def on_settings_change(*names: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Call a function whenever one of these settings changes, as ``override_settings`` does."""

    def decorate(forget: Callable[[], None]) -> Callable[[], None]:
        def receiver(*, setting: str, **kwargs: Any) -> None:
            if setting in names:
                forget()

        # Nothing else refers to the receiver.
        setting_changed.connect(receiver, weak=False)
        return forget

    return decorate


class TokenCache(Generic[T]):
    """A bounded map from a token's text to what was found authentic. It knows nothing of time.

    At most ``size`` values, in two generations of half the size: a full young generation becomes
    the old one, which evicts the old one before it. A hit in the old generation moves to the young
    one. This approximates LRU without a lock, bookkeeping on a hit, or a search for a victim; a
    race between threads can only evict early. The key is the whole token, because a shortened one
    could be made to collide.

    A generation is also full when its tokens have ``MEAN_LENGTH`` characters for each of its
    places. A value takes memory in proportion to its token, so the long tokens of another issuer
    cannot fill the memory of a process.
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
        """Remember a value, and evict old ones at the bound."""
        if not self._half:
            return
        if len(self._young) >= self._half or self._left <= 0:
            self._old, self._young = self._young, {}
            self._left = self._half * MEAN_LENGTH
        self._left -= len(token)
        self._young[token] = value

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())
