"""Statements that the ORM compiles once per connection instead of each time they run.

Compiling is most of what the ORM costs for a simple statement, ten times what SQLite needs to run
it. The ORM still writes the SQL and converts the values of the database.

This uses parts of the ORM that Django does not document: ``Query.get_compiler`` and ``chain``;
``SQLCompiler.as_sql``, ``select``, ``get_converters`` and ``apply_converters``;
``UpdateQuery.add_update_values``; and that ``as_sql`` hands on the parameters of an expression
unchanged.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from django.db import connections, models
from django.db.models.sql import UpdateQuery

from ..process.memory import on_settings_change

KEPT = "_jwtauth_statements"
"""The attribute of a connection that holds its statements. No two threads share a connection."""


class Place(models.Value):
    """A placeholder in a statement for the value of a field, which is given when it runs."""

    def __init__(self, name: str, field: "models.Field[Any, Any]") -> None:
        super().__init__(None, output_field=field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        """Return SQL with this place as its parameter instead of the value."""
        return "%s", [self]


class Statement(NamedTuple):
    """SQL, its parameters, among them places, and the conversion of the driver's rows."""

    sql: str
    parameters: tuple[Any, ...]
    convert: Callable[[Any], Any] = list


def fetch(
    alias: str,
    key: Any,
    build: Callable[[], "models.QuerySet[Any, Any]"],
    **values: Any,
) -> list[Any]:
    """Return the rows of ``build()``, a ``values_list`` with places.

    It is called once for a connection and a key.
    """

    def compile_it() -> Statement:
        compiler: Any = build().query.get_compiler(alias)
        sql, parameters = compiler.as_sql()
        converters = compiler.get_converters([column for column, _, _ in compiler.select])
        return Statement(sql, parameters, lambda rows: compiler.apply_converters(rows, converters))

    statement = _kept(alias, key, compile_it)
    with connections[alias].cursor() as cursor:
        return list(statement.convert(_run(cursor, statement, values).fetchall()))


def update(
    alias: str,
    key: Any,
    build: Callable[[], tuple[Any, Mapping[str, Any]]],
    **values: Any,
) -> int:
    """Update rows and return how many.

    ``build`` returns a queryset and what to set, both with places. It is called as by ``fetch``.
    """

    def compile_it() -> Statement:
        queryset, changes = build()
        query = queryset.query.chain(UpdateQuery)
        query.add_update_values(changes)
        return Statement(*query.get_compiler(alias).as_sql())

    statement = _kept(alias, key, compile_it)
    with connections[alias].cursor() as cursor:
        return int(_run(cursor, statement, values).rowcount)


def _kept(alias: str, key: Any, compile_it: Callable[[], Statement]) -> Statement:
    kept = vars(connections[alias]).setdefault(KEPT, {})
    if key not in kept:
        kept[key] = compile_it()
    statement: Statement = kept[key]
    return statement


def _run(cursor: Any, statement: Statement, values: Mapping[str, Any]) -> Any:
    parameters = [
        _prepared(each.output_field, values[each.name], cursor.db)
        if isinstance(each, Place)
        else each  # a constant, which the compiler has prepared
        for each in statement.parameters
    ]
    cursor.execute(statement.sql, parameters)
    return cursor


def _prepared(field: Any, value: Any, connection: Any) -> Any:
    """Prepare a value as lookups do: MariaDB cannot save a key of 0, but can look for one."""
    return field.get_db_prep_value(field.get_prep_value(value), connection, prepared=True)


@on_settings_change("USE_TZ", "TIME_ZONE")
def _forget_statements() -> None:
    for connection in connections.all(initialized_only=True):
        vars(connection).pop(KEPT, None)
