"""Statements that are put together once for each connection, where the ORM would do it each time they run.

For a simple statement that is most of what the ORM costs: ten times what SQLite needs to run it. The ORM still
writes the SQL and reads the values of the database.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from django.db import connections, models
from django.db.models.sql import UpdateQuery

from ..process.memory import on_settings_change

KEPT = "_jwtauth_statements"
"""Where a connection keeps its statements. They live as long as it does, and are shared by no two threads."""


class Place(models.Value):
    """A place in a statement for a value of a field that is given when the statement runs."""

    def __init__(self, name: str, field: "models.Field[Any, Any]") -> None:
        super().__init__(None, output_field=field)
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        """Return the placeholder, and this place where the value will be."""
        return "%s", [self]


class Statement(NamedTuple):
    """SQL, its parameters in which places are left, and what turns the driver's rows into values."""

    sql: str
    parameters: tuple[Any, ...]
    convert: Callable[[Any], Any] = list


def fetch(alias: str, key: Any, build: Callable[[], "models.QuerySet[Any, Any]"], **values: Any) -> list[Any]:
    """Return the rows of ``build()``, a ``values_list`` with places. It is called once for a connection and a key."""

    def compile_it() -> Statement:
        compiler: Any = build().query.get_compiler(alias)
        sql, parameters = compiler.as_sql()
        converters = compiler.get_converters([column for column, _, _ in compiler.select])
        return Statement(sql, parameters, lambda rows: compiler.apply_converters(rows, converters))

    statement = _kept(alias, key, compile_it)
    with connections[alias].cursor() as cursor:
        return list(statement.convert(_run(cursor, statement, values).fetchall()))


def update(alias: str, key: Any, build: Callable[[], tuple[Any, Mapping[str, Any]]], **values: Any) -> int:
    """Update rows and return how many. ``build`` returns a queryset with places, and what to set, with more."""

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
        _prepared(each.output_field, values[each.name], cursor.db) if isinstance(each, Place) else each
        for each in statement.parameters
    ]
    cursor.execute(statement.sql, parameters)
    return cursor


def _prepared(field: Any, value: Any, connection: Any) -> Any:
    """Return a value as the ORM's look-ups give it to the database. MariaDB stores no key 0, but can look for one."""
    return field.get_db_prep_value(field.get_prep_value(value), connection, prepared=True)


@on_settings_change("USE_TZ", "TIME_ZONE")
def _forget() -> None:
    for connection in connections.all(initialized_only=True):
        vars(connection).pop(KEPT, None)
