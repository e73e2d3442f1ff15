"""H. Logging out and managing sessions"""

from __future__ import annotations

from http import HTTPStatus

import pytest

from tests.conformance.conftest import OBTAIN, REVOKE, claims_of
from tests.conformance.registry import OWN, states
from tests.conformance.tokens import signing_key, token
from tests.support.ageing import turn_clocks
from tests.support.answers import assert_grant_refused

SESSIONS = "/auth/sessions/"


@pytest.fixture
def is_over(call, refresh):
    """Return a function that tells whether a session is over; half of it is a failure."""

    def is_over(tokens):
        statuses = {call(tokens["access_token"]).status_code, refresh(tokens["refresh_token"]).status_code}
        assert len(statuses) == 1
        return statuses == {HTTPStatus.UNAUTHORIZED}

    return is_over


@states(
    88,
    "`POST token/revoke/` with a refresh token, as JSON or as a form, ends its session.",
    "RFC 7009 section 2.1",
    "RFC 7009 section 2.2",
)
@pytest.mark.parametrize("form", ["json", "multipart", "urlencoded"])
def test_logging_out(client, tokens, refresh, refuses, form):
    body = {"token": tokens["refresh_token"]}
    if form == "urlencoded":
        content_type = "application/x-www-form-urlencoded"
        answer = client.post(REVOKE, f"token={tokens['refresh_token']}", content_type=content_type)
    else:
        answer = client.post(REVOKE, body, format=form)
    assert answer.status_code == HTTPStatus.OK
    assert_grant_refused(refresh(tokens["refresh_token"]), "token_revoked")
    refuses(tokens["access_token"], "token_revoked")


@states(
    89,
    "An unknown, expired or revoked token, and garbage, is answered with 200 and changes nothing.",
    "RFC 7009 section 2.2",
)
def test_tokens_that_end_nothing(tokens, log_in, revoke, is_over, monkeypatch):
    other = log_in().json()
    assert revoke(other["refresh_token"]).status_code == HTTPStatus.OK
    forged = token(claims=claims_of(tokens["access_token"]), key=signing_key("ES256", "attacker"))
    texts = [
        "x",
        "a.b.c",
        "jrt_x",
        "\0",
        "é",
        "x" * 9000,
        tokens["refresh_token"][:-1] + "B",
        tokens["access_token"] + "x",
    ]
    for text in (*texts, forged, other["refresh_token"], other["access_token"]):
        assert revoke(text).status_code == HTTPStatus.OK
    with monkeypatch.context() as later:
        turn_clocks(later, 605)
        assert revoke(tokens["access_token"]).status_code == HTTPStatus.OK
    assert not is_over(tokens)


@states(
    90,
    "Without `token` the answer is 400, and to another method than `POST` 405.",
    "RFC 7009 section 2.1",
    "RFC 7009 section 2.2.1",
)
def test_bad_requests(db, client):
    for body in ({}, {"refresh_token": "x"}, {"token": ""}, {"token": None}, {"token": 1}, {"token": ["x"]}):
        answer = client.post(REVOKE, body, format="json")
        assert answer.status_code == HTTPStatus.BAD_REQUEST
        assert set(answer.json()) == {"token"}
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        assert client.generic(method, f"{REVOKE}?token=x").status_code == HTTPStatus.METHOD_NOT_ALLOWED


@states(91, "A `token_type_hint` that is wrong or unknown is ignored.", "RFC 7009 section 2.1")
@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "unknown", "", None, 1, ["x"]])
@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
def test_hints(client, tokens, is_over, name, hint):
    answer = client.post(REVOKE, {"token": tokens[name], "token_type_hint": hint}, format="json")
    assert answer.status_code == HTTPStatus.OK
    assert is_over(tokens)


@states(92, "An access token ends its session.", "RFC 7009 section 2.1")
def test_an_access_token(tokens, log_in, revoke, is_over):
    other = log_in().json()
    assert revoke(tokens["access_token"]).status_code == HTTPStatus.OK
    assert is_over(tokens)
    assert not is_over(other)


@states(
    93,
    "`sessions/` lists and ends one's own sessions and no others; that of another user is 404, and `others=true` "
    "spares the current one.",
    OWN,
)
class TestSessions:
    @pytest.fixture
    def others(self, other_user, client):
        """The tokens of bob."""
        return client.post(OBTAIN, {"username": "bob", "password": "battery staple"}, format="json").json()

    @pytest.fixture
    def as_alice(self, tokens, bearer):
        return bearer(tokens["access_token"])

    def sid_of(self, tokens):
        return claims_of(tokens["access_token"])["sid"]

    def test_listing(self, as_alice, tokens, log_in, others):
        second = log_in().json()
        listed = as_alice.get(SESSIONS).json()
        assert {item["id"]: item["current"] for item in listed} == {
            self.sid_of(tokens): True,
            self.sid_of(second): False,
        }

    def test_ending_one(self, as_alice, tokens, log_in, others, is_over):
        second = log_in().json()
        for sid in (self.sid_of(others), "A" * 22, "x", "é"):
            assert as_alice.delete(f"{SESSIONS}{sid}/").status_code == HTTPStatus.NOT_FOUND
        assert as_alice.delete(f"{SESSIONS}{self.sid_of(second)}/").status_code == HTTPStatus.NO_CONTENT
        assert [is_over(pair) for pair in (second, tokens, others)] == [True, False, False]

    @pytest.mark.parametrize(("query", "spared"), [("", False), ("?others=true", True), ("?others=false", False)])
    def test_ending_all(self, as_alice, tokens, log_in, others, is_over, query, spared):
        second = log_in().json()
        assert as_alice.delete(SESSIONS + query).status_code == HTTPStatus.NO_CONTENT
        assert [is_over(pair) for pair in (second, tokens, others)] == [True, not spared, False]
