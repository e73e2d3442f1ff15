# ruff: noqa: S101
from __future__ import annotations

import re
from http import HTTPStatus
from io import StringIO
from typing import Any
from unittest import mock

from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client, SimpleTestCase, TestCase, TransactionTestCase, override_settings
from django.urls import reverse

from config import env
from django_jwtauth.test import JWTClient

from .models import Note
from .views import NoteViewSet


class RequestTests(TestCase):
    client_class = JWTClient

    def setUp(self) -> None:
        self.user = User.objects.create_user("ada")
        self.client.force_login(self.user)

    def test_ping_makes_no_query(self) -> None:
        with self.assertNumQueries(0):
            response = self.client.get("/api/ping/")
        assert response.json() == {"user_id": self.user.pk}

    def test_me_makes_one_query(self) -> None:
        with self.assertNumQueries(1):
            response = self.client.get("/api/me/")
        assert response.json() == {"id": self.user.pk, "username": "ada"}

    def test_without_a_token_is_unauthorized(self) -> None:
        for path in ("/api/ping/", "/api/me/", "/api/notes/", "/api/notes/1/"):
            with self.subTest(path):
                response = JWTClient().get(path)
                assert response.status_code == HTTPStatus.UNAUTHORIZED
                assert response.headers["WWW-Authenticate"].startswith("Bearer")

    def test_a_note_is_written_read_changed_and_deleted(self) -> None:
        with self.assertNumQueries(1):
            response = self.client.post("/api/notes/", {"title": "Hello"})
        assert response.status_code == HTTPStatus.CREATED
        note = Note.objects.get()
        assert note.owner == self.user

        path = f"/api/notes/{note.pk}/"
        assert self.client.patch(path, {"text": "World"}).json()["text"] == "World"
        assert self.client.get(path).json()["title"] == "Hello"
        assert self.client.delete(path).status_code == HTTPStatus.NO_CONTENT
        assert self.client.get("/api/notes/").json() == []

    def test_the_notes_of_others_are_out_of_sight(self) -> None:
        note = Note.objects.create(owner=User.objects.create_user("bob"), title="Secret")
        assert self.client.get("/api/notes/").json() == []
        for method in (self.client.get, self.client.put, self.client.delete):
            response = method(f"/api/notes/{note.pk}/", {"title": "Mine"})
            assert response.status_code == HTTPStatus.NOT_FOUND

    def test_the_owner_cannot_be_chosen(self) -> None:
        other = User.objects.create_user("bob")
        self.client.post("/api/notes/", {"title": "Hello", "owner": other.pk, "owner_id": other.pk})
        assert Note.objects.get().owner == self.user

    def test_the_pages_of_the_documentation(self) -> None:
        for path in ("/api/docs/", "/api/schema/"):
            with self.subTest(path):
                assert self.client.get(path).status_code == HTTPStatus.OK

    def test_the_demo_page_runs_no_script_but_its_own(self) -> None:
        response = self.client.get("/")
        self.assertContains(response, 'href="/api/docs/"')
        self.assertContains(response, 'href="/admin/"')
        policy = response.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy)
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        for inline in (r"<script(?![^>]* src=)", r"<style", r"\sstyle=", r"\son\w+="):
            assert not re.search(inline, response.content.decode())

    def test_swagger_ui_needs_no_other_host(self) -> None:
        page = self.client.get("/api/docs/").content.decode()
        script = self.client.get("/api/docs/", {"script": ""}).content.decode()
        assert "SwaggerUIBundle" in script
        assert "://" not in page + script
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
        files = [path.removeprefix("/static/") for path in loaded if path.startswith("/static/")]
        assert len(files) == len(loaded) - 1  # the script above
        assert all(map(finders.find, files))


@override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"])  # fast
class BrowsableAPITests(TestCase):
    def setUp(self) -> None:
        User.objects.create_user("ada", password="lovelace")  # noqa: S106
        self.browser = Client(enforce_csrf_checks=True, headers={"Accept": "text/html"})

    def test_a_page_without_a_login_leads_to_one_and_then_takes_notes(self) -> None:
        page = self.browser.get("/api/notes/")
        assert page.status_code == HTTPStatus.UNAUTHORIZED
        assert page.headers["WWW-Authenticate"].startswith("Bearer")
        login = reverse("rest_framework:login") + "?next=/api/notes/"
        self.assertContains(page, login, status_code=HTTPStatus.UNAUTHORIZED)

        credentials = {"username": "ada", "password": "lovelace"}
        self.assertRedirects(self.send(login, self.browser.get(login), credentials), "/api/notes/")
        page = self.browser.get("/api/notes/")
        self.assertContains(page, "ada")
        self.assertContains(self.send("/api/notes/", page, {"title": "Hello"}), "Hello", status_code=HTTPStatus.CREATED)
        assert Note.objects.get().owner.get_username() == "ada"

    def test_a_cookie_alone_changes_nothing(self) -> None:
        self.browser.login(username="ada", password="lovelace")  # noqa: S106
        refused = self.browser.post("/api/notes/", {"title": "Hello"}, headers={"Accept": "application/json"})
        assert refused.status_code == HTTPStatus.FORBIDDEN
        assert set(refused.json()) == {"detail"}
        assert not Note.objects.exists()

    def send(self, path: str, page: Any, fields: dict[str, str]) -> Any:
        """Send a form of a page."""
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.content.decode())
        assert token
        return self.browser.post(path, {**fields, "csrfmiddlewaretoken": token[1]})


class DeletedOwnerTests(TransactionTestCase):
    client_class = JWTClient

    def test_a_user_deleted_a_moment_ago_is_unauthorized(self) -> None:
        user = User.objects.create_user("ada")
        self.client.force_login(user)
        # Without signals: this process has not heard of the deletion yet.
        user.jwtauth_sessions.all().delete()
        User.objects.all()._raw_delete("default")
        response = self.client.post("/api/notes/", {"title": "Hello"})
        assert response.status_code == HTTPStatus.UNAUTHORIZED
        assert "WWW-Authenticate" in response.headers
        assert not Note.objects.exists()

    def test_no_transaction_surrounds_the_view(self) -> None:
        # Under ATOMIC_REQUESTS it would put off the error of the test above until after the view.
        view = NoteViewSet.as_view({"post": "create"})
        assert view._non_atomic_requests == {"default"}  # type: ignore[attr-defined]


class DemoTests(TestCase):
    def demo(self, *args: str) -> str:
        output = StringIO()
        with mock.patch("notes.management.commands.demo.call_command"):
            call_command("demo", "--no-server", *args, stdout=output)
        return output.getvalue()

    def test_refuses_outside_debug_mode(self) -> None:
        with self.assertRaisesMessage(CommandError, "debug mode only"):
            self.demo()
        assert not User.objects.exists()

    @override_settings(DEBUG=True)
    def test_prints_new_passwords_at_every_run(self) -> None:
        for _ in range(2):
            printed = dict(re.findall(r"^User (\w+), password (\S+)", self.demo(), re.MULTILINE))
            assert set(printed) == {"admin", "demo"}
            for user in User.objects.all():
                assert user.check_password(printed[user.username])
                assert user.is_superuser == (user.username == "admin")

    @override_settings(DEBUG=True)
    def test_prints_an_address_that_can_be_typed(self) -> None:
        for addrport, base in {
            "127.0.0.1:8000": "http://127.0.0.1:8000",
            "9000": "http://127.0.0.1:9000",
            "0.0.0.0:9000": "http://127.0.0.1:9000",
            "[::1]:9000": "http://[::1]:9000",
        }.items():
            with self.subTest(addrport):
                assert f"{base}/admin/" in self.demo(addrport)


class DatabaseURLTests(SimpleTestCase):
    def test_sqlite(self) -> None:
        for url, name in {
            "sqlite:///notes.db": "notes.db",
            "sqlite:////var/my%20notes.db": "/var/my notes.db",
            "sqlite://:memory:": ":memory:",
            "sqlite://": ":memory:",
        }.items():
            with self.subTest(url):
                assert env.database(url)["NAME"] == name

    def test_the_query_string_becomes_options(self) -> None:
        options = env.database("sqlite:///notes.db?timeout=5&transaction_mode=DEFERRED")["OPTIONS"]
        assert options == env.SQLITE_OPTIONS | {"timeout": 5, "transaction_mode": "DEFERRED"}

        options = env.database("postgres:///notes?host=/tmp/Sockets&pool=true")["OPTIONS"]
        assert options == {"host": "/tmp/Sockets", "pool": True}  # noqa: S108

    def test_postgres(self) -> None:
        assert env.database("postgresql://ada:p%40ss%2Fword@[::1]:5433/notes?sslmode=require") == {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "notes",
            "USER": "ada",
            "PASSWORD": "p@ss/word",
            "HOST": "::1",
            "PORT": "5433",
            "OPTIONS": {"sslmode": "require"},
        }

    def test_mariadb_without_a_port(self) -> None:
        for scheme in ("mariadb", "mysql"):
            with self.subTest(scheme):
                database = env.database(f"{scheme}://root@db/notes")
                assert (database["ENGINE"], database["PORT"]) == ("django.db.backends.mysql", "")

    def test_no_message_shows_the_password(self) -> None:
        for url in (
            "oracle://ada:hush@db/notes",
            "postgres://ada:hu/sh@db/notes",
            "postgres://ada:hush@[db/n",
        ):
            with self.subTest(url), self.assertRaisesMessage(ImproperlyConfigured, "DATABASE_URL") as caught:
                env.database(url)
            assert "hu" not in str(caught.exception)


class VariableTests(SimpleTestCase):
    def test_flags(self) -> None:
        for value, expected in {"1": True, "True": True, "off": False, "0": False, "": True}.items():
            with self.subTest(value), mock.patch.dict("os.environ", {"X": value}):
                assert env.flag("X", default=True) is expected

    def test_nonsense_is_refused(self) -> None:
        with mock.patch.dict("os.environ", {"X": "maybe"}):
            for read in (env.flag, lambda name: env.number(name, default=0)):
                with self.assertRaisesMessage(ImproperlyConfigured, "X must be"):
                    read("X")
