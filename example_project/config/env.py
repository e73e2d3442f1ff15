"""Read settings from environment variables. A variable that is set but empty counts as not set."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

ENGINES = {
    "sqlite": "django.db.backends.sqlite3",
    "postgres": "django.db.backends.postgresql",
    "postgresql": "django.db.backends.postgresql",
    "mysql": "django.db.backends.mysql",
    "mariadb": "django.db.backends.mysql",
}

SQLITE_OPTIONS = {
    # WAL: readers do not wait for the writer.
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    # A transaction takes the write lock when it begins. One that reads first and writes later (the
    # admin's) cannot wait for the lock: SQLite refuses it with "database is locked" at once.
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
}


def text(name: str, default: str = "") -> str:
    return os.environ.get(name, "").strip() or default


def words(name: str) -> list[str]:
    return [word.strip() for word in text(name).split(",") if word.strip()]


def flag(name: str, default: bool = False) -> bool:
    value = text(name).lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} must be 1 or 0.")


def number(name: str, default: int) -> int:
    value = text(name, str(default))
    if not value.isdecimal():
        raise ImproperlyConfigured(f"{name} must be a whole number.")
    return int(value)


def database(url: str) -> dict[str, Any]:
    """
    One entry of DATABASES from a URL.

        sqlite:///relative.sqlite3    sqlite:////absolute.sqlite3    sqlite://:memory:
        postgres://user:password@host:5432/name?sslmode=require
        mariadb://user:password@host:3306/name?read_timeout=5

    The query string becomes OPTIONS. User, password and name are percent-decoded.
    """
    # No message quotes the URL: it holds a password.
    scheme, _, rest = url.partition("://")
    if scheme not in ENGINES:
        raise ImproperlyConfigured(f"DATABASE_URL must begin with one of: {', '.join(ENGINES)}, then ://")

    # Only now split: ":memory:" is no network location that urlsplit would accept.
    location, _, query = rest.partition("?")
    options = {key: _option(value) for key, value in parse_qsl(query)}
    if scheme == "sqlite":
        name = unquote(location.removeprefix("/")) or ":memory:"
        return {"ENGINE": ENGINES[scheme], "NAME": name, "OPTIONS": SQLITE_OPTIONS | options}

    parts, port = _split(f"//{location}")
    return {
        "ENGINE": ENGINES[scheme],
        "NAME": unquote(parts.path.removeprefix("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": port,
        "OPTIONS": options,
    }


def _split(location: str) -> tuple[SplitResult, str]:
    try:
        parts = urlsplit(location)
        return parts, str(parts.port or "")
    except ValueError:
        raise ImproperlyConfigured(
            "DATABASE_URL cannot be read: percent-encode the special characters of the password."
        ) from None


def _option(value: str) -> str | int | bool:
    # Drivers are particular: sqlite3 refuses a timeout of "20", psycopg a pool of "true".
    if value.isdecimal():
        return int(value)
    return {"true": True, "false": False}.get(value, value)
