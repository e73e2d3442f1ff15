"""Keys change on two servers, one after the other, while clients go on: no request fails and no session ends.

Each server is replaced as a rolling deployment does it: the new one starts on the same socket with the new settings,
then the old one stops. How long is waited between two deployments is what docs/howto/keys.md says.
``JWTAUTH_ROTATION_REQUESTS=20000 python -m pytest -s tests/databases/test_rotation.py`` is the full size, and
prints how many.
"""

from __future__ import annotations

import json
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jwt
import pytest

from tests.support.keys import ISSUER, entry
from tests.support.servers import HOST, SECRET_KEY, Answer, Connection, Server, manage, postgres_database, start

pytestmark = pytest.mark.processes

REQUESTS = int(os.environ.get("JWTAUTH_ROTATION_REQUESTS") or 500)
"""At least as many are sent while keys change."""
CLIENTS = 6
# Seconds. Clients refresh long before they must, so that a slow machine is no failure.
ACCESS, LEEWAY, REFRESH = 6, 2, 12
REFRESH_EVERY = 2.0
PASSWORD = "correct horse battery staple"
USER = f"from django.contrib.auth.models import User; User.objects.create_user('ada', password={PASSWORD!r})"
NEW_SECRET_KEY = "another fixed key of the servers under test, longer than fifty characters"
ES256, EDDSA = entry("ES256"), entry("EdDSA")
DERIVED = "SECRET_KEY"


class Step(NamedTuple):
    """The settings of one deployment, and what must have passed since the one before."""

    secret_keys: tuple[str, ...]
    keys: tuple[Any, ...]
    wait: int = 0
    signs: str = ""
    publishes: tuple[str, ...] = ()

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a server with these settings."""
        jwtauth = {
            "ISSUER": ISSUER,
            "SIGNING_KEYS": self.keys or None,
            "ACCESS_TOKEN_LIFETIME": ACCESS,
            "REFRESH_TOKEN_LIFETIME": REFRESH,
            "LEEWAY": LEEWAY,
        }
        current, *fallbacks = self.secret_keys
        return {
            "DJANGO_SETTINGS_MODULE": "tests.settings_servers",
            "SECRET_KEY": current,
            "FALLBACKS": json.dumps(fallbacks),
            "JWTAUTH": json.dumps(jwtauth),
            "CONN_MAX_AGE": "60",
        }


OLD, NEW = SECRET_KEY, NEW_SECRET_KEY
FIRST = Step((OLD,), (), signs="HS256")
STEPS = {
    "the new SECRET_KEY is announced": Step((OLD, NEW), (), signs="HS256"),
    "it is swapped": Step((NEW, OLD), (), signs="HS256"),
    "the old one is removed, and ES256 stands by": Step((NEW,), (DERIVED, ES256), REFRESH, "HS256", ("ES256",)),
    "ES256 signs": Step((NEW,), (ES256, DERIVED), 0, "ES256", ("ES256",)),
    "HS256 is removed, and EdDSA stands by": Step((NEW,), (ES256, EDDSA), ACCESS + LEEWAY, "ES256", ("ES256", "EdDSA")),
    "EdDSA signs": Step((NEW,), (EDDSA, ES256), 0, "EdDSA", ("EdDSA", "ES256")),
    "ES256 is removed": Step((NEW,), (EDDSA,), ACCESS + LEEWAY, "EdDSA", ("EdDSA",)),
}
LEAKED = Step((OLD,), (EDDSA,), signs="EdDSA", publishes=("EdDSA",))


# --- Servers


class Site:
    """Two servers on one database."""

    def __init__(self, database_url: str, folder: Path, sockets: list[socket.socket]) -> None:
        self._database_url = database_url
        self._folder = folder
        self._sockets = sockets
        self._servers: list[Server | None] = [None, None]
        self._started = 0
        self.ports = [listener.getsockname()[1] for listener in sockets]

    def deploy(self, step: Step) -> None:
        """Replace one server after the other."""
        for place, listener in enumerate(self._sockets):
            folder = self._folder / str(self._started)
            self._started += 1
            folder.mkdir()
            # Of these workers each takes a connection only when it can answer it, so that stopping one drops none.
            options = "--workers 1 --worker-class sync --graceful-timeout 30 --timeout 120"
            old, new = self._servers[place], start(listener, options, self._database_url, folder, **step.variables)
            self._servers[place] = new
            try:
                new.wait()
            finally:
                if old is not None:
                    old.stop()

    def stop(self) -> None:
        """End both servers."""
        for server in self._servers:
            if server is not None:
                server.stop()

    @property
    def log(self) -> str:
        """What all servers have written."""
        return "".join(path.read_text(errors="replace") for path in sorted(self._folder.glob("*/gunicorn.log")))

    def request(self, method: str, path: str, server: int | None = None, **content: Any) -> Answer:
        """Send a request on a connection of its own, to any server or to one."""
        connection = Connection(random.choice(self.ports) if server is None else self.ports[server])  # noqa: S311
        try:
            return connection.request(method, path, **content)
        finally:
            connection.close()

    def call(self, path: str, access_token: str, server: int | None = None) -> Answer:
        """Call the API."""
        return self.request("GET", path, server, headers={"Authorization": f"Bearer {access_token}"})

    def refresh(self, refresh_token: str, server: int | None = None) -> Answer:
        """Present a refresh token."""
        return self.request("POST", "/auth/token/refresh/", server, data={"refresh_token": refresh_token})

    def log_in(self) -> dict[str, Any]:
        """Return a token pair."""
        answer = self.request("POST", "/auth/token/", data={"username": "ada", "password": PASSWORD})
        assert answer.status == 200, answer.body
        pair: dict[str, Any] = answer.json
        return pair


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        url = stack.enter_context(postgres_database())
        manage(url, "migrate", "--verbosity", "0")
        manage(url, "shell", "--verbosity", "0", "-c", USER)
        sockets = [stack.enter_context(socket.create_server((HOST, 0), backlog=128)) for _ in range(2)]
        site = Site(url, tmp_path, sockets)
        stack.callback(site.stop)
        site.deploy(FIRST)
        try:
            yield site
        except BaseException as error:
            error.add_note(f"The servers wrote:\n{site.log[-5000:]}")
            raise


# --- Clients


class Load:
    """Clients, each with one session, that call the API and refresh until they are stopped."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.requests: Counter[str] = Counter()
        self.failures: list[str] = []
        self.tokens: list[str] = []
        """All access tokens handed out."""
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Log the clients in, and let them run."""
        pairs = [self.site.log_in() for _ in range(CLIENTS)]
        threads = [threading.Thread(target=self._run, args=(pair,)) for pair in pairs]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def wait_for(self, count: int) -> None:
        """Wait until so many requests were sent, or one has failed."""
        while self.requests.total() < count and not self.failures:
            time.sleep(0.05)

    def _run(self, pair: dict[str, Any]) -> None:
        sid = claims_of(pair["access_token"])["sid"]
        due = time.monotonic()
        try:
            while not self._stopped.is_set():
                if time.monotonic() >= due:
                    # Twice: the first answer might have been lost. Whichever server is asked, both answers are good.
                    answers = [self._send("refresh", pair["refresh_token"]) for _ in range(2)]
                    pair = random.choice(answers).json  # noqa: S311
                    due = time.monotonic() + REFRESH_EVERY * random.uniform(0.5, 1)  # noqa: S311
                    for answer in answers:
                        assert claims_of(answer.json["access_token"])["sid"] == sid
                        self._send("/api/ping/", answer.json["access_token"])
                        self.tokens.append(answer.json["access_token"])
                self._send(random.choice(["/api/ping/", "/api/me/"]), pair["access_token"])  # noqa: S311
        except Exception as error:
            self.failures.append(repr(error))

    def _send(self, what: str, token: str) -> Answer:
        answer = self.site.refresh(token) if what == "refresh" else self.site.call(what, token)
        with self._lock:
            self.requests[what] += 1
        if answer.status != 200:
            self.failures.append(f"{what}: {answer.status} {answer.body!r}")
        return answer


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def algorithm_of(token: str) -> str:
    return str(jwt.get_unverified_header(token)["alg"])


def published(site: Site, server: int) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = site.request("GET", "/.well-known/jwks.json", server).json["keys"]
    return keys


def verified_elsewhere(tokens: list[str], jwk_set: list[dict[str, Any]]) -> int:
    """Verify all that are not symmetric by a JWK Set alone, as a gateway would, and return how many there were."""
    keys = {jwk["kid"]: jwt.PyJWK(jwk) for jwk in jwk_set}
    asymmetric = [token for token in tokens if algorithm_of(token) != "HS256"]
    for token in asymmetric:
        key = keys[jwt.get_unverified_header(token)["kid"]]
        jwt.decode(token, key, [key.algorithm_name], audience=ISSUER, issuer=ISSUER, options={"verify_exp": False})
    return len(asymmetric)


# --- The tests


def test_no_request_fails_and_no_session_ends_while_keys_change(site: Site) -> None:
    load = Load(site)
    retired: list[str] = []
    known: list[dict[str, Any]] = []
    elsewhere = 0
    with load.running():
        for number, (name, step) in enumerate(STEPS.items(), 1):
            time.sleep(step.wait)
            site.deploy(step)
            # Whoever has read the JWK Set since the last deployment knows every key that signed during this one.
            elsewhere += verified_elsewhere(load.tokens, known)
            retired += load.tokens[-1:]
            load.tokens.clear()
            load.wait_for(number * REQUESTS // len(STEPS))
            assert load.failures == [], name
            for server in (0, 1):
                known = published(site, server)
                assert [jwk["alg"] for jwk in known] == list(step.publishes), name
            assert algorithm_of(site.log_in()["access_token"]) == step.signs, name
    assert load.failures == []
    assert load.requests.total() >= REQUESTS
    assert elsewhere > 0
    # Each key that was removed is gone from both servers, whatever they remembered.
    removed = [token for token in retired if algorithm_of(token) != "EdDSA"]
    assert {algorithm_of(token) for token in removed} == {"HS256", "ES256"}
    for server in (0, 1):
        for token in removed:
            answer = site.call("/api/ping/", token, server)
            assert (answer.status, answer.json["code"]) == (401, "token_invalid")
    assert "Traceback" not in site.log
    print(f"{load.requests.total()} requests, none failed: {dict(load.requests)}")


def test_a_leaked_key_is_removed_at_once_and_clients_refresh(site: Site) -> None:
    pairs = [site.log_in() for _ in range(CLIENTS)]
    for server in (0, 1):
        assert all(site.call("/api/ping/", pair["access_token"], server).status == 200 for pair in pairs)
    site.deploy(LEAKED)
    for server in (0, 1):
        for pair in pairs:
            answer = site.call("/api/ping/", pair["access_token"], server)
            assert (answer.status, answer.json["code"]) == (401, "token_invalid")
    for pair in pairs:
        answer = site.refresh(pair["refresh_token"])
        assert answer.status == 200
        assert claims_of(answer.json["access_token"])["sid"] == claims_of(pair["access_token"])["sid"]
        assert site.call("/api/ping/", answer.json["access_token"]).status == 200
