"""Check the members of a dict in the settings, each against its rule."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured

from .values import HookImportError


class Problem(NamedTuple):
    """A mistake in the settings: the id of its system check, what is wrong, what to write."""

    id: str
    message: str
    hint: str


class Rule(NamedTuple):
    """What a member must be."""

    accepts: Callable[[Any], bool]
    hint: str
    """What to write."""
    id: str | None = None
    """The system check of a value that is not accepted. None: that of unknown members."""

    def find_fault(self, value: Any) -> str | None:
        """Return what is wrong with a value, or None."""
        try:
            return None if self.accepts(value) else "is not usable."
        except HookImportError as error:
            return f"cannot be imported. {error}"


def check_members(
    place: str,
    entry: Mapping[Any, Any],
    rules: Mapping[str, Rule],
    *,
    id: str,
    kind: str = "member",
) -> list[Problem]:
    """Return every unknown member and every unusable value of the dict at ``place``."""
    problems = [
        Problem(id, f"{place} has no {kind} {name!r}.", suggest(name, rules, f"{kind}s"))
        for name in entry
        if name not in rules
    ]
    for name, rule in rules.items():
        if name in entry and (fault := rule.find_fault(entry[name])):
            problems.append(Problem(rule.id or id, f"{place}['{name}'] {fault}", rule.hint))
    return problems


def suggest(name: Any, names: Iterable[str], kind: str) -> str:
    """Return the hint for an unknown name: the closest of ``names``, or all of them."""
    close = difflib.get_close_matches(str(name).upper(), names, n=1)
    return f"Did you mean '{close[0]}'?" if close else f"The {kind} are: {', '.join(names)}."


def raise_first(problems: Iterable[Problem]) -> None:
    """Raise ``ImproperlyConfigured`` with the first problem, if there is one."""
    for problem in problems:
        raise ImproperlyConfigured(f"{problem.message} {problem.hint} ({problem.id})")
