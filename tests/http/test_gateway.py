"""The HAProxy of the example project before the example behind gunicorn: what it refuses never reaches the service."""

from __future__ import annotations

import hmac
import http.client
import ipaddress
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from django_jwtauth.jose.encoding import b64url_decode
from django_jwtauth.jose.keys import Key
from django_jwtauth.tokens.access import MAXIMUM_LENGTH
from tests.docs.quickstart import free_port
from tests.support.keys import (
    AUDIENCE,
    ISSUER,
    compact,
    current_claims,
    entry,
    header,
    key,
    public_pem,
    segment,
    without,
)
from tests.support.servers import EXAMPLE, HOST, Server, manage, missing, serve, sqlite_database

pytestmark = pytest.mark.processes

CONFIGURATION = EXAMPLE / "gateway" / "haproxy.cfg"
PASSWORD = "correct horse battery staple"
USER = f"from django.contrib.auth.models import User; print(User.objects.create_user('ada', password={PASSWORD!r}).pk)"
SIGNING, OTHER, STRANGER = "first", "second", "third"
"""Names of keys: the one that signs, one that stands by, and one that nobody knows."""


class Answer(NamedTuple):
    """What the client of the gateway gets."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def reached_the_service(self) -> bool:
        """Whether a worker of the service has answered."""
        return "X-Worker-Pid" in self.headers

    @property
    def code(self) -> str:
        """The error code."""
        return str(json.loads(self.body).get("code", ""))


Send = Callable[..., Answer]


@contextmanager
def haproxy(folder: Path, service: int, algorithm: str, *keys: str, tls: bool = False) -> Iterator[Send]:
    """Run the gateway with one or two keys; yield a function that sends a request with ``Authorization`` headers."""
    port = free_port()
    configuration, context = CONFIGURATION, None
    if tls:
        certificate = self_signed(folder / "certificate.pem")
        context = ssl.create_default_context(cafile=certificate)
        configuration = folder / "haproxy.cfg"
        configuration.write_text(
            re.sub("bind .*", f"bind {HOST}:{port} ssl crt {certificate}", CONFIGURATION.read_text())
        )
    variables = {
        "GATEWAY": f"{HOST}:{port}",
        "SERVICE": f"{HOST}:{service}",
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "JWT_ALGORITHM": algorithm,
    }
    for prefix, name in zip(("JWT", "JWT_OTHER"), keys, strict=False):
        pem = folder / f"{name}.pem"
        pem.write_text(public_pem(algorithm, name))
        variables |= {f"{prefix}_KID": key(algorithm, name).kid, f"{prefix}_PUBLIC_KEY": str(pem)}
    with (folder / "haproxy.log").open("wb") as output:
        process = subprocess.Popen(
            [require_haproxy(), "-db", "-f", str(configuration)],
            env=variables,
            stdout=output,
            stderr=output,
        )

    def send(
        *credentials: str,
        method: str = "GET",
        path: str = "/api/ping/",
        data: Any = None,
        kept_back: int = 0,
        **headers: str,
    ) -> Answer:
        if context is None:
            connection = http.client.HTTPConnection(HOST, port, timeout=30)
        else:
            connection = http.client.HTTPSConnection(HOST, port, timeout=30, context=context)
        body = b"" if data is None else json.dumps(data).encode()
        try:
            connection.putrequest(method, path)
            for value in credentials:
                connection.putheader("Authorization", value)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", str(len(body) + kept_back))
            connection.endheaders(body)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    try:
        wait_for(port, process)
        yield send
    except BaseException as error:
        error.add_note((folder / "haproxy.log").read_text())
        raise
    finally:
        process.terminate()
        process.wait(timeout=10)


def self_signed(file: Path) -> Path:
    """Write a certificate for this machine, and its key, into a file; return the file."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(certificate.public_bytes(Encoding.PEM) + pem)
    return file


def require_haproxy() -> str:
    """Return where HAProxy is."""
    return shutil.which("haproxy") or missing("haproxy is not installed")


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    while True:
        assert process.poll() is None, f"HAProxy ended with {process.returncode}"
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


# --- The service and its tokens


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = sqlite_database(tmp_path_factory.mktemp("database"))
    manage(url, "migrate", "--verbosity", "0")
    manage(url, "shell", "--verbosity", "0", "-c", USER)
    return url


@pytest.fixture(scope="module", params=["ES256", "RS256"])
def algorithm(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def service(algorithm: str, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    jwtauth = {
        "ISSUER": ISSUER,
        "AUDIENCE": ["others", AUDIENCE],
        "SIGNING_KEYS": [entry(algorithm, SIGNING), entry(algorithm, OTHER)],
    }
    variables = {"DJANGO_SETTINGS_MODULE": "tests.settings_servers", "JWTAUTH": json.dumps(jwtauth)}
    with serve(database_url, tmp_path_factory.mktemp("service"), 1, **variables) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(algorithm: str, service: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Send]:
    with haproxy(tmp_path_factory.mktemp("gateway"), service.port, algorithm, SIGNING, OTHER) as send:
        yield send


def token(key: Key, header_: Any = None, **changes: Any) -> str:
    return compact(key, header_ or header(key), current_claims(**changes))


def tampered(token: str, **changes: Any) -> str:
    """The token with other claims under its old signature."""
    head, _, signature = token.split(".")
    return f"{head}.{segment(current_claims(**changes))}.{signature}"


def with_public_key_as_secret(key: Key) -> str:
    """A token for verifiers that believe the ``alg`` of a header."""
    signing_input = f"{segment(header(key, alg='HS256'))}.{segment(current_claims())}"
    secret = public_pem(key.algorithm, SIGNING).encode()
    return f"{signing_input}.{segment(hmac.digest(secret, signing_input.encode(), 'sha256'))}"


def in_der(token: str) -> str:
    """The token with its signature as X.509 writes one of ECDSA."""
    signing_input, _, signature = token.rpartition(".")
    raw = b64url_decode(signature)
    numbers = (int.from_bytes(half) for half in (raw[: len(raw) // 2], raw[len(raw) // 2 :]))
    return f"{signing_input}.{segment(encode_dss_signature(*numbers))}"


BAD: dict[str, Callable[[Key], str]] = {
    "no token": lambda key: "x",
    "two parts": lambda key: token(key).rpartition(".")[0],
    "four parts": lambda key: token(key) + ".x",
    "padding": lambda key: token(key) + "=",
    "a space inside": lambda key: token(key).replace(".", ". ", 1),
    "other claims": lambda key: tampered(token(key), sub="2"),
    "the signature of another token": lambda key: tampered(token(key)),
    "no signature": lambda key: token(key).rpartition(".")[0] + ".",
    "a signature cut short": lambda key: token(key)[:-4],
    "a signature in DER": lambda key: in_der(token(key)),
    "alg none": lambda key: f"{segment(header(key, alg='none'))}.{segment(current_claims())}.",
    "the public key as a secret": with_public_key_as_secret,
    "another alg in the header": lambda key: token(key, header(key, alg="HS256")),
    "a stranger's key": lambda key: token(stranger(key)),
    "a stranger's key under our kid": lambda key: token(stranger(key), header(key)),
    "the other key under this kid": lambda key: token(other(key), header(key)),
    "an unknown kid": lambda key: token(key, header(key, kid="unknown")),
    "no kid": lambda key: token(key, without(header(key), "kid")),
    "a path as kid": lambda key: token(key, header(key, kid="/dev/null")),
    "another typ": lambda key: token(key, header(key, typ="JWT")),
    "no typ": lambda key: token(key, without(header(key), "typ")),
    "another issuer": lambda key: token(key, iss="https://other.example.com"),
    "an issuer that goes on": lambda key: token(key, iss=ISSUER + "/"),
    "no issuer": lambda key: compact(key, header(key), without(current_claims(), "iss")),
    "another audience": lambda key: token(key, aud="other"),
    "an audience that goes on": lambda key: token(key, aud=AUDIENCE + "s"),
    "a quoted audience": lambda key: token(key, aud=f'["{AUDIENCE}"]'),
    "audiences without ours": lambda key: token(key, aud=["other", f'x","{AUDIENCE}']),
    "no audience": lambda key: compact(key, header(key), without(current_claims(), "aud")),
    "an audience in an object": lambda key: token(key, aud={"aud": AUDIENCE}),
    "no expiry": lambda key: compact(key, header(key), without(current_claims(), "exp")),
    "an expiry that is no number": lambda key: token(key, exp=[10**10]),
    "no expiry but null": lambda key: token(key, exp=None),
}


def stranger(known: Key) -> Key:
    return key(known.algorithm, STRANGER)


def other(known: Key) -> Key:
    return key(known.algorithm, OTHER)


class TestRefused:
    @pytest.mark.parametrize("name", BAD)
    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
    def test_a_bad_token(self, gateway: Send, algorithm: str, name: str, method: str) -> None:
        answer = gateway(f"Bearer {BAD[name](key(algorithm))}", method=method)
        assert (answer.status, answer.reached_the_service) == (401, False)
        assert answer.code == "token_invalid"
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api", error="invalid_token"'

    @pytest.mark.parametrize("age", [0, 1, 60, 10**9])
    def test_an_expired_one_is_told_so_that_the_client_refreshes(self, gateway: Send, algorithm: str, age: int) -> None:
        answer = gateway(f"Bearer {token(key(algorithm), exp=int(time.time()) - age)}")
        assert (answer.status, answer.code, answer.reached_the_service) == (401, "token_expired", False)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api", error="invalid_token"'

    @pytest.mark.parametrize("credentials", [(), ("Basic YTpi",), ("Bearer",), ("Bearer\tx",), ("Token x",), ("",)])
    def test_no_token_is_asked_for_one(self, gateway: Send, credentials: tuple[str, ...]) -> None:
        for path in ("/api/ping/", "/", "/admin/", "/authors/", "/.well-known/jwks.json/"):
            answer = gateway(*credentials, path=path)
            assert (answer.status, answer.reached_the_service) == (401, False)
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'
            assert answer.code == ""

    @pytest.mark.parametrize("first", [True, False])
    @pytest.mark.parametrize("more", ["Bearer x", "Basic YTpi", "the same"])
    def test_two_authorization_headers(self, gateway: Send, algorithm: str, more: str, first: bool) -> None:
        good = f"Bearer {token(key(algorithm))}"
        both = [good, good if more == "the same" else more]
        answer = gateway(*(both if first else reversed(both)))
        assert (answer.status, answer.reached_the_service) == (401, False)

    def test_the_same_tokens_are_refused_by_the_service_itself(self, service: Server, algorithm: str) -> None:
        connection = http.client.HTTPConnection(HOST, service.port)
        for name, make in BAD.items():
            connection.request("GET", "/api/ping/", headers={"Authorization": f"Bearer {make(key(algorithm))}"})
            response = connection.getresponse()
            assert (response.status, json.loads(response.read())["code"]) == (401, "token_invalid"), name
        connection.close()


class TestLetThrough:
    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
    def test_a_good_token_however_its_scheme_is_written(self, gateway: Send, algorithm: str, scheme: str) -> None:
        answer = gateway(f"{scheme} {token(key(algorithm))}")
        assert (answer.status, answer.reached_the_service, answer.body) == (200, True, b'{"user_id":1}')

    @pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["x", AUDIENCE], ["x", "y", AUDIENCE, "z"]])
    def test_an_audience_as_text_or_in_an_array(self, gateway: Send, algorithm: str, audience: Any) -> None:
        assert gateway(f"Bearer {token(key(algorithm), aud=audience)}").status == 200

    @pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
    def test_every_way_to_write_the_type(self, gateway: Send, algorithm: str, typ: str) -> None:
        assert gateway(f"Bearer {token(key(algorithm), header(key(algorithm), typ=typ))}").status == 200

    def test_a_token_that_is_nearly_as_long_as_gunicorn_reads(self, gateway: Send, algorithm: str) -> None:
        room = 8100 - len(token(key(algorithm), padding=""))
        long = token(key(algorithm), padding="x" * (room * 3 // 4))
        assert 8000 < len(long) <= MAXIMUM_LENGTH
        assert gateway(f"Bearer {long}").status == 200

    @pytest.mark.parametrize("path", ["/api/ping/", "/auth/token/", "/nowhere/"])
    def test_options(self, gateway: Send, path: str) -> None:
        assert gateway(method="OPTIONS", path=path).reached_the_service

    def test_the_public_keys(self, gateway: Send, algorithm: str) -> None:
        answer = gateway(path="/.well-known/jwks.json")
        kids = [jwk["kid"] for jwk in json.loads(answer.body)["keys"]]
        assert kids == [key(algorithm, SIGNING).kid, key(algorithm, OTHER).kid]


def test_a_body_that_does_not_come_holds_no_thread_of_the_service(gateway: Send) -> None:
    with ThreadPoolExecutor(20) as pool:
        slow = [pool.submit(gateway, method="POST", path="/auth/token/", data={}, kept_back=1) for _ in range(20)]
        time.sleep(0.5)
        assert gateway(method="OPTIONS", path="/auth/token/").reached_the_service
        assert not any(answer.done() for answer in slow)
        answers = [answer.result() for answer in slow]
    assert [(answer.status, answer.reached_the_service) for answer in answers] == [(408, False)] * 20


def test_a_body_too_large_to_wait_for_is_refused(gateway: Send) -> None:
    login = {"username": "ada", "password": PASSWORD, "padding": "x" * 8000}
    assert gateway(method="POST", path="/auth/token/", data=login).reached_the_service
    answer = gateway(method="POST", path="/auth/token/", data=login | {"more": "x" * 200})
    assert (answer.status, answer.reached_the_service) == (413, False)


def test_a_client_logs_in_refreshes_and_logs_out_through_it_and_the_service_knows_what_it_does_not(
    gateway: Send,
) -> None:
    login = gateway(method="POST", path="/auth/token/", data={"username": "ada", "password": PASSWORD})
    pair = json.loads(login.body)
    assert gateway(f"Bearer {pair['access_token']}").status == 200
    refreshed = gateway(method="POST", path="/auth/token/refresh/", data={"refresh_token": pair["refresh_token"]})
    access = json.loads(refreshed.body)["access_token"]
    assert gateway(f"Bearer {access}", path="/auth/sessions/").status == 200
    assert gateway(method="POST", path="/auth/token/revoke/", data={"token": access}).status == 200
    answer = gateway(f"Bearer {access}")
    assert (answer.status, answer.code, answer.reached_the_service) == (401, "token_revoked", True)


@pytest.mark.parametrize(
    ("known", "accepted"),
    [
        ((SIGNING,), {SIGNING}),
        ((SIGNING, OTHER), {SIGNING, OTHER}),
        ((OTHER, SIGNING), {SIGNING, OTHER}),
        ((OTHER,), {OTHER}),
    ],
    ids=["before", "standby", "swapped", "after"],
)
def test_keys_change_by_two_at_a_time(
    known: tuple[str, ...], accepted: set[str], service: Server, algorithm: str, tmp_path: Path
) -> None:
    with haproxy(tmp_path, service.port, algorithm, *known) as send:
        for name in (SIGNING, OTHER):
            answer = send(f"Bearer {token(key(algorithm, name))}")
            assert (answer.status, answer.reached_the_service) == ((200, True) if name in accepted else (401, False))


@pytest.mark.parametrize("tls", [True, False])
@pytest.mark.parametrize("claimed", ["https", "http"])
def test_the_service_learns_from_it_whether_the_client_uses_https(
    tls: bool, claimed: str, secured: Server, tmp_path: Path
) -> None:
    with haproxy(tmp_path, secured.port, "ES256", SIGNING, tls=tls) as send:
        answer = send(f"Bearer {token(key('ES256'))}", X_Forwarded_Proto=claimed)
    assert (answer.status, answer.reached_the_service) == (200 if tls else 301, True)


@pytest.fixture(scope="module")
def secured(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service as it is deployed with HTTPS."""
    jwtauth = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "SIGNING_KEYS": [entry("ES256", SIGNING)]}
    variables = {"DJANGO_SETTINGS_MODULE": "tests.settings_servers", "JWTAUTH": json.dumps(jwtauth)}
    https = {"INSECURE_HTTP": "0", "FORWARDED_PROTO": "1"}
    with serve(database_url, tmp_path_factory.mktemp("secured"), 1, **variables, **https) as server:
        yield server


@pytest.mark.parametrize("lacking", ["JWT_ISSUER", "JWT_AUDIENCE", "JWT_KID", "JWT_PUBLIC_KEY"])
def test_it_does_not_start_where_a_variable_is_missing(lacking: str) -> None:
    variables = {name: "x" for name in ("JWT_ISSUER", "JWT_AUDIENCE", "JWT_KID", "JWT_PUBLIC_KEY") if name != lacking}
    run = subprocess.run(
        [require_haproxy(), "-c", "-f", str(CONFIGURATION)], env=variables, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "must be set" in run.stderr


@pytest.mark.parametrize("name", ["JWT_ISSUER", "JWT_AUDIENCE", "JWT_KID", "JWT_OTHER_KID"])
def test_a_kid_may_begin_with_a_dash_and_so_may_the_others(name: str, tmp_path: Path) -> None:
    pem = tmp_path / "public.pem"
    pem.write_text(public_pem("ES256", SIGNING))
    texts = dict.fromkeys(("JWT_ISSUER", "JWT_AUDIENCE", "JWT_KID", "JWT_OTHER_KID"), "x") | {name: "-x"}
    variables = texts | dict.fromkeys(("JWT_PUBLIC_KEY", "JWT_OTHER_PUBLIC_KEY"), str(pem))
    run = subprocess.run(
        [require_haproxy(), "-c", "-f", str(CONFIGURATION)], env=variables, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
