"""The example project behind gunicorn with four workers: what one of them is told, all of them know in time."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from django_jwtauth.jose.encoding import decode_id
from tests.support.answers import assert_no_token_in
from tests.support.browser import Browser
from tests.support.servers import (
    Answer,
    Connection,
    Server,
    manage,
    mariadb_database,
    postgres_database,
    serve,
    sqlite_database,
)

pytestmark = pytest.mark.processes

WORKERS = 4
DENYLIST_INTERVAL = 5.0
PASSWORD = "correct horse battery staple"
NEW_PASSWORD = "incorrect donkey battery staple"

SET_UP = f"""
import json
from django.contrib.auth.hashers import PBKDF2PasswordHasher, make_password
from django.contrib.auth.models import User
from django_jwtauth import sessions

encoded = make_password({PASSWORD!r})
outdated = PBKDF2PasswordHasher().encode({PASSWORD!r}, "salt", iterations=1000)
for name in ("ada", "bob", "carl", "root"):
    User.objects.create(username=name, password=encoded, is_staff=name == "root", is_superuser=name == "root")
dora = User.objects.create(username="dora", password=outdated)
pair = sessions.start(dora)
keys = dict(User.objects.values_list("username", "pk"))
print(json.dumps([keys, {{"access_token": pair.access_token, "refresh_token": pair.refresh_token}}]))
"""
HASH_OF_DORA = "from django.contrib.auth.models import User; print(User.objects.get(username='dora').password)"

Pair = dict[str, Any]


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    databases = {
        "sqlite": lambda: nullcontext(sqlite_database(tmp_path)),
        "postgres": postgres_database,
        "mariadb": mariadb_database,
    }
    with databases[request.param]() as url:
        manage(url, "migrate", "--verbosity", "0")
        yield url


@pytest.fixture(params=["0", "1"], ids=["autocommit", "atomic_requests"])
def server(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[Server]:
    with serve(database_url, tmp_path, WORKERS, ATOMIC_REQUESTS=request.param) as server:
        yield server


# --- A client of the API


def log_in(worker: Connection, username: str, password: str = PASSWORD) -> Pair:
    answer = worker.request("POST", "/auth/token/", {"username": username, "password": password})
    assert answer.status == HTTPStatus.OK, answer.body
    pair: Pair = answer.json
    assert pair["token_type"] == "Bearer"
    return pair


def refresh(worker: Connection, pair: Pair) -> Answer:
    return worker.request("POST", "/auth/token/refresh/", {"refresh_token": pair["refresh_token"]})


def ping(worker: Connection, pair: Pair) -> Answer:
    return worker.request("GET", "/api/ping/", headers={"Authorization": f"Bearer {pair['access_token']}"})


def is_revoked(answer: Answer) -> bool:
    if answer.status == HTTPStatus.OK:
        return False
    assert answer.status == HTTPStatus.UNAUTHORIZED, answer.body
    assert answer.json["code"] == "token_revoked"
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    return True


def session_key(pair: Pair) -> str:
    """Return the primary key of a pair's session, as the admin writes it."""
    claims = pair["access_token"].split(".")[1]
    sid = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sid"]
    return str(decode_id(sid))


# --- The admin


def revoke_in_admin(browser: Browser, pair: Pair) -> None:
    changelist = "/admin/jwtauth/session/"
    page, key = browser.get(changelist), session_key(pair)
    assert f'value="{key}"' in page
    question = browser.post(changelist, page, action="revoke_selected", _selected_action=key)
    assert question.status == HTTPStatus.OK
    answer = browser.post(changelist, question.body.decode())
    assert answer.status == HTTPStatus.FOUND, answer.body
    assert "1 session was revoked" in browser.get(changelist)


def change_password_in_admin(browser: Browser, user: int) -> None:
    form = f"/admin/auth/user/{user}/password/"
    fields = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
    answer = browser.post(form, browser.get(form), **fields)
    assert answer.status == HTTPStatus.FOUND, answer.body


def delete_in_admin(browser: Browser, user: int) -> None:
    form = f"/admin/auth/user/{user}/delete/"
    answer = browser.post(form, browser.get(form))
    assert answer.status == HTTPStatus.FOUND, answer.body


# --- The test


def test_whatever_ends_a_session_ends_it_in_every_worker(server: Server, database_url: str) -> None:
    keys, kept = json.loads(manage(database_url, "shell", "--verbosity", "0", "-c", SET_UP))
    with server.connection_to_each_worker(WORKERS) as connections:
        workers = list(connections.values())
        check_life(server, workers, keys, kept)
        assert [ping(worker, kept).worker for worker in workers] == list(connections)
    hash_of_dora = manage(database_url, "shell", "--verbosity", "0", "-c", HASH_OF_DORA)
    assert "$1000$" not in hash_of_dora
    assert "Traceback" not in server.log
    assert_no_token_in(server.log)


def check_life(server: Server, workers: list[Connection], keys: dict[str, int], kept: Pair) -> None:
    first = log_in(workers[0], "ada")
    assert ping(workers[1], first).json == {"user_id": keys["ada"]}
    second = refresh(workers[1], first).json
    stolen = refresh(workers[2], second).json
    other = log_in(workers[0], "ada")
    bobs, carls = log_in(workers[1], "bob"), log_in(workers[2], "carl")
    logged_out = log_in(workers[3], "ada")
    ending = [stolen, second, other, bobs, carls, logged_out]

    # All workers but one have loaded the denylist, and accept what is going to end.
    *loaded, last = workers
    for worker in loaded:
        for pair in (*ending, kept):
            assert ping(worker, pair).status == HTTPStatus.OK
    browser = Browser(workers[0])
    browser.log_in("root", PASSWORD)

    # A used refresh token comes back: the answer says so, its worker acts at once.
    answer = refresh(workers[2], first)
    assert (answer.status, answer.json["code"]) == (HTTPStatus.UNAUTHORIZED, "token_reused")
    assert is_revoked(ping(workers[2], stolen))
    again = log_in(last, "ada")
    revoke_in_admin(browser, other)
    assert is_revoked(ping(workers[0], other))
    change_password_in_admin(browser, keys["bob"])
    delete_in_admin(browser, keys["carl"])
    # The last worker loads just before a revocation: it is what may take longest.
    assert ping(last, logged_out).status == HTTPStatus.OK
    assert workers[1].request("POST", "/auth/token/revoke/", {"token": logged_out["refresh_token"]}).status == 200
    everywhere = time.monotonic() + DENYLIST_INTERVAL

    # Refresh is refused at once, by all.
    for worker in workers:
        assert [refresh(worker, pair).json["code"] for pair in ending] == [
            *("token_revoked", "token_revoked", "token_revoked", "token_revoked"),
            *("token_invalid", "token_revoked"),  # the row of carl's session is gone
        ]
    assert log_in(workers[2], "bob", NEW_PASSWORD)
    upgraded = log_in(workers[1], "dora")

    # Two workers go on serving, two are idle until they must know.
    busy = [(worker, pair) for worker in workers[:2] for pair in ending]
    seen = [False] * len(busy)
    while time.monotonic() < everywhere:
        now = [is_revoked(ping(worker, pair)) for worker, pair in busy]
        assert all(after >= before for before, after in zip(seen, now, strict=True)), "accepted again"
        seen = now
        time.sleep(0.2)
    for worker in workers:
        assert all(is_revoked(ping(worker, pair)) for pair in ending)
        # What went on beside it goes on.
        for pair in (again, kept, upgraded):
            assert ping(worker, pair).status == HTTPStatus.OK
    for pair in (again, kept, upgraded):
        assert refresh(workers[0], pair).status == HTTPStatus.OK
