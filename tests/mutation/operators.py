"""What is changed: the operators of Cosmic Ray that say something about this code, and some of our own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cosmic_ray.operators.boolean_replacer import AddNot
from cosmic_ray.operators.operator import Operator
from cosmic_ray.operators.provider import OperatorProvider
from parso.python.tree import Keyword, Name, PythonNode, String

ARITHMETIC = ("Add_Sub", "Sub_Add", "LShift_RShift", "RShift_LShift", "BitAnd_BitOr")
COMPARISONS = (
    "Eq_NotEq",
    "Eq_LtE",
    "Eq_GtE",
    "NotEq_Eq",
    "Lt_LtE",
    "Lt_GtE",
    "LtE_Lt",
    "LtE_Gt",
    "Gt_GtE",
    "Gt_LtE",
    "GtE_Gt",
    "GtE_Lt",
    "Is_IsNot",
    "IsNot_Is",
)
SWAPPED = {"min": "max", "max": "min", "any": "all", "all": "any"}
CORE = (
    *(f"ReplaceBinaryOperator_{name}" for name in ARITHMETIC),
    *(f"ReplaceComparisonOperator_{name}" for name in COMPARISONS),
    "ReplaceUnaryOperator_Delete_Not",
    "ReplaceUnaryOperator_Delete_USub",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ExceptionReplacer",
    "NumberReplacer",
    "RemoveDecorator",
    "ZeroIterationForLoop",
)

Positions = Iterator[tuple[Any, Any]]


class _Own(Operator):
    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class Negate(AddNot):
    """A negated condition, unless another operator negates it as well."""

    def mutation_positions(self, node: Any) -> Positions:
        for start, end in super().mutation_positions(node):
            condition = node.children[2 if node.type == "test" else 1]
            if condition.type not in ("comparison", "not_test", "namedexpr_test"):
                yield start, end


class DeleteStatement(_Own):
    """``pass`` instead of a call, a raise, a return, a yield or what changes a name or an attribute in a function."""

    TYPES = ("atom_expr", "raise_stmt", "return_stmt", "yield_expr", "del_stmt")

    def mutation_positions(self, node: Any) -> Positions:
        if node.type == "simple_stmt" and node.search_ancestor("funcdef"):
            statement = node.children[0]
            is_word = statement.type == "keyword" and statement.value in ("raise", "return")
            is_tried = statement.type in self.TYPES or is_word or _changes(statement)
            if is_tried and not _falls_off_the_end(statement):
                yield statement.start_pos, statement.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        first = node.get_first_leaf()
        node.children[0] = Keyword("pass", first.start_pos, prefix=first.prefix)
        return node


class DeleteArgument(_Own):
    """A call without one of its keyword arguments."""

    def mutation_positions(self, node: Any) -> Positions:
        for argument in self._named(node):
            yield argument.start_pos, argument.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        at = node.children.index(self._named(node)[index])
        # With the comma behind it. Where there is none, the one before it may stay.
        del node.children[at : at + (2 if node.type == "arglist" else 1)]
        return node

    @staticmethod
    def _named(node: Any) -> list[Any]:
        is_call = node.type == "arglist" or (node.type == "trailer" and node.children[0].value == "(")
        return [child for child in node.children if _is_named_argument(child)] if is_call else []


class SwapMembership(_Own):
    """``in`` and ``not in``."""

    def mutation_positions(self, node: Any) -> Positions:
        if node.type == "comparison" and node.children[1].get_code().strip() in ("in", "not in"):
            yield node.children[1].start_pos, node.children[1].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        old = node.children[1]
        new = "not in" if old.get_code().strip() == "in" else "in"
        node.children[1] = Keyword(new, old.start_pos, prefix=" ")
        return node


class SwapUnion(_Own):
    """``&`` for ``|``, but not where it stands between types."""

    def mutation_positions(self, node: Any) -> Positions:
        if node.type == "operator" and node.value == "|" and not _is_annotation(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.value = "&"
        return node


class SwapProduct(_Own):
    """``*`` and ``/`` between numbers; in a signature they are marks."""

    def mutation_positions(self, node: Any) -> Positions:
        if node.type == "operator" and node.value in ("*", "/") and node.parent.type == "term":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.value = "/" if node.value == "*" else "*"
        return node


class SwapFunction(_Own):
    """``min`` and ``max``, ``any`` and ``all``."""

    def mutation_positions(self, node: Any) -> Positions:
        if isinstance(node, Name) and node.value in SWAPPED and node.get_previous_leaf().value != ".":
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.value = SWAPPED[node.value]
        return node


class ChangeText(_Own):
    """Another text, but not in docstrings, annotations and messages."""

    def mutation_positions(self, node: Any) -> Positions:
        is_docstring = node.parent is not None and node.parent.type == "simple_stmt"
        if isinstance(node, String) and not (is_docstring or _is_annotation(node) or _is_message(node)):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        start = len(node.string_prefix) + 1
        node.value = f"{node.value[:start]}X{node.value[start:]}"
        return node


def _changes(statement: Any) -> bool:
    """Whether this assigns anew. Without a first assignment nothing works, which would say little of the tests."""
    if statement.type != "expr_stmt":
        return False
    operator = statement.children[1]
    if operator.type == "annassign":
        return False
    names = [name.value for name in statement.get_defined_names()]
    function = statement.search_ancestor("funcdef")
    before = function.get_code(include_prefix=False).partition(statement.get_code(include_prefix=False))[0]
    return not names or any(re.search(rf"\b{name}\b", before) for name in names) or operator != "="


def _falls_off_the_end(statement: Any) -> bool:
    """Whether this returns None where that is what happens anyway."""
    function = statement.search_ancestor("funcdef")
    is_last = statement.get_last_leaf().get_next_leaf() is function.get_last_leaf()
    return is_last and statement.get_code(include_prefix=False) in ("return", "return None")


def _is_named_argument(node: Any) -> bool:
    return isinstance(node, PythonNode) and node.type == "argument" and node.children[1] == "="


def _is_annotation(node: Any) -> bool:
    while node.parent is not None:
        parent = node.parent
        if parent.type in ("annassign", "tfpdef"):
            return parent.type == "tfpdef" or parent.children[1] is node
        if parent.type == "funcdef":
            return parent.annotation is node
        if parent.type == "simple_stmt":
            return False
        node = parent
    return False


def _is_message(node: Any) -> bool:
    statement = node.search_ancestor("simple_stmt")
    code = statement.get_code(include_prefix=False) if statement is not None else ""
    return code.startswith(("raise ", "logger."))


OWN = (Negate, DeleteStatement, DeleteArgument, SwapMembership, SwapProduct, SwapUnion, SwapFunction, ChangeText)


class Chosen:
    """A provider of operators, as Cosmic Ray asks for them."""

    def __init__(self) -> None:
        core = OperatorProvider()
        self._operators = {name: core[name] for name in CORE} | {cls.__name__: cls for cls in OWN}

    def __iter__(self) -> Iterator[str]:
        return iter(self._operators)

    def __getitem__(self, name: str) -> Any:
        return self._operators[name]
