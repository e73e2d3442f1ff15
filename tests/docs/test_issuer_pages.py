"""The settings of docs/howto/issuers.md, with tokens and JWK Sets of the shape that each provider documents."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.contrib.auth import get_user_model
from django.core.checks import run_checks

from django_jwtauth import sessions
from django_jwtauth.claims import Claims
from django_jwtauth.conf import find_problems, get_config
from django_jwtauth.issuers import download, trusted
from django_jwtauth.issuers import jwks as fetched_ring
from django_jwtauth.jose.keys import Key
from django_jwtauth.process import reloading
from tests.docs.readme import README, block, project
from tests.support import keys
from tests.support.publisher import named

PAGE = README.parent / "docs" / "howto" / "issuers.md"
ACCESS = named("RS256", "7B0T1k2kPzQ-access", "access")
OTHER = named("RS256", "zX9y-other", "id")
EC = named("ES256", "ec-of-keycloak", "keycloak")
NOW = int(time.time())
DATES = {"iat": NOW - 60, "exp": NOW + 3600}

TENANT = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
API = "00001111-aaaa-2222-bbbb-3333cccc4444"
CLIENT = "11112222-bbbb-3333-cccc-4444dddd5555"


class Shape(NamedTuple):
    """What a provider writes: its published keys, an access token, and tokens of its that are none for us."""

    jwks: list[dict[str, Any]]
    header: dict[str, Any]
    claims: dict[str, Any]
    scopes: set[str]
    refused: list[tuple[dict[str, Any], dict[str, Any]]]
    """Changes of header and of claims; None takes a member away."""


def published(key: Key, **changes: Any) -> dict[str, Any]:
    jwk = {**key.public_jwk(), "x5c": ["MIIC+zCCAeOgAwIBAgIJ"], "x5t": "RkI5MjI5OUY5ODc1N0Q4", **changes}
    return {name: value for name, value in jwk.items() if value is not None}


AUTH0 = {
    "iss": "https://example.eu.auth0.com/",
    "sub": "auth0|6553da60a54af58e29493993",
    "aud": ["https://notes.example.com", "https://example.eu.auth0.com/userinfo"],
    "scope": "openid profile read:notes",
    **DATES,
}
AUTH0_JWKS = [published(ACCESS), published(OTHER)]
AUTH0_CLIENT = "K1AUPhZq8mRi0Q0pjhkfu1D7y6KjDQja"
KEYCLOAK = {
    "iss": "https://id.example.com/realms/example",
    "aud": ["notes-api", "account"],
    "sub": "f3a1e8b0-5c1c-4f0e-9f0a-2c1f7b0d9e11",
    "typ": "Bearer",
    "azp": "notes-web",
    "sid": "0d2f5b4c-6a8e-4b7d-9c3f-1e2d3c4b5a69",
    "jti": "onrtac:1c7e0f9e-8b5d-4a39-a9d1-5c2f6e7d8a90",
    "acr": "1",
    "allowed-origins": ["https://notes.example.com"],
    "realm_access": {"roles": ["offline_access", "notes-admin"]},
    "resource_access": {"account": {"roles": ["manage-account"]}},
    "scope": "openid email profile",
    "email_verified": False,
    "preferred_username": "alice",
    **DATES,
}
COGNITO = {
    "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "device_key": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "cognito:groups": ["admin"],
    "iss": "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_EXAMPLE",
    "version": 2,
    "client_id": "57cbishk4j24pabc1234567890",
    "origin_jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "event_id": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "token_use": "access",
    "scope": "openid notes/read",
    "auth_time": NOW - 60,
    "jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    "username": "alice",
    **DATES,
}
ENTRA = {
    "sub": "HKZpfaHyWadeOouYlitjrI-KffTm222X5rrV3xDqfKQ",
    "tid": TENANT,
    "oid": "690222be-ff1a-4d56-abd1-7e4f7d38e474",
    "nbf": NOW - 60,
    "scp": "Notes.Read User.Read",
    "uti": "bjVAVgkUU0eE4XSbY0ZkAA",
    "rh": "0.AXEA…",
    "aio": "ATQAy/8TAAAA…",
    **DATES,
}
ENTRA_V2 = {
    **ENTRA,
    "aud": API,
    "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0",
    "azp": CLIENT,
    "azpacr": "0",
    "ver": "2.0",
    "sid": "00d5cb5c-7f3e-4b8a-8a9e-7d6c1a2b3c4d",
}
ENTRA_V1 = {
    **ENTRA,
    "aud": f"api://{API}",
    "iss": f"https://sts.windows.net/{TENANT}/",
    "appid": CLIENT,
    "appidacr": "0",
    "idp": f"https://sts.windows.net/{TENANT}/",
    "ver": "1.0",
}
ENTRA_JWKS = [
    published(key, alg=None, issuer=f"https://login.microsoftonline.com/{TENANT}/v2.0") for key in (OTHER, ACCESS)
]

SHAPES = {
    "auth0-settings": Shape(
        AUTH0_JWKS,
        {"alg": "RS256", "typ": "at+jwt", "kid": ACCESS.kid},
        {**AUTH0, "client_id": AUTH0_CLIENT, "jti": "73WakrfVbNJBaAmhQtEeDv"},
        {"openid", "profile", "read:notes"},
        [
            ({"typ": "JWT"}, {}),  # an ID token, or the default profile
            ({}, {"aud": "https://other.example.com"}),
            ({}, {"aud": AUTH0_CLIENT}),
            ({}, {"iss": "https://example.eu.auth0.com"}),
        ],
    ),
    "auth0-default-settings": Shape(
        AUTH0_JWKS,
        {"alg": "RS256", "typ": "JWT", "kid": ACCESS.kid},
        {**AUTH0, "azp": AUTH0_CLIENT},
        {"openid", "profile", "read:notes"},
        [
            ({}, {"aud": AUTH0_CLIENT, "azp": None, "scope": None, "nonce": "x"}),  # an ID token
            ({}, {"aud": "https://notes.example.com", "azp": None}),
            ({}, {"azp": "another client"}),
            ({}, {"aud": "https://example.eu.auth0.com/userinfo"}),
        ],
    ),
    "keycloak-settings": Shape(
        [published(OTHER, use="enc", alg="RSA-OAEP"), published(ACCESS, **{"x5t#S256": "x"}), published(EC, x5c=None)],
        {"alg": "RS256", "typ": "JWT", "kid": ACCESS.kid},
        KEYCLOAK,
        {"openid", "email", "profile"},
        [
            ({}, {"typ": "ID", "aud": "notes-api"}),  # an ID token of the client with the name of the API
            ({}, {"typ": "Refresh"}),
            ({}, {"aud": "account"}),
            ({}, {"aud": None}),
            ({}, {"iss": "https://id.example.com/realms/other"}),
        ],
    ),
    "cognito-settings": Shape(
        [keys.without(published(OTHER), "x5c"), keys.without(published(ACCESS), "x5c")],
        {"kid": ACCESS.kid, "alg": "RS256"},
        COGNITO,
        {"openid", "notes/read"},
        [
            # An ID token of the very client.
            ({}, {"token_use": "id", "aud": COGNITO["client_id"], "client_id": None, "cognito:username": "alice"}),
            ({}, {"token_use": "id"}),
            ({}, {"token_use": None}),
            ({}, {"client_id": "another client"}),
            ({"typ": "JWT"}, {}),
        ],
    ),
    "entra-v2-settings": Shape(
        ENTRA_JWKS,
        {"typ": "JWT", "alg": "RS256", "kid": ACCESS.kid},
        ENTRA_V2,
        {"Notes.Read", "User.Read"},
        [
            ({}, {"azp": None, "azpacr": None, "scp": None}),  # an ID token where client and API are one
            ({}, {"aud": CLIENT}),
            ({}, {"azp": "22223333-cccc-4444-dddd-5555eeee6666"}),
            ({}, {"aud": "00000003-0000-0000-c000-000000000000"}),  # for Microsoft Graph
            ({}, {"iss": "https://login.microsoftonline.com/00000000-0000-cccc-1111-dddd2222eeee/v2.0"}),
            ({}, {"iss": f"https://sts.windows.net/{TENANT}/"}),
        ],
    ),
    "entra-v1-settings": Shape(
        ENTRA_JWKS,
        {"typ": "JWT", "alg": "RS256", "x5t": ACCESS.kid, "kid": ACCESS.kid},
        ENTRA_V1,
        {"Notes.Read", "User.Read"},
        [
            ({}, {"appid": None, "appidacr": None, "scp": None}),
            ({}, {"aud": "https://graph.microsoft.com"}),
            ({}, {"aud": API}),
            ({}, {"appid": "22223333-cccc-4444-dddd-5555eeee6666"}),
            ({}, {"iss": f"https://sts.windows.net/{TENANT}"}),
        ],
    ),
}


def changed(members: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**members, **changes}.items() if value is not None}


def settings_of(name: str) -> dict[str, Any]:
    """Return ``JWTAUTH`` of a project that has followed a block of the page."""
    names = project()
    exec(block(name, PAGE), names)  # noqa: S102
    jwtauth: dict[str, Any] = names["JWTAUTH"]
    return jwtauth


@pytest.fixture(params=SHAPES)
def shape(request: Any, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Shape:
    """One provider, with the settings of the page."""
    settings.JWTAUTH = settings_of(request.param)
    shape = SHAPES[request.param]
    (entry,) = settings.JWTAUTH["TRUSTED_ISSUERS"].values()
    documents = {entry["JWKS_URL"]: json.dumps({"keys": shape.jwks}).encode()}
    monkeypatch.setattr(fetched_ring, "download", documents.__getitem__)
    return shape


@pytest.fixture
def get(client: Any) -> Any:
    def get(shape: Shape, header: Any = (), claims: Any = (), key: Key = ACCESS) -> Any:
        token = keys.compact(key, changed(shape.header, dict(header)), changed(shape.claims, dict(claims)))
        return client.get("/stateless/", HTTP_AUTHORIZATION=f"Bearer {token}")

    return get


@pytest.mark.urls("tests.support.views")
class TestProviders:
    def test_the_system_checks_have_nothing_to_say(self, shape):
        assert [message for message in run_checks() if message.id.startswith("jwtauth.")] == []

    def test_an_access_token_is_accepted_with_its_scopes(self, shape, get):
        answer = get(shape)
        assert answer.json() == {"pk": shape.claims["sub"], "sid": shape.claims.get("sid")}
        claims = sessions.verify(keys.compact(ACCESS, shape.header, shape.claims))
        assert claims.scopes == shape.scopes
        assert claims.jti == shape.claims.get("jti")

    def test_other_tokens_of_the_provider_are_refused(self, shape, get):
        for header, claims in shape.refused:
            answer = get(shape, header, claims)
            assert answer.status_code == HTTPStatus.UNAUTHORIZED, (header, claims)
            assert answer.json()["code"] == "token_invalid"

    def test_an_expired_one_and_one_under_another_key_are_refused(self, shape, get):
        assert get(shape, claims={"exp": NOW - 60}).json()["code"] == "token_expired"
        assert get(shape, key=OTHER).json()["code"] == "token_invalid"
        fitting = [jwk for jwk in shape.jwks if jwk["kty"] == "RSA" and jwk.get("use") != "enc"]
        assert get(shape, {"kid": None}).status_code == (
            HTTPStatus.OK if len(fitting) == 1 else HTTPStatus.UNAUTHORIZED
        )
        assert get(shape, {"kid": OTHER.kid}).json()["code"] == "token_invalid"


def test_keycloak_may_sign_with_elliptic_curves(settings, monkeypatch):
    settings.JWTAUTH = settings_of("keycloak-settings")
    shape = SHAPES["keycloak-settings"]
    monkeypatch.setattr(fetched_ring, "download", lambda url: json.dumps({"keys": shape.jwks}).encode())
    header = {**shape.header, "alg": "ES256", "kid": EC.kid}
    assert sessions.verify(keys.compact(EC, header, shape.claims)).extra["realm_access"] == {
        "roles": ("offline_access", "notes-admin")
    }


class TestPage:
    TEXT = PAGE.read_text()

    def test_every_provider_is_tried(self):
        assert set(re.findall(r"<!-- ([\w-]+) -->", self.TEXT)) - {"new-service-settings"} == set(SHAPES)

    def test_the_members_are_those_of_the_code_with_their_defaults(self):
        (body,) = re.findall(r"^\| member \|.*\n\| -.*\n((?:\|.*\n)+)", self.TEXT, re.MULTILINE)
        rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in body.splitlines()]
        written = {name.strip("`"): default for name, default, _ in rows}
        assert list(written) == list(trusted.MEMBERS)
        defaults = trusted.TrustedIssuer(iss="x", audience="x")
        for name in ("TYP", "REQUIRED_CLAIMS", "SUBJECT_CLAIM", "USER"):
            assert eval(written[name].strip("`"), {}) == getattr(defaults, name.lower())  # noqa: S307

    @pytest.mark.parametrize("snippet", re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
    def test_every_snippet_runs_and_its_settings_are_sound(self, snippet, settings, db):
        names: dict[str, Any] = {"__name__": "snippet", **project()}
        exec(compile(snippet, "<snippet of issuers.md>", "exec"), names)  # noqa: S102
        if "user" not in names:
            settings.JWTAUTH = copy.deepcopy(names["JWTAUTH"])
            assert find_problems(settings.JWTAUTH) == []
            assert trusted.find_problems(get_config()) == []
        else:
            assert names["user"](Claims(iss="x", sub="1", aud=(), exp=1, iat=None, jti=None, sid=None)) is None

    @pytest.mark.parametrize(
        ("sub", "is_found"), [("alice", True), ("Alice", False), ("\u00e0lice", False), ("bob", False)]
    )
    def test_the_hook_takes_no_subject_for_another_one_whatever_the_database_does(self, db, sub, is_found):
        (snippet,) = (
            code for code in re.findall(r"^```python\n(.*?)^```$", self.TEXT, re.M | re.S) if "def user" in code
        )
        names: dict[str, Any] = {}
        exec(snippet, names)  # noqa: S102
        get_user_model().objects.create(username="https://id.example.com alice")
        claims = Claims(iss="https://id.example.com", sub=sub, aud=(), exp=1, iat=None, jti=None, sid=None)
        assert (names["user"](claims) is not None) == is_found

    def test_the_numbers_are_those_of_the_code(self):
        assert (fetched_ring.REFETCH_AGE, reloading.REFRESH_AT) == (5 * 60, (0.7, 0.8))
        assert (fetched_ring.COOL_DOWN, fetched_ring.RETRY, fetched_ring.MAX_WAIT_SECONDS) == (30, 5, 3)
        assert fetched_ring.LONGEST_AGE == 24 * 60 * 60
        assert (download.TIME_LIMIT, download.SIZE_LIMIT) == (5, 64 * 1024)


@pytest.mark.processes
def test_the_service_of_the_page_passes_the_checks(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(block("new-service-settings", PAGE))
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{README.parent}"}
    command = [sys.executable, "-m", "django", "check", "--settings", "service", "--fail-level", "WARNING"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
