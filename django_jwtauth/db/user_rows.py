"""Rows of the user model: primary keys, columns, and what tells that there is none."""

from functools import lru_cache
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.db import DataError, OperationalError, models
from django.db.models.manager import BaseManager

ILLEGAL_MIX_OF_COLLATIONS = {1267, 1270, 1271}
"""MariaDB's codes for text with characters that are not in the character set of the column."""


def read_pk(text: str) -> Any:
    """Return the primary key of the user model that a text is, or None where no row can have it."""
    field: Any = get_user_model()._meta.pk
    while field.remote_field:
        # The key of a child of another model is the parent's.
        field = field.target_field
    try:
        text.encode()
        pk = field.to_python(text)
        field.run_validators(pk)
    except (ValidationError, UnicodeEncodeError):
        return None
    return None if "\0" in text else pk


def names_nobody(error: Exception) -> bool:
    """Whether an error tells that no user has, or can have, what was looked for, not that something
    is broken."""
    impossible = ObjectDoesNotExist, ValueError, ValidationError, DataError
    return isinstance(error, impossible) or (
        isinstance(error, OperationalError)
        and not ILLEGAL_MIX_OF_COLLATIONS.isdisjoint(error.args[:1])
    )


@lru_cache
def are_all_visible(model: Any) -> bool:
    """Whether the default manager of a user model is Django's own, which hides no user and asks
    always the same."""
    manager = model._default_manager
    return (
        type(manager).get_queryset is BaseManager.get_queryset
        and type(manager.all()) is models.QuerySet
    )


def fields_of(model: Any) -> list[str]:
    """Return the names of the columns by which ``from_db`` makes a whole instance."""
    return [field.attname for field in model._meta.concrete_fields]
