"""Whether all requests see the same tables of this app: one database, one schema."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connections, router

from ..models import Session, write_alias

SCHEMA_PACKAGES = frozenset({"django_tenants", "tenant_schemas", "django_pgschemas"})
"""Packages whose database engine chooses a PostgreSQL schema for each request."""

Source = tuple[str, str | None]
"""An alias, and the schema in it where tables differ between schemas."""


def tables_differ_by_schema() -> bool:
    """Whether each tenant has a schema with tables of its own for sessions or users."""
    configs = {Session._meta.app_config, get_user_model()._meta.app_config}
    names = [
        {config.name, f"{type(config).__module__}.{type(config).__qualname__}"}
        for config in configs
        if config
    ]
    shared, of_tenants = _app_lists()
    if any(not own.isdisjoint(of_tenants) for own in names):
        return True
    engine = str(connections.settings[write_alias()]["ENGINE"])
    return engine.partition(".")[0] in SCHEMA_PACKAGES and any(
        own.isdisjoint(shared) for own in names
    )


def _app_lists() -> tuple[set[str], set[str]]:
    """Return the apps with tables in the shared schema, and those with tables in the schemas of
    tenants."""
    public = getattr(settings, "PUBLIC_SCHEMA_NAME", "public")
    types: dict[str, Any] = getattr(settings, "TENANT_TYPES", {})
    shared, of_tenants = _listed("SHARED_APPS"), _listed("TENANT_APPS")
    for name, kind in types.items():
        (shared if name == public else of_tenants).update(kind.get("APPS", ()))
    return shared, of_tenants


def _listed(name: str) -> set[str]:
    listed: Iterable[str] = getattr(settings, name, ())
    return set(listed)


def source_of(connection: Any) -> Source | None:
    """Return where this connection reads our tables, or None where all connections read the same
    ones."""
    schema = getattr(connection, "schema_name", None)
    if schema is not None and tables_differ_by_schema():
        return connection.alias, schema
    return (connection.alias, None) if router.routers else None


def is_current(source: Source) -> bool:
    """Whether this request reads our tables from there. Raises what a router raises."""
    alias, schema = source
    return write_alias() == alias and (
        schema is None or getattr(connections[alias], "schema_name", None) == schema
    )
