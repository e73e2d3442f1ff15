"""To import the app reads nothing but Python modules and reaches nobody."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.processes

NO_SETTINGS_NEEDED = (
    "claims",
    "errors",
    "jose.encoding",
    "jose.jwk_set",
    "jose.keys",
    "process.clock",
    "process.reloading",
    "rules.members",
    "rules.values",
    "signals",
)
REACHES_OUT = (
    "socket.connect",
    "socket.get",
    "socket.send",
    "subprocess.",
    "os.exec",
    "os.posix_spawn",
    "os.system",
    "urllib.",
    "sqlite3.",
)
READ_BY_OTHERS = (".mo", "METADATA", ".zip", "__path_hook__")
"""Translations by Django, the version of a driver by that driver, and where Python or an editable install might be."""
IMPORTS = f"""
import json, os, sys

happened = []
def note(event, args):
    if event == "open" or event.startswith({REACHES_OUT!r}):
        happened.append((event, str(args[0])))
sys.addaudithook(note)

import importlib, pkgutil
for name in {NO_SETTINGS_NEEDED!r}:
    importlib.import_module("django_jwtauth." + name)

import django
from django.conf import settings
settings.configure(
    SECRET_KEY="x" * 50,
    INSTALLED_APPS=["django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
                    "django.contrib.messages", "django.contrib.sessions", "rest_framework", "drf_spectacular",
                    "django_jwtauth"],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": os.devnull}}}},
)
django.setup()
import django_jwtauth
for module in pkgutil.walk_packages(django_jwtauth.__path__, "django_jwtauth."):
    importlib.import_module(module.name)
imported = [name for name in sys.modules if name.startswith("django_jwtauth")]
print(json.dumps([happened, imported]))
"""


@pytest.fixture(scope="module")
def imports() -> Any:
    """Return what happened when everything was imported in a new process, and what was."""
    ended = subprocess.run(
        [sys.executable, "-B", "-c", IMPORTS],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    return json.loads(ended.stdout)


def test_every_module_is_imported(imports):
    package = Path(__file__).parents[2] / "django_jwtauth"
    for path in package.rglob("*.py"):
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        assert name in imports[1]


def test_nobody_is_reached(imports):
    assert [event for event, _ in imports[0] if event.startswith(REACHES_OUT)] == []


def test_no_file_is_opened_but_python_modules(imports):
    opened = {name for event, name in imports[0] if event == "open"}
    assert len(opened) > 100
    assert [name for name in opened if not name.endswith((".py", ".pyc", ".so", *READ_BY_OTHERS))] == []
