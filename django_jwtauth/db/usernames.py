"""The spellings of a username under which the database finds the same user."""

import unicodedata
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.db import connections, models, router

from .user_rows import names_nobody

MAX_NAME_LENGTH = 1024
"""Characters of a user name; longer ones are refused unread."""


def account_key(name: str, field_name: str) -> str:
    """Return a text that is the same for all spellings of a name under which the database finds the
    same user.

    It is made of the name and the column ``field_name`` of the user model, never of a row: it must
    not depend on whether a user of that name exists.
    """
    try:
        field: Any = get_user_model()._meta.get_field(field_name)
        return _fold(_written(name, field), field)
    except Exception as error:
        if not (isinstance(error, FieldDoesNotExist) or names_nobody(error)):
            raise
        return _fold_case(name)


def _written(name: str, field: Any) -> str:
    """Return a name as the column has it: numbers and UUIDs have many spellings."""
    connection = connections[router.db_for_read(get_user_model())]
    written, again = (str(field.get_db_prep_value(name, connection)) for _ in range(2))
    # What a column keeps encrypted may differ each time, and each would have a count of its own.
    return written if written == again else name


def _fold(name: str, field: Any) -> str:
    connection = connections[router.db_for_read(get_user_model())]
    if not isinstance(field, models.CharField | models.TextField):
        return _fold_case(name)
    if connection.vendor == "mysql":
        return _weights(name, field, connection)
    return _letters(name) if field.db_collation else _fold_case(name)


def _fold_case(name: str) -> str:
    # To capitals first: what compares without case may take a dotless i for an i, and they have one
    # capital.
    return unicodedata.normalize("NFKC", name).strip().upper().casefold()


def _letters(name: str) -> str:
    """Return the plain letters and digits of a name: a collation of the project's own may ignore
    all else."""
    decomposed = unicodedata.normalize("NFKD", _fold_case(name))
    letters = [
        _without_stroke(letter) for letter in decomposed if unicodedata.category(letter)[0] in "LN"
    ]
    return "".join(letters) or decomposed


def _without_stroke(letter: str) -> str:
    plain, *_ = unicodedata.name(letter, "").partition(" WITH ")
    try:
        return unicodedata.lookup(plain)
    except KeyError:
        return letter


def _weights(name: str, field: Any, connection: Any) -> str:
    """Return what the collation of a column compares a name by: MariaDB and MySQL take "àlice" for
    "alice"."""
    # Letter by letter: a collation may take "ß" for an "s", but hardly for the two that it has for
    # capitals.
    capitals = (letter.upper() if len(letter.upper()) == 1 else letter for letter in name)
    text = unicodedata.normalize("NFKC", "".join(capitals)).strip()
    quote = connection.ops.quote_name
    # A text takes the collation of the column that it is in a union with. No row is read.
    sql = (
        f"SELECT HEX(WEIGHT_STRING(name)) FROM (SELECT {quote(field.column)} AS name "  # noqa: S608
        f"FROM {quote(field.model._meta.db_table)} WHERE 1 = 0 UNION ALL SELECT %s UNION ALL "
        "SELECT ' ') AS names"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, [text])
        (weights,), (space,) = cursor.fetchall()
    # Spaces at the end are not compared, nor what has no weight after them.
    while weights.endswith(space):
        weights = weights.removesuffix(space)
    return str(weights)
