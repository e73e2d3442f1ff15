"""``manage.py jwtauth_inspect``."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from django_jwtauth import sessions
from django_jwtauth.denylist import snapshot
from django_jwtauth.errors import DenylistUnavailableError
from django_jwtauth.issuers import claim_rules, trusted
from django_jwtauth.management.commands import jwtauth_inspect
from django_jwtauth.management.commands.jwtauth_inspect import STAGES
from django_jwtauth.models import Reason, Session
from django_jwtauth.tokens import access
from tests.support import keys
from tests.support.keys import current_claims as claims

KEY = keys.key("ES256")


@pytest.fixture(autouse=True)
def _keys(jwtauth):
    jwtauth(ISSUER=keys.ISSUER, AUDIENCE=keys.AUDIENCE, SIGNING_KEYS=[keys.entry("ES256")])


@pytest.fixture
def inspect(db, capsys):
    """Return the exit code and what was printed."""

    def inspect(*arguments: str) -> tuple[int, str]:
        try:
            call_command("jwtauth_inspect", *arguments)
        except SystemExit as end:
            return end.code, capsys.readouterr().out
        return 0, capsys.readouterr().out

    return inspect


@pytest.fixture
def standard_input(monkeypatch):
    def put(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    return put


def token(header: Any = None, claims_: Any = None, key: Any = KEY) -> str:
    return keys.compact(key, header or keys.header(KEY), claims_ or claims())


REFUSED = {
    "nothing": ("form", lambda: ""),
    "two parts": ("form", lambda: "abc.def"),
    "padding": ("form", lambda: token() + "="),
    "too long": ("form", lambda: token(claims_=claims(x="y" * 9000))),
    "no JSON": ("form", lambda: token(header="no JSON")),
    "claims that are no object": ("form", lambda: token(claims_="[1]")),
    "nesting": ("form", lambda: token(claims_='{"a":' * 1100)),
    "another typ": ("typ", lambda: token(keys.header(KEY, typ="JWT"))),
    "an extension": ("header", lambda: token(keys.header(KEY, crit=["exp"]))),
    "another issuer": ("issuer", lambda: token(claims_=claims(iss="https://other.example"))),
    "an issuer that is no text": ("issuer", lambda: token(claims_=claims(iss=["https://other.example"]))),
    "no issuer": ("issuer", lambda: token(claims_=keys.without(claims(), "iss"))),
    "another kid": ("key", lambda: token(keys.header(KEY, kid="other"))),
    "no kid": ("key", lambda: token(keys.without(keys.header(KEY), "kid"))),
    "another algorithm": ("key", lambda: token(keys.header(KEY, alg="ES384"))),
    "another key": ("signature", lambda: token(key=keys.key("ES256", "second"))),
    "no subject": ("claims", lambda: token(claims_=claims(sub=""))),
    "an id of another form": ("claims", lambda: token(claims_=claims(jti="1"))),
    "a scope that is no text": ("claims", lambda: token(claims_=claims(scope=1))),
    "a token bound to a key": ("claims", lambda: token(claims_=claims(cnf={}))),
    "another audience": ("audience", lambda: token(claims_=claims(aud="others"))),
    "an expired one": ("clock", lambda: token(claims_=claims(exp=int(time.time()) - 60))),
    "one of the future": ("clock", lambda: token(claims_=claims(nbf=int(time.time()) + 60))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_token_is_told_with_the_stage(inspect, name):
    stage, make = REFUSED[name]
    code, out = inspect(make())
    assert code == 1
    assert out.startswith(f"Access token: REFUSED at the stage {stage!r}: {STAGES[stage]}.\n")


def test_every_stage_that_refuses_is_explained_and_no_other_is():
    raised = {
        stage
        for module in (access, claim_rules, trusted, snapshot)
        for stage in re.findall(r'raise \w+TokenError(?:\("(\w+)"\))?', Path(module.__file__).read_text())
    }
    assert raised == set(STAGES)
    assert {stage for stage, _ in REFUSED.values()} | {"denylist"} == set(STAGES)


def test_a_good_token_is_told_with_header_claims_expiry_and_session(inspect, pair):
    code, out = inspect(pair.access_token)
    assert code == 0
    assert out.startswith("Access token: would be accepted now.\nHeader:\n{")
    assert '"typ": "at+jwt"' in out
    assert f'"sid": "{pair.session.sid}"' in out
    assert "UNVERIFIED" not in out
    assert re.search(r"^exp: in (599|600) s$", out, re.MULTILINE)
    expiry = pair.session.expires_at.isoformat()
    assert out.endswith(f"Session: live until {expiry}; its user '{pair.session.user_id}' is active\n")


class TestWhatIsShown:
    def test_of_a_token_that_is_not_authentic_is_marked(self, inspect):
        _, out = inspect(token(key=keys.key("ES256", "second")))
        assert "Header (UNVERIFIED: anybody can have written this):\n{" in out
        assert "Claims (UNVERIFIED: anybody can have written this):\n{" in out
        assert "Session" not in out
        assert "exp:" not in out

    def test_of_one_that_is_authentic_is_not_though_it_is_refused(self, inspect):
        _, out = inspect(token(claims_=claims(exp=int(time.time()) - 60)))
        assert "UNVERIFIED" not in out
        assert re.search(r"^exp: 6\d s ago$", out, re.MULTILINE)

    @pytest.mark.parametrize("name", REFUSED)
    def test_is_never_the_token(self, inspect, name):
        text = REFUSED[name][1]()
        _, out = inspect(text)
        assert not any(segment in out for segment in text.split(".") if len(segment) > 3)

    def test_is_nothing_of_what_is_no_token(self, inspect):
        _, out = inspect("hunter2")
        assert out == f"Access token: REFUSED at the stage 'form': {STAGES['form']}.\n"

    @pytest.mark.parametrize("segment", ["é", "A", "____", "W" * 3, keys.segment("[" * 100_000)])
    def test_says_so_where_it_cannot_be_read(self, inspect, segment):
        _, out = inspect(f"{segment}.e30.e30")
        assert "Header (UNVERIFIED: anybody can have written this):\ncannot be read\n" in out

    def test_cannot_steer_a_terminal(self, inspect):
        text = "\x1b]0;title\x07\x9b2J\x7f\u202e\ud800\n"
        forged = {"typ": text, text: [text]}
        _, out = inspect(token(forged, json.dumps({"iss": text, **forged})))
        assert set(out) <= set(map(chr, range(32, 127))) | {"\n"}
        assert out.count("\\u001b") == 7
        shown = out.partition(":\n")[2].partition("\nClaims")[0]
        assert json.loads(shown) == forged


class TestState:
    def test_a_revoked_session(self, inspect, pair):
        sessions.revoke(pair.session, Reason.ADMIN)
        code, out = inspect(pair.access_token)
        assert code == 1
        assert out.startswith("Access token: REFUSED at the stage 'denylist': it was revoked, or its session was.\n")
        assert re.search(r"^Session: ended at \S+ \(admin\); its user '\d+' is active$", out, re.MULTILINE)

    def test_an_inactive_user_and_an_expired_session(self, inspect, pair, user, django_user_model):
        django_user_model.objects.update(is_active=False)
        Session.objects.update(expires_at=timezone.now() - timedelta(days=1))
        code, out = inspect(pair.access_token)
        assert code == 0
        assert re.search(rf"^Session: expired at \S+; its user '{user.pk}' is inactive$", out, re.MULTILINE)

    def test_a_session_that_is_gone(self, inspect, pair):
        Session.objects.all().delete()
        assert inspect(pair.access_token)[1].endswith("\nSession: gone, and perhaps its user\n")

    def test_a_token_of_another_issuer_has_no_session_here(self, inspect, jwtauth):
        other, key = "https://other.example", keys.key("ES256", "second")
        trusted = {"KEYS": [keys.public_entry("ES256", "second")], "AUDIENCE": "here"}
        jwtauth(TRUSTED_ISSUERS={other: trusted})
        theirs = token(keys.header(key), claims(iss=other, aud="here"), key)
        code, out = inspect(theirs)
        assert (code, "Session" in out, "UNVERIFIED" in out) == (0, False, False)
        code, out = inspect(token(keys.header(key), claims(iss=other), key))
        assert (code, out.startswith("Access token: REFUSED at the stage 'audience'")) == (1, True)

    def test_without_a_database_the_token_is_judged_and_nothing_else(self, inspect, pair, monkeypatch):
        sessions.verify(pair.access_token)
        monkeypatch.setattr(jwtauth_inspect, "_find", fail)
        code, out = inspect(pair.access_token)
        assert (code, out.splitlines()[-1]) == (0, "Session: not known, because no database answers")
        with pytest.raises(CommandError, match="The database does not answer"):
            inspect(pair.refresh_token)

    def test_without_a_denylist_nothing_can_be_told(self, inspect, pair, monkeypatch):
        monkeypatch.setattr(snapshot.denylist, "_renewed", fail_to_tell)
        code, out = inspect(pair.access_token)
        assert code == 1
        assert out.startswith("Access token: REFUSED for now: denylist_unavailable.\n")


def fail(*arguments: Any) -> None:
    raise OperationalError


def fail_to_tell(*arguments: Any) -> None:
    raise DenylistUnavailableError


class TestRefreshTokens:
    def first_line(self, pair, kind):
        return f"Refresh token of the session {pair.session.sid}: {kind}.\n"

    def test_the_current_one_of_a_live_session(self, inspect, pair):
        code, out = inspect(pair.refresh_token)
        assert code == 0
        assert out.startswith(self.first_line(pair, "the current one") + "Session: live until ")

    def test_older_ones_are_told_and_change_nothing(self, inspect, pair):
        second = sessions.refresh(pair.refresh_token)
        code, out = inspect(pair.refresh_token)
        assert (code, out.partition("Session:")[0]) == (1, self.first_line(pair, "the one before the current one"))
        third = sessions.refresh(second.refresh_token)
        before = Session.objects.values().get()
        code, out = inspect(pair.refresh_token)
        assert (code, out.partition("Session:")[0]) == (1, self.first_line(pair, "an old one, whose use ends it"))
        assert Session.objects.values().get() == before
        assert inspect(third.refresh_token)[0] == 0

    def test_one_of_the_future(self, inspect, pair):
        second = sessions.refresh(pair.refresh_token)
        Session.objects.update(generation=0)
        code, out = inspect(second.refresh_token)
        assert (code, out.partition("Session:")[0]) == (1, self.first_line(pair, "one of its future"))

    def test_one_of_an_ended_session(self, inspect, pair):
        sessions.revoke(pair.session)
        code, out = inspect(pair.refresh_token)
        assert code == 1
        assert "Session: ended at " in out

    def test_one_of_a_user_who_is_inactive(self, inspect, pair, django_user_model):
        django_user_model.objects.update(is_active=False)
        code, out = inspect(pair.refresh_token)
        assert (code, out.endswith(" is inactive\n")) == (1, True)

    def test_one_from_before_a_password_changed_in_bulk(self, inspect, pair, django_user_model):
        django_user_model.objects.update(password="!another")
        code, out = inspect(pair.refresh_token)
        assert (code, out.endswith(" is active, with another password since\n")) == (1, True)

    def test_one_from_before_a_key_changed_is_good_while_its_key_is_a_fallback(self, inspect, pair, settings):
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "x" * 50, [settings.SECRET_KEY]
        code, out = inspect(pair.refresh_token)
        assert (code, out.endswith(" is active\n")) == (0, True)

    def test_one_that_is_damaged_forged_or_of_no_session(self, inspect, pair):
        whole = pair.refresh_token
        assert inspect("jrt_abc") == (1, "Refresh token: not whole, or never one of ours.\n")
        forged = whole[:-3] + ("A" if whole[-3] != "A" else "B") + whole[-2:]
        unknown = (1, "Refresh token: of no session here, or made under another SECRET_KEY or ISSUER.\n")
        assert inspect(forged) == unknown
        Session.objects.all().delete()
        assert inspect(whole) == unknown

    def test_it_is_never_shown(self, inspect, pair):
        assert pair.refresh_token[4:] not in inspect(pair.refresh_token)[1]


class TestStandardInput:
    @pytest.mark.parametrize("arguments", [(), ("-",)])
    def test_the_token_is_read_from_there(self, inspect, standard_input, pair, arguments):
        standard_input(f"  {pair.access_token}\r\nmore\n".encode())
        assert inspect(*arguments)[0] == 0

    @pytest.mark.parametrize("data", [b"", b"\n", b"\xff\xfe\0", b"x" * 1_000_000])
    def test_anything_else_is_refused(self, inspect, standard_input, data):
        standard_input(data)
        code, out = inspect()
        assert code == 1
        assert "REFUSED at the stage 'form'" in out

    def test_a_terminal_does_not_show_it(self, inspect, pair, monkeypatch):
        monkeypatch.setattr(sys, "stdin", Terminal())
        monkeypatch.setattr("getpass.getpass", lambda prompt: pair.access_token)
        assert inspect()[0] == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_settings_that_cannot_be_used_are_told(inspect, settings):
    settings.JWTAUTH = {"LEEWAY": 5}
    with pytest.raises(CommandError, match="LEEWAY"):
        inspect("x")


def test_no_stage_reaches_a_client(client, db):
    for _, make in REFUSED.values():
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {make()}".encode("ascii", "replace").decode())
        answer = client.get("/api/ping/")
        assert answer.json()["detail"] in {"The token is invalid.", "The token has expired."}
        assert set(answer.json()) == {"detail", "code"}
