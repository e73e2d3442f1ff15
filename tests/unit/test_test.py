"""What the tests of those who use the app rely on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import Client, TestCase, override_settings
from django.utils import timezone
from rest_framework.test import APIClient

from django_jwtauth import sessions
from django_jwtauth.denylist import allow
from django_jwtauth.denylist.snapshot import denylist
from django_jwtauth.errors import CredentialsError
from django_jwtauth.jose.encoding import decode_id
from django_jwtauth.models import DenylistEntry, Reason
from django_jwtauth.test import JWTClient, steady
from tests.docs.readme import block

pytest_plugins = ["django_jwtauth.pytest_plugin"]

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "howto" / "testing.md"


@pytest.fixture
def alice(user: Any, jwt_client: JWTClient) -> JWTClient:
    """Return a client that is authenticated as the user."""
    jwt_client.force_login(user)
    return jwt_client


@pytest.mark.urls("tests.support.views")
@pytest.mark.parametrize(("path", "queries"), [("/plain/", 0), ("/name/", 1), ("/active/", 1), ("/stateless/", 0)])
def test_a_request_costs_the_same_every_time(path, queries, alice, django_assert_num_queries):
    for _ in range(2):
        with django_assert_num_queries(queries):
            assert alice.get(path).status_code == HTTPStatus.OK
        denylist.clear()  # as if it had aged


def test_without_it_the_first_request_costs_more(user, bearer, django_assert_max_num_queries):
    client = bearer(sessions.start(user).access_token)
    with django_assert_max_num_queries(9) as counted:
        client.get("/api/ping/")
    assert len(counted) > 0


def test_a_wrapper_that_blocks_queries_sees_none(alice):
    def block(*arguments):
        raise AssertionError(arguments)

    with connection.execute_wrapper(block):
        assert alice.get("/api/ping/").status_code == HTTPStatus.OK
        with pytest.raises(AssertionError):
            alice.get("/api/me/")


def test_settings_may_be_changed_between_two_requests(alice, jwtauth, django_assert_num_queries):
    jwtauth(DENYLIST_INTERVAL=timedelta(0))
    with django_assert_num_queries(0):
        assert alice.get("/api/ping/").status_code == HTTPStatus.OK


class TestRevocation:
    @pytest.mark.parametrize("database", ["db", "transactional_db"])
    def test_counts_at_once_in_tests_that_commit_and_in_those_that_do_not(self, database, request):
        request.getfixturevalue(database)
        user, alice = request.getfixturevalue("user"), request.getfixturevalue("alice")
        assert alice.get("/api/ping/").status_code == HTTPStatus.OK
        sessions.revoke(user.jwtauth_sessions.get(), Reason.ADMIN)
        answer = alice.get("/api/ping/")
        assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.UNAUTHORIZED, "token_revoked")

    def test_by_a_request_counts_at_once(self, alice):
        assert alice.delete("/auth/sessions/").status_code == HTTPStatus.NO_CONTENT
        assert alice.get("/api/ping/").status_code == HTTPStatus.UNAUTHORIZED

    def test_that_is_rolled_back_never_was(self, user, alice):
        with transaction.atomic():
            sessions.revoke_all(user)
            assert alice.get("/api/ping/").status_code == HTTPStatus.UNAUTHORIZED
            transaction.set_rollback(True)
        assert alice.get("/api/ping/").status_code == HTTPStatus.OK

    def test_of_a_single_token_may_be_written_as_a_row_and_lifted(self, alice):
        claims = alice.get("/api/ping/").renderer_context["request"].auth
        DenylistEntry.objects.create(
            claim=DenylistEntry.Claim.JTI,
            value=decode_id(claims.jti),
            expires_at=timezone.now() + timedelta(minutes=1),
            reason=Reason.ADMIN,
        )
        assert alice.get("/api/ping/").status_code == HTTPStatus.UNAUTHORIZED
        allow(DenylistEntry.objects.all())
        assert alice.get("/api/ping/").status_code == HTTPStatus.OK

    def test_is_ignored_where_the_project_has_no_denylist(self, user, alice, jwtauth):
        jwtauth(DENYLIST_INTERVAL=None)
        sessions.revoke_all(user)
        assert alice.get("/api/ping/").status_code == HTTPStatus.OK


class TestClientOfOurs:
    def test_is_nobody_before_login_and_after_credentials_without_arguments(self, alice):
        assert JWTClient().get("/api/ping/").status_code == HTTPStatus.UNAUTHORIZED
        alice.credentials()
        assert alice.get("/api/ping/").status_code == HTTPStatus.UNAUTHORIZED

    def test_logs_in_as_another_user(self, alice, other_user):
        alice.force_login(other_user)
        assert alice.get("/api/ping/").json() == {"user_id": other_user.pk}

    def test_refuses_an_inactive_user(self, user, jwt_client):
        user.is_active = False
        user.save()
        with pytest.raises(CredentialsError):
            jwt_client.force_login(user)

    def test_is_not_throttled(self, user, jwt_client):
        for body in [{"username": "alice", "password": "wrong"}] * 21:
            assert jwt_client.post("/auth/token/", body).status_code == HTTPStatus.UNAUTHORIZED
        for _ in range(61):
            answer = jwt_client.post("/auth/token/refresh/", {"refresh_token": "jrt_forged"})
            assert answer.status_code == HTTPStatus.UNAUTHORIZED
        # Nor does what it did count against anybody else.
        body = {"username": "alice", "password": "wrong"}
        assert APIClient().post("/auth/token/", body).status_code == HTTPStatus.UNAUTHORIZED


class TestSteady:
    @pytest.mark.usefixtures("jwt_steady")
    def test_serves_any_client(self, user, django_assert_num_queries):
        client = Client(headers={"Authorization": f"Bearer {sessions.start(user).access_token}"})
        with django_assert_num_queries(0):
            assert client.get("/api/ping/").status_code == HTTPStatus.OK

    def test_ends(self, alice, bearer, user):
        with steady(), steady():
            assert "check" in vars(denylist)
        assert "check" not in vars(denylist)

    def test_ends_when_the_last_of_many_threads_leaves(self):
        inside, left = threading.Event(), threading.Event()

        def enter() -> None:
            with steady():
                inside.set()
                left.wait(10)

        thread = threading.Thread(target=enter)
        with steady():
            thread.start()
            assert inside.wait(10)
        assert "check" in vars(denylist)
        left.set()
        thread.join(10)
        assert "check" not in vars(denylist)


class TestCaseTests(TestCase):
    client_class = JWTClient

    @override_settings(JWTAUTH={"DENYLIST_INTERVAL": timedelta(0)})
    def test_logs_in_as_in_any_django_test(self):
        self.client.force_login(get_user_model().objects.create_user("ada"))
        with self.assertNumQueries(0):
            assert self.client.get("/api/ping/").status_code == HTTPStatus.OK


@pytest.mark.processes
@pytest.mark.usefixtures("jwt_steady")
def test_a_live_server_is_steady_as_well(live_server, user):
    headers = {"Authorization": f"Bearer {sessions.start(user).access_token}"}
    request = urllib.request.Request(f"{live_server.url}/api/ping/", headers=headers)
    for _ in range(2):
        assert urllib.request.urlopen(request).status == HTTPStatus.OK
    sessions.revoke_all(user)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request)


@pytest.mark.processes
def test_the_examples_of_the_documentation_pass(tmp_path):
    (tmp_path / "conftest.py").write_text(block("testing-conftest", PAGE))
    for name in ("django", "pytest", "steady"):
        (tmp_path / f"test_{name}.py").write_text(block(f"testing-{name}", PAGE))
    (tmp_path / "pytest.ini").write_text(
        f"[pytest]\npythonpath = {ROOT} {ROOT / 'example_project'}\nfilterwarnings = error\n"
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--ds=tests.settings"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "5 passed" in ran.stdout


@pytest.mark.processes
@pytest.mark.parametrize("option", [["-p", "django_jwtauth.pytest_plugin"], []])
def test_the_plugin_may_be_loaded_before_django_is_set_up(tmp_path, option):
    loads = "" if option else 'pytest_plugins = ["django_jwtauth.pytest_plugin"]\n'
    (tmp_path / "conftest.py").write_text(
        f"{loads}import os\n\ndef pytest_configure():\n"
        '    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"\n    import django\n    django.setup()\n'
    )
    (tmp_path / "test_it.py").write_text("def test_it(jwt_client, jwt_steady):\n    assert jwt_client.force_login\n")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'example_project'}"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:django", "-p", "no:cacheprovider", *option]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 passed" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.processes
def test_it_is_imported_without_pytest():
    code = "import sys, django; django.setup(); import django_jwtauth.test; assert 'pytest' not in sys.modules"
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": "example_project"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)
