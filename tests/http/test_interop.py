"""Other libraries read our JWK Set from the running endpoint and verify our tokens by it; we verify theirs."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwk, jwt
from joserfc.errors import BadSignatureError, ExpiredTokenError

from django_jwtauth.jose.keys import Key, thumbprint
from tests.support.keys import ASYMMETRIC, AUDIENCE, ISSUER, compact, current_claims, entry, header, private_pem
from tests.support.servers import HOST, Answer, Connection, Server, manage, missing, serve, sqlite_database

pytestmark = [
    pytest.mark.processes,
    # joserfc prefers the newer name Ed25519 of RFC 9864, which most others do not know yet.
    pytest.mark.filterwarnings("ignore:EdDSA is deprecated"),
]

FOLDER = Path(__file__).parent / "interop"
USER = "from django.contrib.auth.models import User; User.objects.create_user('ada')"
# A key serves one algorithm: the RSA keys have a name for each.
KEYS = {algorithm: entry(algorithm, KID=algorithm) for algorithm in ASYMMETRIC}

CHANGES: dict[str, dict[str, Any]] = {
    "exp": {"exp": 1},
    "iss": {"iss": "https://other.example.com"},
    "aud": {"aud": "others"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    url = sqlite_database(folder)
    manage(url, "migrate", "--verbosity", "0")
    manage(url, "shell", "--verbosity", "0", "-c", USER)
    jwtauth = json.dumps({"ISSUER": ISSUER, "AUDIENCE": ["others", AUDIENCE], "SIGNING_KEYS": list(KEYS.values())})
    with serve(url, folder, 1, DJANGO_SETTINGS_MODULE="tests.settings_servers", JWTAUTH=jwtauth) as server:
        yield server


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    connection = Connection(server.port)
    yield connection
    connection.close()


@pytest.fixture
def key_set(connection: Connection) -> jwk.KeySet:
    return jwk.KeySet.import_key_set(connection.request("GET", "/.well-known/jwks.json").json)


def our_token(algorithm: str, **changes: Any) -> str:
    key = Key.from_dict(KEYS[algorithm])
    return compact(key, header(key), current_claims(**{"aud": ["others", AUDIENCE], **changes}))


def private_jwk(algorithm: str) -> dict[str, Any]:
    key = Key.from_dict(KEYS[algorithm])
    return {**key.implementation.to_jwk(key.signing_key, as_dict=True), **key.public_jwk()}


def tampered(token: str) -> str:
    head, _, signature = token.split(".")
    _, body, _ = our_token("EdDSA", sub="2").split(".")
    return f"{head}.{body}.{signature}"


def call(connection: Connection, token: str) -> Answer:
    return connection.request("GET", "/api/ping/", headers={"Authorization": f"Bearer {token}"})


class TestJoserfc:
    @pytest.mark.parametrize("algorithm", ASYMMETRIC)
    def test_it_verifies_our_tokens(self, key_set: jwk.KeySet, algorithm: str) -> None:
        decoded = jwt.decode(our_token(algorithm), key_set, algorithms=[algorithm])
        requests = jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": AUDIENCE}
        )
        requests.validate(decoded.claims)
        assert decoded.header == {"alg": algorithm, "kid": algorithm, "typ": "at+jwt"}
        with pytest.raises(BadSignatureError):
            jwt.decode(tampered(our_token(algorithm)), key_set, algorithms=[algorithm])
        with pytest.raises(ExpiredTokenError):
            requests.validate(jwt.decode(our_token(algorithm, exp=1), key_set, algorithms=[algorithm]).claims)

    @pytest.mark.parametrize("algorithm", ASYMMETRIC)
    def test_we_verify_its_tokens(self, connection: Connection, algorithm: str) -> None:
        key = jwk.import_key(private_pem(algorithm), algorithm_type(algorithm))
        head = {"alg": algorithm, "kid": algorithm, "typ": "at+jwt"}
        token = jwt.encode(head, current_claims(), key, algorithms=[algorithm])
        assert call(connection, token).json == {"user_id": 1}
        assert call(connection, tampered(token)).json["code"] == "token_invalid"

    @pytest.mark.parametrize("algorithm", ASYMMETRIC)
    def test_it_computes_the_same_thumbprints(self, key_set: jwk.KeySet, algorithm: str) -> None:
        published = key_set.get_by_kid(algorithm)
        assert published.thumbprint() == thumbprint(Key.from_dict(KEYS[algorithm]).public_jwk())
        assert not published.is_private


def algorithm_type(algorithm: str) -> str:
    return {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}[algorithm[:2]]


@pytest.fixture(scope="module")
def results(server: Server) -> dict[str, Any]:
    """Return what npm's jose makes of our tokens, and tokens that it has signed."""
    node = shutil.which("node") or missing("node is not installed")
    if not (FOLDER / "node_modules" / "jose").is_dir():
        missing("npm's jose is not installed: npm ci --prefix tests/http/interop")
    tokens = {}
    for algorithm in ASYMMETRIC:
        tokens[algorithm] = our_token(algorithm)
        tokens[f"{algorithm} tampered"] = tampered(our_token(algorithm))
    for name, changes in CHANGES.items():
        tokens[f"ES256 {name}"] = our_token("ES256", **changes)
    key = Key.from_dict(KEYS["ES256"])
    tokens["ES256 typ"] = compact(key, header(key, typ="JWT"), current_claims())
    tokens["ES256 kid"] = compact(key, header(key, kid="other"), current_claims())
    content = {
        "jwksUrl": f"http://{HOST}:{server.port}/.well-known/jwks.json",
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "tokens": {name: {"token": token, "algorithm": name.split()[0]} for name, token in tokens.items()},
        "signers": {algorithm: private_jwk(algorithm) for algorithm in ASYMMETRIC},
        "claims": current_claims(),
    }
    run = subprocess.run(
        [node, "jose.mjs"], cwd=FOLDER, input=json.dumps(content), capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    results: dict[str, Any] = json.loads(run.stdout)
    return results


class TestJose:
    """npm's jose."""

    @pytest.mark.parametrize("algorithm", ASYMMETRIC)
    def test_it_verifies_our_tokens(self, results: dict[str, Any], algorithm: str) -> None:
        outcome = results["outcomes"][algorithm]
        assert outcome["header"] == {"alg": algorithm, "kid": algorithm, "typ": "at+jwt"}
        assert outcome["payload"]["sub"] == "1"
        tampered_one = results["outcomes"][f"{algorithm} tampered"]
        assert tampered_one == {"error": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"}

    def test_it_refuses_what_it_is_told_to_refuse(self, results: dict[str, Any]) -> None:
        codes = {name: results["outcomes"][f"ES256 {name}"]["error"] for name in (*CHANGES, "typ", "kid")}
        assert codes == {
            "exp": "ERR_JWT_EXPIRED",
            "iss": "ERR_JWT_CLAIM_VALIDATION_FAILED",
            "aud": "ERR_JWT_CLAIM_VALIDATION_FAILED",
            "typ": "ERR_JWT_CLAIM_VALIDATION_FAILED",
            "kid": "ERR_JWKS_NO_MATCHING_KEY",
        }

    @pytest.mark.parametrize("algorithm", ASYMMETRIC)
    def test_we_verify_its_tokens(self, results: dict[str, Any], connection: Connection, algorithm: str) -> None:
        token = results["signed"][algorithm]
        assert call(connection, token).json == {"user_id": 1}
        assert call(connection, tampered(token)).json["code"] == "token_invalid"
