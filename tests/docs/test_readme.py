"""README.md and the pages of one snippet do what they say: commands and snippets are run."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from configparser import ConfigParser
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands
from django.db.models import F
from django.test import Client, RequestFactory
from django.urls import resolve

from django_jwtauth.models import Session
from tests.docs.readme import DOCS, README, block, blocks, pattern, steps

TEXT = README.read_text()
PYTHON = [block.text for block in blocks(README) if block.language == "python"]
KINDS = ("Programming Language :: Python", "Framework :: Django")


class TestNames:
    def test_every_command_exists(self) -> None:
        commands = set(re.findall(r"manage\.py (\w+)|`(jwtauth_\w+)`", TEXT))
        written = {name for pair in commands for name in pair if name}
        assert {"demo", "migrate", "jwtauth_prune"} <= written <= get_commands().keys()

    @pytest.mark.parametrize("page", [README, DOCS / "tutorial" / "curl.md"], ids=["readme", "curl"])
    def test_every_path_that_curl_asks_exists(self, page: Path) -> None:
        shell = "".join(block.text for block in blocks(page) if block.language == "console")
        paths = set(re.findall(r"http://127\.0\.0\.1:8000(/\S+)", shell))
        assert {resolve(path).view_name for path in paths} >= {"ping", "jwtauth:token_obtain"}

    def test_the_blocks_that_are_run_elsewhere_are_there(self) -> None:
        assert "pytest" in block("test-command")
        assert "demo" in block("run-command")

    def test_the_badges_name_the_versions_that_are_tested(self) -> None:
        parser = ConfigParser()
        parser.read(README.parent / "setup.cfg")
        classifiers = parser["metadata"]["classifiers"]
        python, django = (re.findall(rf"^{name} :: (\d\.\d+)$", classifiers, re.MULTILINE) for name in KINDS)
        assert f"![Python {python[0]} to {python[-1]}]" in TEXT
        assert f"![Django {', '.join(django)}]" in TEXT


class TestSnippets:
    def test_the_view_ends_all_sessions_of_its_user(self, user: Any, pair: Any) -> None:
        names: dict[str, Any] = {"__name__": "snippet"}
        (snippet,) = [text for text in PYTHON if "def log_out_everywhere" in text]
        exec(compile(snippet, "<snippet of README.md>", "exec"), names)  # noqa: S102
        header = {"Authorization": f"Bearer {pair.access_token}"}
        answer = names["log_out_everywhere"](RequestFactory().post("/", headers=header))
        assert answer.data == {"ended": 1}
        assert user.jwtauth_sessions.get().revoke_reason == "logout"


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
    """The commands of ``console`` blocks, in their order, with the answers printed below them."""

    @pytest.mark.parametrize(
        ("page", "reasons"), [(README, {""}), (DOCS / "tutorial" / "curl.md", {"reuse", "logout"})], ids=lambda at: ""
    )
    def test_every_command_answers_as_printed(self, page: Path, reasons: set[str], django_user_model: Any) -> None:
        user = django_user_model.objects.create_user("demo", password="demo-password", pk=2)
        shell = Shell("demo-password")
        consoles = [block.text for block in blocks(page) if block.language == "console"]
        for command, printed in [step for console in consoles for step in steps(console)]:
            assert re.fullmatch(pattern(printed), shell.run(command), re.DOTALL), command
        assert {session.revoke_reason for session in user.jwtauth_sessions.all()} == reasons


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
