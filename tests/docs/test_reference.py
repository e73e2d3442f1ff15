"""The reference says what the code does: headings and tables are compared with the code."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from datetime import timedelta

from django.core.management import load_command_class
from django.core.management.base import BaseCommand
from django.dispatch import Signal

from django_jwtauth import errors, signals, throttling, urls
from django_jwtauth.authentication import to_api_exception
from django_jwtauth.conf import Config
from tests.docs.readme import DOCS

REFERENCE = DOCS / "reference"
COMMANDS = DOCS.parent / "django_jwtauth" / "management" / "commands"

GENERAL = set(BaseCommand().create_parser("manage.py", "any")._option_string_actions) | {"--skip-checks"}


def entries(page: str) -> list[tuple[str, str]]:
    """Return each heading of a page that is code, with the text below it."""
    text = (REFERENCE / page).read_text()
    return re.findall(r"^##+ `([^`]+)`\n\n((?:(?!#)[^\n]*\n|\n)+)", text, re.MULTILINE)


def value(body: str, name: str) -> str:
    """Return what the first line of an entry says, as in ``Default: `None```."""
    first, *_ = body.split("\n")
    label, _, rest = first.partition(": ")
    assert label == name
    return rest.strip("`.")


def meaning(body: str) -> str:
    return body.partition("\n")[2].strip()


def test_the_settings_are_those_of_the_code_with_their_defaults() -> None:
    written = {
        name: eval(value(body, "Default"), {"timedelta": timedelta})  # noqa: S307
        for name, body in entries("settings.md")
    }
    assert written == {field.name.upper(): getattr(Config(), field.name) for field in fields(Config)}
    assert len(entries("settings.md")) == len(written)
    assert all(meaning(body) for _, body in entries("settings.md"))


def test_the_endpoints_are_the_url_patterns() -> None:
    written = {(request, value(body, "URL name")) for request, body in entries("endpoints.md")}
    existing = set()
    for route in urls.urlpatterns:
        view = route.callback.view_class
        methods = [method for method in view.http_method_names if hasattr(view, method) and method != "options"]
        path = "/auth/" + re.sub(r"<\w+:", "<", str(route.pattern))
        existing |= {(f"{method.upper()} {path}", f"{urls.app_name}:{route.name}") for method in methods}
    assert written == existing


def test_the_error_codes_are_those_of_the_code_with_their_statuses() -> None:
    written = {(code, int(value(body, "Status"))) for code, body in entries("errors.md")}
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.JWTAuthError)]
    told = [kind for kind in kinds if kind.code != errors.JWTAuthError.code]
    assert written == {(kind.code, to_api_exception(kind()).status_code) for kind in told}
    assert all(meaning(body) for _, body in entries("errors.md"))


def test_the_throttles_are_those_of_the_code_with_their_rates() -> None:
    written = set(re.findall(r"^\| `(\w+)` \| `([^`]+)` \| \w", (REFERENCE / "throttles.md").read_text(), re.MULTILINE))
    kinds = [kind for kind in vars(throttling).values() if getattr(kind, "scope", None)]
    assert written == {(kind.scope, kind.default_rate) for kind in kinds}


def test_the_signals_are_those_of_the_code() -> None:
    written = [name for name, _ in entries("signals.md")]
    assert written == [name for name, kind in vars(signals).items() if isinstance(kind, Signal)]


def test_the_commands_are_those_of_the_package_with_their_options() -> None:
    written = {name: set(re.findall(r"^- `(--[a-z-]+)`", body, re.MULTILINE)) for name, body in entries("commands.md")}
    assert written.keys() == {file.stem for file in COMMANDS.glob("jwtauth_*.py")}
    for name, told in written.items():
        # What Django gives every command isn't repeated.
        parser = load_command_class("django_jwtauth", name).create_parser("manage.py", name)
        assert told == set(parser._option_string_actions) - GENERAL
