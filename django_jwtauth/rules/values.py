"""Tests of values: ``is_...`` tests one, the other functions return a test."""

import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.utils.module_loading import import_string

Test = Callable[[Any], bool]


class HookImportError(Exception):
    """A dotted path cannot be imported; the text repeats what importing it raised."""


def is_text(value: Any) -> bool:
    """Whether a value is printable text, neither empty nor padded with white space."""
    return isinstance(value, str) and value != "" and value == value.strip() and value.isprintable()


def is_count(value: Any) -> bool:
    """Whether a value is a whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_filled_list(value: Any) -> bool:
    """Whether a value is a list that is not empty."""
    return isinstance(value, list | tuple) and len(value) > 0


def instance_of(*types: type) -> Test:
    """Test for a value of one of these types."""
    return lambda value: isinstance(value, types)


def none_or(accepts: Test) -> Test:
    """Test for None or a value that is accepted."""
    return lambda value: value is None or accepts(value)


def list_of(accepts: Test) -> Test:
    """Test for a list of accepted values that is not empty."""
    return lambda value: is_filled_list(value) and all(map(accepts, value))


def one_or_more(accepts: Test) -> Test:
    """Test for an accepted value, or a list of them that is not empty."""
    are_accepted = list_of(accepts)
    return lambda value: are_accepted(value) if isinstance(value, list | tuple) else accepts(value)


def dict_of(accepts: Test) -> Test:
    """Test for a dict whose names are text and whose values are accepted."""
    return lambda value: (
        isinstance(value, Mapping)
        and all(is_text(name) and accepts(item) for name, item in value.items())
    )


def duration(least: timedelta, most: timedelta) -> Test:
    """Test for a ``timedelta`` between these two."""
    return lambda value: isinstance(value, timedelta) and least <= value <= most


def hook(*arguments: str) -> Test:
    """Test for a synchronous callable that takes these arguments, its dotted path, or None.

    The test raises ``HookImportError`` for a path that cannot be imported.
    """

    def is_hook(value: Any) -> bool:
        if isinstance(value, str):
            if not all(name.isidentifier() for name in value.split(".")):
                return False
            value = _imported(value)
        return value is None or (
            callable(value) and not inspect.iscoroutinefunction(value) and _takes(value, arguments)
        )

    return is_hook


def _imported(path: str) -> Any:
    try:
        return import_string(path)
    except Exception as error:  # importing runs the project's code, which may raise anything
        raise HookImportError(f"{type(error).__name__}: {error}") from error


def _takes(function: Callable[..., Any], arguments: tuple[str, ...]) -> bool:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # a callable written in C has no signature
        return True
    return True
