"""README.md says what the code does: its tables are compared with the code, its commands and snippets are run."""

from __future__ import annotations

import argparse
import inspect
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands, load_command_class
from django.db.models import F
from django.dispatch import Signal
from django.test import Client, RequestFactory
from django.urls import resolve

from django_jwtauth import errors, sessions, signals, throttling, urls
from django_jwtauth.authentication import to_api_exception
from django_jwtauth.conf import Config
from django_jwtauth.jose.keys import generate_private_key
from django_jwtauth.models import Session
from notes.views import PingView
from tests.docs.readme import README, block, blocks, pattern, project, steps
from tests.support.answers import AUTHORIZATIONS

TEXT = README.read_text()
PYTHON, SHELL, FLOW = (
    [block.text for block in blocks(README) if block.language in languages]
    for languages in ({"python"}, {"sh", "console"}, {"console"})
)
PASSWORD = "correct horse"


def table(*columns: str) -> list[list[str]]:
    """Return the rows of the one table with these first columns, their cells without code marks."""
    (body,) = re.findall(
        rf"^\| {' [|] '.join(map(re.escape, columns))} \|.*\n\| -.*\n((?:\|.*\n)+)", TEXT, re.MULTILINE
    )
    return [[cell.strip() for cell in row.strip("|").replace("`", "").split("|")] for row in body.splitlines()]


class TestTables:
    def test_the_settings_are_those_of_the_code_with_their_defaults(self):
        rows = table("setting", "default", "meaning")
        written = {name: eval(default, {"timedelta": timedelta}) for name, default, *_ in rows}  # noqa: S307
        assert written == {field.name.upper(): getattr(Config(), field.name) for field in fields(Config)}
        assert len(rows) == len(written)
        assert all(row[2] for row in rows)

    def test_the_endpoints_are_the_url_patterns(self):
        written = {(request, name) for request, name, *_ in table("request", "URL name")}
        existing = set()
        for route in urls.urlpatterns:
            view = route.callback.view_class
            methods = [method for method in view.http_method_names if hasattr(view, method) and method != "options"]
            path = "/auth/" + re.sub(r"<\w+:", "<", str(route.pattern))
            existing |= {(f"{method.upper()} {path}", f"{urls.app_name}:{route.name}") for method in methods}
        assert written == existing

    def test_the_error_codes_are_those_of_the_code_with_their_statuses(self):
        written = {(code, int(status)) for status, code, *_ in table("status", "code")}
        kinds = [
            kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.JWTAuthError)
        ]
        told = [kind for kind in kinds if kind.code != errors.JWTAuthError.code]
        assert written == {(kind.code, to_api_exception(kind()).status_code) for kind in told}

    def test_the_throttles_are_those_of_the_code_with_their_rates(self):
        written = {(scope, rate) for scope, rate, *_ in table("scope", "rate")}
        kinds = [kind for kind in vars(throttling).values() if getattr(kind, "scope", None)]
        assert written == {(kind.scope, kind.default_rate) for kind in kinds}

    def test_the_signals_are_those_of_the_code(self):
        written = [row[0] for row in table("signal in `django_jwtauth.signals`")]
        assert written == [name for name, value in vars(signals).items() if isinstance(value, Signal)]


class TestNames:
    def test_every_command_exists(self):
        commands = {name for shell in SHELL for name in re.findall(r"manage\.py (\w+)", shell)}
        commands |= set(re.findall(r"manage\.py (\w+)", TEXT)) | {row[0] for row in table("command")}
        assert {"demo", "migrate", "jwtauth_prune", "jwtauth_generate_key"} <= commands <= get_commands().keys()

    def test_the_commands_take_the_options_that_the_table_names(self):
        for name, does in table("command", "what it does"):
            parser = load_command_class("django_jwtauth", name).create_parser("manage.py", name)
            options = {option for action in parser._actions for option in action.option_strings}
            assert set(re.findall(r"--[a-z-]+", does)) <= options

    def test_every_dotted_name_exists(self):
        names = set(re.findall(r"\bdjango_jwtauth(?:\.\w+)+", TEXT))
        assert "django_jwtauth.authentication.JWTAuthentication" in names
        for name in names:
            package, *rest = name.split(".")
            found = import_module(package)
            for part in rest:
                found = getattr(found, part, None) or import_module(f"{found.__name__}.{part}")

    def test_every_path_that_curl_asks_exists(self):
        paths = set(re.findall(r"http://127\.0\.0\.1:8000(/\S+)", "".join(SHELL)))
        assert {resolve(path).view_name for path in paths} == {
            "ping",
            "jwtauth:token_obtain",
            "jwtauth:token_refresh",
            "jwtauth:token_revoke",
            "jwtauth:session_list",
        }

    def test_the_blocks_that_are_run_elsewhere_are_there(self):
        assert "pytest" in block("test-command")
        assert "demo" in block("run-command")


@pytest.fixture
def names(user: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Give what a snippet may take for granted, and forget the receivers that it connects."""
    monkeypatch.setenv("JWT_PRIVATE_KEY", generate_private_key("ES256"))
    connected = [signal for signal in vars(signals).values() if isinstance(signal, Signal)]
    for signal in connected:
        monkeypatch.setattr(signal, "receivers", list(signal.receivers))
    yield {
        "__name__": "snippet",
        **project(),
        "urlpatterns": [],
        "user": user,
        "request": RequestFactory().get("/"),
    }
    for signal in connected:
        signal.sender_receivers_cache.clear()


def run(snippet: str, names: dict[str, Any]) -> None:
    exec(compile(snippet, "<snippet of README.md>", "exec"), names)  # noqa: S102


class TestSnippets:
    def test_the_python_functions_do_what_they_say(self, user, names):
        run(snippet_with("sessions.revoke_all(user"), names)
        assert names["claims"].sub == str(user.pk)
        ended = user.jwtauth_sessions.get()
        assert (ended.generation, ended.revoke_reason) == (1, "logout")

    def test_a_plain_view_answers_with_the_user_or_a_code(self, pair, names):
        run(snippet_with("def hello"), names)
        hello = names["hello"]
        request = RequestFactory().get("/", headers={"Authorization": f"Bearer {pair.access_token}"})
        assert hello(request).content == b'{"hello": "alice"}'
        refused = hello(RequestFactory().get("/"))
        assert (refused.status_code, b"token_invalid" in refused.content) == (HTTPStatus.UNAUTHORIZED, True)

    @pytest.mark.parametrize("header", AUTHORIZATIONS)
    def test_a_plain_view_takes_the_schemes_that_the_app_takes(self, header, pair, names):
        run(snippet_with("def hello"), names)
        request = RequestFactory().get("/", headers={"Authorization": header.format(pair.access_token)})
        assert names["hello"](request).status_code == PingView.as_view()(request).status_code

    def test_claims_and_scopes_reach_the_view(self, user, names, jwtauth, client):
        run(snippet_with("def claims"), names)
        run(snippet_with("class ReportView"), names)
        jwtauth(CLAIMS=names["claims"])
        view = names["ReportView"].as_view()

        def get_report() -> Any:
            login = client.post("/auth/token/", {"username": "alice", "password": PASSWORD}).json()
            return view(RequestFactory().get("/", headers={"Authorization": f"Bearer {login['access_token']}"}))

        assert get_report().status_code == HTTPStatus.FORBIDDEN
        user.is_staff = True
        user.save()
        assert get_report().data == {"plan": "basic"}

    def test_a_replay_sends_mail(self, user, names, mailoutbox):
        user.email = "alice@example.com"
        user.save()
        run(snippet_with("@receiver"), names)
        signals.refresh_token_reused.send(sender=Session, session=sessions.start(user).session, request=None)
        assert [mail.to for mail in mailoutbox] == [["alice@example.com"]]

    def test_a_view_of_ones_own_adds_to_the_answer(self, user, names):
        run(snippet_with("class LoginView"), names)
        request = RequestFactory().post("/", {"username": "alice", "password": PASSWORD})
        assert names["LoginView"].as_view()(request).data["user_id"] == user.pk


def snippet_with(text: str) -> str:
    (snippet,) = [snippet for snippet in PYTHON if text in snippet]
    return snippet


@pytest.mark.processes
class TestQuickstart:
    """The settings of the README, added to those of a project in a process of its own."""

    PROJECT = """
SECRET_KEY = "a key of a project that is there already, and of fifty characters"
ROOT_URLCONF = "project"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
REST_FRAMEWORK = {
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "UNAUTHENTICATED_USER": None,
}
"""
    ASK = """
import django
django.setup()
from django.core.management import call_command
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView
call_command("check", fail_level="WARNING")
view = type("View", (APIView,), {"get": lambda view, request: Response("open")}).as_view()
answer = view(APIRequestFactory().get("/"))
print(answer.status_code, answer.headers["WWW-Authenticate"])
"""

    def test_a_project_that_has_drf_keeps_its_permissions(self, tmp_path: Path) -> None:
        (tmp_path / "project.py").write_text(f"{self.PROJECT}\n{block('quickstart-settings')}\nurlpatterns = []\n")
        environment = {
            **os.environ,
            "PYTHONPATH": f"{tmp_path}{os.pathsep}{README.parent}",
            "DJANGO_SETTINGS_MODULE": "project",
        }
        run = subprocess.run(
            [sys.executable, "-c", self.ASK], env=environment, capture_output=True, text=True, timeout=60
        )
        assert run.stdout.splitlines()[-1:] == ['401 Bearer realm="api"'], run.stderr


class TestFlow:
    """The commands of the README's ``console`` blocks, in their order, with the answers printed below them."""

    def test_every_command_answers_as_printed(self, django_user_model):
        user = django_user_model.objects.create_user("demo", password="demo-password", pk=2)
        shell = Shell("demo-password")
        for command, printed in [step for shell in FLOW for step in steps(shell)]:
            assert re.fullmatch(pattern(printed), shell.run(command), re.DOTALL), command
        assert {session.revoke_reason for session in user.jwtauth_sessions.all()} == {"reuse", "logout"}


class Shell:
    """As much of a shell with curl as the README uses."""

    def __init__(self, password: str) -> None:
        self.client = Client(headers={"User-Agent": "curl/8.5.0", "Accept": "*/*"})
        self.variables = {"PASSWORD": password}
        self.answer: dict[str, Any] = {}
        self.parser = argparse.ArgumentParser()
        self.parser.add_argument("-s", action="store_true")
        self.parser.add_argument("-i", action="store_true")
        self.parser.add_argument("-d", action="append")
        self.parser.add_argument("-H", default="Accept: */*")
        self.parser.add_argument("url")

    def run(self, command: str) -> str:
        words = [re.sub(r"\$(\w+)", lambda name: self.variables[name[1]], word) for word in shlex.split(command)]
        if words[0] == "curl":
            return self.curl(self.parser.parse_args(words[1:]))
        if words[0] == "sleep":
            Session.objects.update(refreshed_at=F("refreshed_at") - timedelta(seconds=int(words[1])))
        else:
            self.variables |= dict(self.assignment(word) for word in words)
        return ""

    def assignment(self, word: str) -> tuple[str, str]:
        """Return name and value; a value that ends in an ellipsis is copied from the last answer."""
        name, _, value = word.partition("=")
        if not value.endswith("…"):
            return name, value
        (full,) = [text for text in self.answer.values() if str(text).startswith(value[:-1])]
        return name, full

    def curl(self, options: argparse.Namespace) -> str:
        path = options.url.removeprefix("http://127.0.0.1:8000")
        headers = dict([options.H.split(": ")])
        if options.d:
            form = "application/x-www-form-urlencoded"
            response = self.client.post(path, "&".join(options.d), content_type=form, headers=headers)
        else:
            response = self.client.get(path, headers=headers)
        text: str = response.content.decode()
        if "access_token" in text:
            self.answer = response.json()
        if not options.i:
            return text
        lines = [f"{name}: {value}" for name, value in response.headers.items()]
        return "\n".join([f"HTTP/1.1 {response.status_code} {response.reason_phrase}", *lines, "", text])
