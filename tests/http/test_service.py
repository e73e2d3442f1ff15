"""Two servers: the example that issues tokens, and a service without a database that verifies them by its JWK Set."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from django_jwtauth.jose.keys import generate_private_key
from tests.support import keys
from tests.support.answers import assert_no_token_in
from tests.support.publisher import named
from tests.support.servers import HOST, Answer, Connection, Server, manage, serve, sqlite_database

pytestmark = pytest.mark.processes

ISSUER = "https://notes.example.com"
PASSWORD = "correct horse battery staple"
USER = f"from django.contrib.auth.models import User; User.objects.create_user('ada', password={PASSWORD!r})"
JWKS = "/.well-known/jwks.json"
REFETCH_AGE, COOL_DOWN = 3.0, 1.0
FLOOD = 5000
CLIENTS = 4

Start = Callable[..., AbstractContextManager[Server]]


@pytest.fixture
def start_issuer(tmp_path: Path) -> Start:
    """Return a function that starts the first server, with a key of its own."""
    url = sqlite_database(tmp_path)
    manage(url, "migrate", "--verbosity", "0")
    manage(url, "shell", "--verbosity", "0", "-c", USER)

    def start(port: int = 0, **variables: str) -> AbstractContextManager[Server]:
        variables = {"JWT_PRIVATE_KEY": generate_private_key("ES256"), "JWT_ISSUER": ISSUER, **variables}
        return serve(url, tmp_path, 2, access_log=True, port=port, **variables)

    return start


@pytest.fixture
def start_service(tmp_path: Path) -> Start:
    """Return a function that starts the service, with one worker."""

    @contextmanager
    def start(issuer: Server, **variables: str) -> Iterator[Server]:
        folder = tmp_path / "service"
        folder.mkdir()
        variables |= {
            "DJANGO_SETTINGS_MODULE": "config.service_settings",
            "JWT_ISSUER": ISSUER,
            "JWT_JWKS_URL": f"http://{HOST}:{issuer.port}{JWKS}",
        }
        # Whatever the address of a database is, it is not read.
        with serve("postgres://nobody@192.0.2.1/none", folder, 1, **variables) as service:
            yield service
        assert "Traceback" not in service.log
        assert_no_token_in(service.log)

    return start


@contextmanager
def connected(server: Server) -> Iterator[Connection]:
    connection = Connection(server.port)
    try:
        yield connection
    finally:
        connection.close()


def log_in(issuer: Server) -> dict[str, Any]:
    with connected(issuer) as connection:
        answer = connection.request("POST", "/auth/token/", {"username": "ada", "password": PASSWORD})
    assert answer.status == HTTPStatus.OK, answer.body
    pair: dict[str, Any] = answer.json
    return pair


def call(connection: Connection, token: str, path: str = "/api/whoami/") -> Answer:
    return connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})


def call_until_told(connection: Connection, token: str) -> Answer:
    """Call again while it cannot be told whether the issuer has the key, because its keys are being fetched."""
    while (answer := call(connection, token)).status == HTTPStatus.SERVICE_UNAVAILABLE:
        time.sleep(0.05)
    return answer


def fetches(issuer: Server) -> int:
    """How often somebody asked for the JWK Set."""
    return issuer.log.count(f'"GET {JWKS} ')


def test_the_service_knows_the_users_of_the_first_by_their_tokens(start_issuer: Start, start_service: Start) -> None:
    with start_issuer(JWT_SCOPE="sessions reports") as issuer, start_service(issuer) as service:
        pair = log_in(issuer)
        with connected(service) as connection, connected(issuer) as first:
            assert call(connection, pair["access_token"]).json == {"iss": ISSUER, "sub": "1"}
            assert call(connection, pair["access_token"], "/api/report/").status == HTTPStatus.OK
            for refused in (pair["refresh_token"], pair["access_token"][:-4] + "AAAA", "x"):
                answer = call(connection, refused)
                assert (answer.status, answer.json["code"]) == (HTTPStatus.UNAUTHORIZED, "token_invalid")
            assert connection.request("GET", "/api/whoami/").status == HTTPStatus.UNAUTHORIZED
            # What revoking means where there is no denylist.
            first.request("POST", "/auth/token/revoke/", {"token": pair["refresh_token"]})
            assert call(first, pair["access_token"], "/api/ping/").json["code"] == "token_revoked"
            assert call(connection, pair["access_token"]).status == HTTPStatus.OK


def test_a_token_without_the_scope_gets_no_report(start_issuer: Start, start_service: Start) -> None:
    with start_issuer() as issuer, start_service(issuer) as service, connected(service) as connection:
        answer = call(connection, log_in(issuer)["access_token"], "/api/report/")
        assert answer.status == HTTPStatus.FORBIDDEN
        assert 'error="insufficient_scope", scope="reports"' in answer.headers["WWW-Authenticate"]


def test_a_flood_of_unknown_key_ids_costs_two_fetches_while_others_are_served(
    start_issuer: Start, start_service: Start
) -> None:
    # Longer than by default, for machines on which the flood takes long.
    with start_issuer() as issuer, start_service(issuer, FETCHED_RING_COOL_DOWN="120") as service:
        before = fetches(issuer)
        good = log_in(issuer)["access_token"]
        with connected(service) as connection:
            assert call(connection, good).status == HTTPStatus.OK
        flooded: Counter[int] = Counter()
        served: Counter[int] = Counter()
        taken: list[float] = []
        over = threading.Event()

        def flood(client: int) -> None:
            with connected(service) as connection:
                for number in range(client, FLOOD, CLIENTS):
                    flooded[call(connection, made_up(number)).status] += 1

        def go_on() -> None:
            with connected(service) as connection:
                while not over.is_set():
                    begun = time.perf_counter()
                    served[call(connection, good).status] += 1
                    taken.append(time.perf_counter() - begun)

        valid = threading.Thread(target=go_on)
        threads = [threading.Thread(target=flood, args=[client]) for client in range(CLIENTS)]
        for thread in (valid, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        over.set()
        valid.join()
        assert flooded.total() == FLOOD
        assert set(flooded) <= {HTTPStatus.UNAUTHORIZED, HTTPStatus.SERVICE_UNAVAILABLE}
        assert set(served) == {HTTPStatus.OK}
        assert 1 <= fetches(issuer) - before <= 2
        taken.sort()
        print(
            f"Others meanwhile: {len(taken)} requests, median {taken[len(taken) // 2]:.4f} s, longest {taken[-1]:.4f} s"
        )


def made_up(number: int) -> str:
    key = named("ES256", f"made up {number}")
    members = keys.claims(iss=ISSUER, aud=ISSUER, iat=1, exp=keys.NOW * 2)
    return f"{keys.segment(keys.header(key))}.{keys.segment(members)}.{'A' * 86}"


def test_the_service_outlives_the_issuer_and_drops_a_key_that_is_gone(
    start_issuer: Start, start_service: Start
) -> None:
    ages = {"FETCHED_RING_REFETCH_AGE": str(REFETCH_AGE), "FETCHED_RING_COOL_DOWN": str(COOL_DOWN)}
    with start_issuer() as issuer, start_service(issuer, **ages) as service, connected(service) as connection:
        old = log_in(issuer)["access_token"]
        assert call(connection, old).status == HTTPStatus.OK
        issuer.stop()
        last = time.monotonic() + 3 * REFETCH_AGE
        while time.monotonic() < last:
            assert call(connection, old).status == HTTPStatus.OK
            time.sleep(0.05)
        # It comes back without the old key.
        with start_issuer(port=issuer.port) as again:
            refused_from = time.monotonic() + REFETCH_AGE
            while time.monotonic() < refused_from:
                call(connection, old)
                time.sleep(0.05)
            answer = call_until_told(connection, old)
            assert (answer.status, answer.json["code"]) == (HTTPStatus.UNAUTHORIZED, "token_invalid")
            new = log_in(again)["access_token"]
            assert call(connection, new).status == HTTPStatus.OK
            assert call_until_told(connection, old).status == HTTPStatus.UNAUTHORIZED


def test_a_service_that_starts_before_its_issuer_says_so_and_recovers(
    start_issuer: Start, start_service: Start
) -> None:
    with start_issuer() as issuer:
        token = log_in(issuer)["access_token"]
    with start_service(issuer) as service, connected(service) as connection:
        answer = call(connection, token)
        assert (answer.status, answer.json["code"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "issuer_unavailable")
        assert answer.headers["Retry-After"] == "5"
        with start_issuer(port=issuer.port) as again:
            token = log_in(again)["access_token"]
            deadline = time.monotonic() + 30
            while (status := call(connection, token).status) == HTTPStatus.SERVICE_UNAVAILABLE:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            assert status == HTTPStatus.OK
