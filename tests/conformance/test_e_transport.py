"""E. How tokens travel, and how a refusal is told"""

from __future__ import annotations

import re
import time
from http import HTTPStatus
from io import BytesIO

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import MD5PasswordHasher
from django.core.handlers.asgi import ASGIRequest
from django.urls import resolve

from tests.conformance.conftest import REFRESH, claims_of, session_of
from tests.conformance.registry import OWN, states
from tests.conformance.tokens import ME, PING, token
from tests.support import keys
from tests.support.ageing import turn_clocks
from tests.support.answers import BARE, assert_bearer_refused, assert_grant_refused

views = pytest.mark.urls("tests.support.views")

CHALLENGE = re.compile(r'Bearer realm="[^"\\]+"(, (?!realm)[a-z_]+="[^"\\]+")*')


def assert_asked_for_credentials(answer):
    """A request without a token is told how to send one, and of no error."""
    assert answer.status_code == HTTPStatus.UNAUTHORIZED
    assert answer["WWW-Authenticate"] == BARE
    assert "code" not in answer.json()


@pytest.fixture
def get(client):
    """Return a function that sends an ``Authorization`` header as it is."""
    return lambda header, path=PING: client.get(path, HTTP_AUTHORIZATION=header)


@states(
    51,
    "Without credentials the answer is 401 with a challenge that names no error.",
    "RFC 6750 section 3",
    "RFC 6750 section 3.1",
)
@pytest.mark.parametrize("path", [PING, ME, "/api/notes/", "/api/notes/1/", "/auth/sessions/"])
def test_no_credentials(db, client, path):
    assert_asked_for_credentials(client.get(path))


@states(
    52,
    "An expired, revoked or malformed token, and one for somebody else, is 401 with `invalid_token`.",
    "RFC 6750 section 3.1",
)
def test_bad_tokens(tokens, refuses, revoke, jwtauth, monkeypatch):
    access_token = tokens["access_token"]
    refuses(access_token[:-1])
    jwtauth(AUDIENCE="other")
    refuses(access_token)
    jwtauth(AUDIENCE=None)
    revoke(access_token)
    refuses(access_token, "token_revoked")
    turn_clocks(monkeypatch, 605)
    refuses(access_token, "token_expired")


@states(
    53,
    "Where a scope is missing the answer is 403 with `insufficient_scope`, and names the scopes.",
    "RFC 6750 section 3.1",
)
@views
@pytest.mark.usefixtures("_issuer")
def test_scopes(call):
    for scope in ("", "notes:read", "notes:read notes:writes"):
        answer = call(token(claims=keys.current_claims(scope=scope)), "/scoped/")
        assert answer.status_code == HTTPStatus.FORBIDDEN
        assert answer["WWW-Authenticate"] == f'{BARE}, error="insufficient_scope", scope="notes:read notes:write"'
    assert (
        call(token(claims=keys.current_claims(scope="notes:write notes:read")), "/scoped/").status_code == HTTPStatus.OK
    )


@states(54, "`Bearer` with nothing behind it, or with two words, is 401 with `invalid_token`.", "RFC 6750 section 3.1")
def test_other_numbers_of_words(tokens, get):
    good = tokens["access_token"]
    for header in (
        "Bearer",
        "Bearer ",
        f"Bearer {good} {good}",
        f"Bearer {good} x",
        f"Bearer x {good}",
        f"Bearer token={good}",
    ):
        assert_bearer_refused(get(header))


@states(
    55,
    "The scheme may be written in any case, and several spaces may follow it.",
    "RFC 9110 section 11.1",
    "RFC 6750 section 2.1",
)
@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "bEaReR", "Bearer  ", "Bearer     "])
def test_the_scheme(tokens, get, scheme):
    assert get(f"{scheme} {tokens['access_token']}").status_code == HTTPStatus.OK


@states(
    56,
    "Other schemes are left to other authenticators; where there is none it is as if nothing was sent.",
    "RFC 6750 section 3",
)
@views
def test_other_schemes(user, get):
    basic = "Basic YWxpY2U6Y29ycmVjdCBob3JzZQ=="
    assert get(basic, "/basic-second/").json()["pk"] == user.pk
    for header in (basic, "Token x", "DPoP x", "Bearerx", "Digest a=b", "Bearer\tx", ""):
        assert_asked_for_credentials(get(header, "/plain/"))


@states(
    57,
    "A token in the query string or in the body is no credential.",
    "RFC 9700 section 4.3.2",
    "RFC 6750 section 2.2",
    "RFC 6750 section 2.3",
)
@views
def test_tokens_elsewhere(tokens, client):
    sent = {"access_token": tokens["access_token"]}
    assert_asked_for_credentials(client.get("/plain/", sent))
    for form in ("json", "multipart"):
        assert_asked_for_credentials(client.post("/plain/", sent, format=form))
    client.cookies["access_token"] = tokens["access_token"]
    assert_asked_for_credentials(
        client.post("/plain/", f"access_token={sent}", content_type="application/x-www-form-urlencoded")
    )


@states(
    58,
    "Two `Authorization` headers are refused.",
    "RFC 6750 section 2",
    "RFC 6750 section 3.1",
    also=(
        "tests/http/test_gateway.py::TestRefused::test_two_authorization_headers",
        "tests/http/test_gateway.py::TestRefused::test_the_same_tokens_are_refused_by_the_service_itself",
    ),
)
class TestTwoHeaders:
    def test_as_wsgi_servers_join_them(self, tokens, get):
        good = f"Bearer {tokens['access_token']}"
        for first, second in ((good, good), (good, "Bearer x"), ("Bearer x", good), (good, "Basic x")):
            for comma in (",", ", "):
                assert_bearer_refused(get(f"{first}{comma}{second}"))
        assert get(f"Basic x,{good}").status_code == HTTPStatus.UNAUTHORIZED

    def test_as_asgi_servers_pass_them_on(self, tokens):
        header = (b"authorization", f"Bearer {tokens['access_token']}".encode())
        scope = {"type": "http", "method": "GET", "path": PING}
        answers = [
            resolve(PING).func(ASGIRequest({**scope, "headers": [header] * count}, BytesIO())) for count in (1, 2)
        ]
        assert [answer.status_code for answer in answers] == [HTTPStatus.OK, HTTPStatus.UNAUTHORIZED]


@states(
    59, "A challenge is quoted properly, names the realm once, and repeats nothing that was sent.", "RFC 6750 section 3"
)
@views
@pytest.mark.usefixtures("_issuer")
def test_challenges(client, get, call):
    marks = ('mark"', "mark\\", "mark\r\nX-Injected: 1", "märk", "mark, realm=mark")
    answers = [
        get(f"Bearer {mark}", path) for mark in marks for path in ("/plain/", "/session-first/", "/auth/sessions/")
    ]
    answers += [client.get(f"/plain/?{mark}", HTTP_X_REALM=mark) for mark in marks]
    answers += [client.post(REFRESH, {"refresh_token": mark}, format="json") for mark in marks]
    answers += [call(token(claims=keys.current_claims(scope=mark)), "/scoped/") for mark in marks]
    for answer in answers:
        assert answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
        assert CHALLENGE.fullmatch(answer["WWW-Authenticate"])
        assert not re.search("m[aä]rk", str(answer.headers) + answer.content.decode())


@states(
    60,
    "Every 401 carries a challenge, also where another authenticator comes first or a view has none.",
    "RFC 9110 section 15.5.2",
)
@views
def test_every_401(user, client, log_in, refresh, get):
    answers = [
        get("Bearer x", path) for path in ("/plain/", "/session-first/", "/basic-second/", "/active/", "/stateless/")
    ]
    answers += [client.get(path) for path in ("/plain/", "/basic-second/", "/auth/sessions/", "/scoped/")]
    answers += [log_in(password="wrong"), log_in("nobody"), refresh("x"), client.delete("/auth/sessions/x/")]
    for answer in answers:
        assert answer.status_code == HTTPStatus.UNAUTHORIZED
        assert CHALLENGE.fullmatch(answer["WWW-Authenticate"])


@states(
    61,
    "No token appears in a log, in the text of an error, in the admin or in the browsable API.",
    "RFC 6750 section 5.3",
)
class TestSecrecy:
    @pytest.fixture
    def unseen(self, tokens):
        """Return a function that fails where a text has a token of this login in it, or only its signature."""

        def unseen(text, *more):
            for secret in (*tokens.values(), *more):
                if isinstance(secret, str) and secret != "Bearer":
                    assert secret.rpartition(".")[2] not in text

        return unseen

    def test_logs_and_answers(
        self, tokens, unseen, caplog, call, refresh, revoke, log_in, django_capture_on_commit_callbacks
    ):
        caplog.set_level(0)
        with django_capture_on_commit_callbacks(execute=True):
            later = refresh(refresh(tokens["refresh_token"]).json()["refresh_token"]).json()
            answers = [refresh(tokens["refresh_token"]), call(later["access_token"]), call(later["refresh_token"])]
            answers += [
                refresh(later["refresh_token"]),
                refresh(later["access_token"]),
                call(later["access_token"] + "x"),
            ]
            answers += [revoke(pair[name]) for pair in (tokens, later) for name in ("access_token", "refresh_token")]
            answers += [log_in(password="unspeakable")]
        logged = caplog.text + "".join(str(vars(record)) for record in caplog.records)
        assert f"Session {session_of(tokens).sid} was ended" in logged
        for text in (logged, *(answer.content.decode() + str(answer.headers) for answer in answers)):
            unseen(text, later["access_token"], later["refresh_token"], "unspeakable")

    def test_the_admin(self, tokens, unseen, revoke, client):
        client.force_login(get_user_model().objects.create_superuser("root"))
        session = session_of(tokens)
        revoke(tokens["refresh_token"])
        for path in ("session/", f"session/{session.pk}/change/", "denylistentry/", f"session/{session.pk}/history/"):
            page = client.get(f"/admin/jwtauth/{path}", follow=True)
            assert page.status_code == HTTPStatus.OK
            unseen(page.content.decode())

    def test_the_browsable_api(self, tokens, unseen, client):
        for path in (ME, "/api/notes/"):
            for text in (tokens["access_token"], tokens["refresh_token"], tokens["access_token"] + "x"):
                page = client.get(path, HTTP_AUTHORIZATION=f"Bearer {text}", HTTP_ACCEPT="text/html")
                assert page["Content-Type"].startswith("text/html")
                unseen(page.content.decode() + str(page.headers))


@states(
    62,
    "A token pair comes as `access_token`, `token_type` `Bearer`, `expires_in` until `exp`, `refresh_token` and "
    "`refresh_expires_in`, and may not be stored.",
    "RFC 6749 section 5.1",
)
def test_token_pairs(log_in, refresh, jwtauth):
    first = log_in()
    for answer, seconds in ((first, 600), (refresh(first.json()["refresh_token"]), 600)):
        pair = answer.json()
        assert (answer.status_code, answer["Cache-Control"]) == (HTTPStatus.OK, "no-store")
        assert set(pair) == {"access_token", "token_type", "expires_in", "refresh_token", "refresh_expires_in"}
        assert pair["token_type"] == "Bearer"
        claims = claims_of(pair["access_token"])
        assert pair["expires_in"] == claims["exp"] - claims["iat"] == seconds
        assert abs(claims["iat"] - time.time()) < 2
        assert type(pair["expires_in"]) is type(pair["refresh_expires_in"]) is int


@states(
    63,
    "Too many failed logins or refreshes are 429 with `Retry-After`, by account and by address.",
    OWN,
    "RFC 6749 section 10.10",
)
class TestThrottles:
    @pytest.fixture
    def rates(self, settings):
        def rates(**rates):
            settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": rates}

        return rates

    def assert_throttled(self, answer):
        assert answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert 0 < int(answer["Retry-After"]) <= 86_400

    def test_logins_to_an_account_from_an_address(self, log_in, rates):
        rates(jwtauth_login="2/day")
        for _ in range(2):
            assert_grant_refused(log_in(password="wrong"), "invalid_credentials")
        self.assert_throttled(log_in())
        assert log_in(REMOTE_ADDR="192.0.2.1").status_code == HTTPStatus.OK

    def test_logins_to_an_account_from_anywhere(self, log_in, rates):
        rates(jwtauth_login_account="2/day")
        for number in range(2):
            assert_grant_refused(log_in(password="wrong", REMOTE_ADDR=f"192.0.2.{number}"), "invalid_credentials")
        self.assert_throttled(log_in(REMOTE_ADDR="192.0.2.9"))

    def test_refreshes_from_an_address(self, refresh, rates, tokens):
        rates(jwtauth_refresh_failed="2/day")
        for _ in range(2):
            assert_grant_refused(refresh("x"), "token_invalid")
        self.assert_throttled(refresh("x"))
        assert refresh(tokens["refresh_token"]).status_code == HTTPStatus.OK

    def test_refreshes_of_a_session(self, refresh, rates, tokens):
        rates(jwtauth_refresh="2/day")
        for _ in range(2):
            tokens = refresh(tokens["refresh_token"]).json()
        self.assert_throttled(refresh(tokens["refresh_token"]))


@states(
    64,
    "A login with an unknown name, a wrong password or an inactive user is answered alike, after the same work.",
    OWN,
)
def test_unknown_names(log_in, user, monkeypatch):
    hashed = []
    encode = MD5PasswordHasher.encode

    def counted(self, password, salt):
        hashed.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    get_user_model().objects.create_user("idle", password="correct horse", is_active=False)
    hashed.clear()
    answers = []
    for name, password in (("alice", "wrong"), ("nobody", "wrong"), ("idle", "wrong"), ("idle", "correct horse")):
        answers.append(log_in(name, password))
        assert hashed == [password]
        hashed.clear()
    for answer in answers:
        assert_grant_refused(answer, "invalid_credentials")
        assert (answer.content, dict(answer.headers)) == (answers[0].content, dict(answers[0].headers))
