"""The threat model: each test it names exists, each "cannot" names one; and tests proved here only."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import MD5PasswordHasher
from django.test import Client

from django_jwtauth import sessions, throttling
from django_jwtauth.errors import InvalidTokenError
from django_jwtauth.models import Session
from django_jwtauth.tokens.pair import TokenPair
from tests.support.keys import private_pem

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "explanation" / "threat-model.md").read_text()
TABLES = re.findall(r"^\| cannot \|.*\n\| -.*\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
ROWS = [row for table in TABLES for row in table.splitlines()]
NAMED = re.compile(r"\[`(test_\w+)`\]\((?:\.\./)+tests/((?:\w+/)*test_\w+\.py)\)")

OBTAIN, REFRESH, REVOKE, SESSIONS = "/auth/token/", "/auth/token/refresh/", "/auth/token/revoke/", "/auth/sessions/"


class TestPage:
    def test_every_cannot_names_a_test(self) -> None:
        assert len(ROWS) > 50
        assert [row for row in ROWS if not NAMED.search(row)] == []

    def test_every_test_that_is_named_exists(self) -> None:
        named = NAMED.findall(PAGE)
        assert len(named) == PAGE.count("](../../tests/"), "one is named in another form"
        sources = {file: (TESTS / file).read_text() for _, file in named}
        missing = [name for name, file in named if not re.search(rf"^ *def {name}\(", sources[file], re.MULTILINE)]
        assert missing == []


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the passwords that are hashed from now on, one item for each time."""
    passwords: list[str] = []
    encode = MD5PasswordHasher.encode

    def counted(self: MD5PasswordHasher, password: str, salt: str) -> str:
        passwords.append(password)
        return encode(self, password, salt)

    monkeypatch.setattr(MD5PasswordHasher, "encode", counted)
    return passwords


def log_in(client: Any, name: str, password: str = "wrong", address: str = "192.0.2.1") -> Any:
    return client.post(OBTAIN, {"username": name, "password": password}, format="json", REMOTE_ADDR=address)


def deactivate(user: Any) -> None:
    get_user_model().objects.filter(pk=user.pk).update(is_active=False)


def make_unusable(user: Any) -> None:
    user.set_unusable_password()
    user.save()


class TestEnumeration:
    @pytest.mark.parametrize(
        ("name", "password", "change"),
        [
            ("nobody", "correct horse", None),
            ("alice", "wrong", None),
            ("alice", "correct horse", deactivate),
            ("alice", "wrong", deactivate),
            ("alice", "correct horse", make_unusable),
        ],
    )
    def test_every_refused_login_costs_one_hash_and_gets_one_answer(
        self, user: Any, client: Any, hashed: list[str], name: str, password: str, change: Any
    ) -> None:
        if change:
            change(user)
        hashed.clear()
        answer = log_in(client, name, password)
        assert len(hashed) == 1
        assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.UNAUTHORIZED, "invalid_credentials")
        assert answer["WWW-Authenticate"] == 'Bearer realm="api"'

    def test_a_good_login_costs_one_hash(self, user: Any, client: Any, hashed: list[str]) -> None:
        hashed.clear()
        assert log_in(client, "alice", "correct horse").status_code == HTTPStatus.OK
        assert len(hashed) == 1

    def test_an_unknown_name_is_limited_as_a_known_one_and_then_costs_none(
        self, user: Any, client: Any, hashed: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(throttling.OutcomeThrottle, "timer", lambda self: 3600 * 500_000.0 + 30)
        answers = {name: [log_in(client, name) for _ in range(21)] for name in ("alice", "nobody")}
        told = {
            name: [(answer.status_code, answer.content, answer.get("Retry-After")) for answer in given]
            for name, given in answers.items()
        }
        assert told["alice"] == told["nobody"]
        assert told["alice"][-1][0] == HTTPStatus.TOO_MANY_REQUESTS
        hashed.clear()
        for name in answers:
            assert log_in(client, name, "correct horse").status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert hashed == []


class TestBrowser:
    @pytest.fixture
    def browser(self, user: Any) -> Client:
        """A browser that is logged into the site, and sends its cookies wherever another site makes it post."""
        client = Client(enforce_csrf_checks=True, headers={"origin": "https://evil.example"})
        client.force_login(user, "django.contrib.auth.backends.ModelBackend")
        return client

    @pytest.mark.parametrize("path", [OBTAIN, REFRESH, REVOKE])
    @pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain"])
    def test_the_cookies_of_a_victim_do_nothing_at_the_token_endpoints(
        self, browser: Client, pair: TokenPair, path: str, content_type: str
    ) -> None:
        answer = browser.post(path, "x=y", content_type=content_type)
        assert answer.status_code in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}
        assert Session.objects.live().count() == 1

    @pytest.mark.parametrize("method", ["get", "delete"])
    def test_the_cookies_of_a_victim_show_and_end_no_session(
        self, browser: Client, pair: TokenPair, method: str
    ) -> None:
        for path in (SESSIONS, f"{SESSIONS}{pair.session.sid}/"):
            assert getattr(browser, method)(path).status_code == HTTPStatus.UNAUTHORIZED
        assert Session.objects.live().count() == 1

    def test_no_answer_sets_a_cookie_or_lets_another_site_read_it(self, browser: Client, user: Any) -> None:
        body = {"username": "alice", "password": "correct horse"}
        answer = browser.post(OBTAIN, body, content_type="application/json")
        tokens = answer.json()
        authorization = {"authorization": f"Bearer {tokens['access_token']}"}
        answers = [
            answer,
            browser.post(REFRESH, {"refresh_token": tokens["refresh_token"]}, content_type="application/json"),
            browser.get(SESSIONS, headers=authorization),
            browser.post(REVOKE, {"token": tokens["refresh_token"]}, content_type="application/json"),
        ]
        for answer in answers:
            assert answer.status_code == HTTPStatus.OK
            assert not answer.cookies
            assert not [name for name in answer.headers if name.startswith("Access-Control-")]
            assert answer["Cache-Control"].startswith("no-store")
            assert answer["X-Content-Type-Options"] == "nosniff"


def test_a_pair_does_not_show_its_tokens(pair: TokenPair) -> None:
    shown = f"{pair!r} {pair.session!r} {pair}"
    assert pair.access_token not in shown
    assert pair.refresh_token not in shown


def test_the_secret_key_signs_nothing_beside_keys_of_ones_own(user: Any, jwtauth: Any) -> None:
    issuer = "https://id.example.com"
    jwtauth(ISSUER=issuer)
    forged = sessions.start(user).access_token
    jwtauth(ISSUER=issuer, SIGNING_KEYS=[{"ALGORITHM": "ES256", "PRIVATE_KEY": private_pem("ES256")}])
    with pytest.raises(InvalidTokenError) as caught:
        sessions.verify(forged)
    assert caught.value.stage == "key"


def test_who_makes_up_a_session_id_with_a_leaked_key_is_stopped_by_its_removal(user: Any, jwtauth: Any) -> None:
    issuer, leaked, fresh = "https://id.example.com", private_pem("ES256"), private_pem("EdDSA")
    leaked_key = {"ALGORITHM": "ES256", "PRIVATE_KEY": leaked}
    fresh_key = {"ALGORITHM": "EdDSA", "PRIVATE_KEY": fresh}
    jwtauth(ISSUER=issuer, SIGNING_KEYS=[leaked_key])
    forged = sessions.start(user).access_token
    Session.objects.all().delete()
    sessions.revoke_all(user)
    assert sessions.verify(forged), "no session is known, so none can be denied"
    jwtauth(ISSUER=issuer, SIGNING_KEYS=[fresh_key, leaked_key])
    assert sessions.verify(forged)
    jwtauth(ISSUER=issuer, SIGNING_KEYS=[fresh_key])
    with pytest.raises(InvalidTokenError):
        sessions.verify(forged)
