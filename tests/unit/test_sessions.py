"""start, verify, refresh, revoke, revoke_all: what they promise, called from Python."""

from __future__ import annotations

import base64
import json
import logging
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from unittest.mock import patch

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser, Group
from django.contrib.auth.signals import user_logged_in
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.backends.base.operations import BaseDatabaseOperations
from django.db.models import IntegerField
from django.test import RequestFactory
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.views.debug import ExceptionReporter

from django_jwtauth import pruning, sessions, signals, users
from django_jwtauth.db import retry as races
from django_jwtauth.db import user_rows
from django_jwtauth.denylist.snapshot import denylist
from django_jwtauth.errors import (
    CredentialsError,
    ExpiredTokenError,
    InvalidTokenError,
    ReusedTokenError,
    RevokedTokenError,
    UnavailableError,
)
from django_jwtauth.jose.encoding import new_id
from django_jwtauth.models import MAX_GENERATION, DenylistEntry, Reason, Session
from django_jwtauth.test import JWTClient
from django_jwtauth.tokens import refresh as refresh_tokens
from tests.support.ageing import age
from tests.support.statements import failing, statements


def claims_of(access_token):
    payload = access_token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


def lost_race(code, attribute="sqlstate"):
    """Return the error by which Django tells that a driver was told of a lost race."""
    cause = Exception(code, "what the server says beside it")
    setattr(cause, attribute, code)
    error = OperationalError()
    error.__cause__ = cause
    return error


@pytest.fixture
def received(request):
    """Return a function that connects to a signal and gives the list of what it received."""

    def listen(signal):
        calls = []

        def receiver(sender, **arguments):
            calls.append(arguments)

        signal.connect(receiver, weak=False)
        request.addfinalizer(lambda: signal.disconnect(receiver))
        return calls

    return listen


def hook_with_scope(user, session, request):
    return {"scope": "read write", "team": {"ids": [1, 2]}, "agent": request and request.META["HTTP_USER_AGENT"]}


@contextmanager
def a_column_that_nobody_fills():
    """Give the table of sessions a column that a session cannot be stored without."""
    column = IntegerField()
    column.set_attributes_from_name("unknown")
    column.model = Session
    with connection.schema_editor() as editor, patch.object(editor, "effective_default", lambda field: None):
        editor.add_field(Session, column)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            editor.remove_field(Session, column)


def copy_of(session, days_later=0):
    """Return another session of the same user, not yet stored."""
    values = {field.attname: getattr(session, field.attname) for field in Session._meta.concrete_fields}
    created_at = session.created_at + timedelta(days=days_later)
    return Session(**values | {"id": new_id(), "created_at": created_at})


class TestStart:
    def test_a_token_pair_tells_how_long_it_is_good(self, user):
        pair = sessions.start(user)
        claims = claims_of(pair.access_token)
        assert pair.token_type == "Bearer"
        assert pair.expires_in == claims["exp"] - claims["iat"] == 600
        assert pair.refresh_expires_in == 14 * 24 * 3600

    def test_the_access_token_names_user_session_issuer_and_audience(self, user):
        pair = sessions.start(user)
        claims = claims_of(pair.access_token)
        assert set(claims) == {"iss", "sub", "aud", "exp", "iat", "jti", "sid"}
        assert claims["sub"] == str(user.pk)
        assert claims["sid"] == pair.session.sid
        assert claims["iss"] == claims["aud"] == "django-jwtauth"

    def test_all_audiences_are_written(self, user, jwtauth):
        jwtauth(AUDIENCE=["web", "mobile"])
        assert claims_of(sessions.start(user).access_token)["aud"] == ["web", "mobile"]

    def test_the_row_holds_no_token(self, pair):
        row = Session.objects.values().get()
        text = " ".join(map(str, row.values()))
        assert pair.refresh_token not in text
        assert pair.access_token not in text
        for value in row.values():
            with pytest.raises(InvalidTokenError):
                sessions.refresh(str(value))

    def test_a_session_lives_as_long_as_the_settings_say(self, user, jwtauth):
        jwtauth(REFRESH_TOKEN_LIFETIME=timedelta(days=2), SESSION_LIFETIME=timedelta(days=5))
        session = sessions.start(user).session
        assert session.expires_at - session.created_at == timedelta(days=2)
        assert session.ends_at - session.created_at == timedelta(days=5)

    def test_the_row_tells_by_the_clock_of_the_database_when_it_began(self, user, monkeypatch):
        now = timezone.now()
        monkeypatch.setattr(timezone, "now", lambda: now + timedelta(hours=2))
        sessions.start(user)
        row = Session.objects.get()
        assert row.created_at == row.refreshed_at
        assert abs(row.created_at - now) < timedelta(minutes=1)

    def test_a_lifetime_of_its_own_replaces_the_session_lifetime(self, user):
        pair = sessions.start(user, lifetime=timedelta(hours=1))
        assert pair.refresh_expires_in == 3600
        assert pair.session.ends_at - pair.session.created_at == timedelta(hours=1)
        with pytest.raises(TypeError):
            sessions.start(user, None, timedelta(hours=1))

    def test_no_access_token_outlives_its_session(self, user):
        pair = sessions.start(user, lifetime=timedelta(seconds=30))
        assert pair.expires_in <= 30
        assert claims_of(pair.access_token)["exp"] <= pair.session.ends_at.timestamp()

    def test_the_row_covers_the_access_token(self, pair):
        session = Session.objects.get()
        assert session.access_expires_at.timestamp() == claims_of(pair.access_token)["exp"]

    @pytest.mark.parametrize("use_tz", [True, False])
    @pytest.mark.parametrize("time_zone", ["UTC", "Asia/Kolkata", "America/New_York"])
    def test_its_times_are_those_of_the_time_zone_that_django_keeps(self, user, settings, use_tz, time_zone):
        settings.USE_TZ, settings.TIME_ZONE = use_tz, time_zone
        sessions.refresh(sessions.start(user).refresh_token)
        session = Session.objects.get()
        for at in (session.created_at, session.refreshed_at):
            assert abs(at - timezone.now()) < timedelta(minutes=1)

    def test_client_and_address_are_recorded(self, user):
        request = RequestFactory().post("/", headers={"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0"})
        sessions.start(user, request)
        session = Session.objects.get()
        assert (session.ip_address, session.user_agent) == ("127.0.0.1", "Firefox on Linux")

    def test_no_client_is_recorded_when_switched_off(self, user, jwtauth):
        jwtauth(RECORD_CLIENT=False)
        sessions.start(user, RequestFactory().post("/", headers={"user-agent": "curl/8"}))
        session = Session.objects.get()
        assert (session.ip_address, session.user_agent) == (None, "")

    def test_an_inactive_user_gets_no_session(self, user):
        user.is_active = False
        with pytest.raises(CredentialsError):
            sessions.start(user)
        assert not Session.objects.exists()

    @pytest.mark.django_db(transaction=True)
    def test_a_user_deleted_meanwhile_gets_no_session(self, transactional_db):
        user = get_user_model().objects.create_user("ghost")
        get_user_model().objects.filter(pk=user.pk).delete()
        with pytest.raises((CredentialsError, IntegrityError)) as caught:
            sessions.start(user)
        assert caught.type is CredentialsError

    def test_signals_are_sent_with_the_request(self, user, received, django_capture_on_commit_callbacks):
        started, logged_in = received(signals.session_started), received(user_logged_in)
        request = RequestFactory().post("/")
        with django_capture_on_commit_callbacks(execute=True):
            pair = sessions.start(user, request)
            assert not started
        assert [call["session"] for call in started] == [pair.session]
        assert started[0]["request"] is logged_in[0]["request"] is request
        user.refresh_from_db()
        assert user.last_login is not None

    @pytest.mark.django_db(transaction=True)
    def test_an_error_of_the_database_is_not_told_as_wrong_credentials(self, transactional_db, client):
        get_user_model().objects.create_user("alice", password="correct horse")
        with a_column_that_nobody_fills():
            client.raise_request_exception = False
            answer = client.post("/auth/token/", {"username": "alice", "password": "correct horse"}, format="json")
            assert answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
            for context in (nullcontext, transaction.atomic):
                with pytest.raises(DatabaseError), context():
                    sessions.start(get_user_model().objects.get())

    @pytest.mark.parametrize(
        "lifetime",
        [*(timedelta(seconds=seconds) for seconds in (0, -1, 0.5)), timedelta.max, timedelta.min, 3600, "1h", True],
    )
    def test_a_lifetime_that_makes_no_session_is_an_error_that_says_why(self, user, lifetime):
        with pytest.raises(ValueError, match=r"Write a timedelta from a second to 36500 days"):
            sessions.start(user, lifetime=lifetime)
        assert not Session.objects.exists()

    @pytest.mark.parametrize("lifetime", [timedelta(seconds=1), timedelta(days=36_500)])
    def test_the_shortest_and_the_longest_lifetime(self, user, lifetime):
        pair = sessions.start(user, lifetime=lifetime)
        assert 0 < pair.refresh_expires_in <= lifetime.total_seconds()
        assert pair.session.ends_at - pair.session.created_at == lifetime

    def test_a_receiver_that_raises_changes_nothing(self, user, request, django_capture_on_commit_callbacks):
        def receiver(**kwargs):
            raise RuntimeError

        for signal in (signals.session_started, user_logged_in):
            signal.connect(receiver)
            request.addfinalizer(lambda signal=signal: signal.disconnect(receiver))
        with django_capture_on_commit_callbacks(execute=True):
            pair = sessions.start(user)
        assert sessions.verify(pair.access_token).sub == str(user.pk)

    def test_over_the_cap_the_oldest_session_ends(self, user, other_user, jwtauth):
        jwtauth(MAX_SESSIONS_PER_USER=2)
        oldest, middle = sessions.start(user), sessions.start(user)
        foreign = sessions.start(other_user)
        age(oldest.session, timedelta(minutes=1))
        newest = sessions.start(user)
        with pytest.raises(RevokedTokenError):
            sessions.verify(oldest.access_token)
        assert Session.objects.get(pk=oldest.session.pk).revoke_reason == Reason.LIMIT
        for pair in (middle, newest, foreign):
            assert sessions.verify(pair.access_token)

    def test_the_one_that_has_just_begun_is_never_the_oldest(self, user, jwtauth):
        jwtauth(MAX_SESSIONS_PER_USER=2)
        others = [sessions.start(user) for _ in range(2)]
        for number, other in enumerate(others):
            # By a clock that was set back since.
            age(other.session, timedelta(hours=number - 2))
        newest = sessions.start(user)
        assert sessions.verify(newest.access_token)
        assert list(Session.objects.live().order_by("created_at").values_list("pk", flat=True)) == [
            newest.session.pk,
            others[0].session.pk,
        ]

    def test_what_is_too_young_to_be_true_is_older(self, user, jwtauth):
        jwtauth(MAX_SESSIONS_PER_USER=1)
        age(sessions.start(user).session, timedelta(seconds=-90))
        newest = sessions.start(user)
        assert Session.objects.live().get() == newest.session

    def test_what_is_a_little_younger_is_younger(self, user, jwtauth):
        others = [sessions.start(user).session for _ in range(5)]
        for number, other in enumerate(others, 1):
            age(other, timedelta(seconds=-10 * number))
        jwtauth(MAX_SESSIONS_PER_USER=3)
        sessions.start(user)
        assert set(Session.objects.live()) == set(others[2:])

    def test_a_login_ends_no_more_than_500_at_once(self, user, jwtauth):
        jwtauth(MAX_SESSIONS_PER_USER=2)
        begun = sessions.start(user).session
        begun.refresh_from_db()
        Session.objects.bulk_create(copy_of(begun) for _ in range(600))
        left = []
        for _ in range(2):
            newest = sessions.start(user)
            left.append(Session.objects.live().count())
            assert sessions.verify(newest.access_token)
        assert left == [102, 2]

    def test_by_default_a_user_has_no_more_than_1000(self, user, other_user):
        begun = sessions.start(user).session
        age(begun, timedelta(days=1))
        begun.refresh_from_db()
        Session.objects.bulk_create(copy_of(begun, days_later=n % 2) for n in range(1000))
        newest, foreign = sessions.start(user), sessions.start(other_user)
        assert Session.objects.live().filter(user=user).count() == 1000
        assert sessions.verify(newest.access_token)
        assert sessions.verify(foreign.access_token)

    def test_the_cap_can_be_lifted(self, user, jwtauth):
        jwtauth(MAX_SESSIONS_PER_USER=None)
        begun = sessions.start(user).session
        begun.refresh_from_db()
        Session.objects.bulk_create(copy_of(begun) for _ in range(1000))
        sessions.start(user)
        assert Session.objects.live().count() == 1002

    @pytest.mark.parametrize("cap", [1, 2])
    def test_logins_at_once_end_none_too_many(self, user, jwtauth, monkeypatch, cap):
        jwtauth(MAX_SESSIONS_PER_USER=cap)
        end_oldest, revoke_each = sessions._end_oldest, sessions.revoke_each
        begun, ends = [], []
        # All begin, then all look for the oldest, then all end it.
        monkeypatch.setattr(sessions, "_end_oldest", lambda *arguments: begun.append(arguments))
        monkeypatch.setattr(sessions, "revoke_each", lambda *arguments: ends.append(arguments))
        for _ in range(3):
            sessions.start(user)
        for arguments in begun:
            end_oldest(*arguments)
        for arguments in ends:
            revoke_each(*arguments)
        assert Session.objects.live().count() == cap

    def test_the_sender_of_the_login_is_the_model_of_a_lazy_user_as_well(self, user, request):
        senders = []

        def receiver(sender, **arguments):
            senders.append(sender)

        user_logged_in.connect(receiver, sender=type(user))
        request.addfinalizer(lambda: user_logged_in.disconnect(receiver, sender=type(user)))
        sessions.start(SimpleLazyObject(lambda: user))
        assert senders == [type(user)]

    def test_a_key_that_was_given_in_another_form_is_written_as_the_database_has_it(self, user):
        user.pk = f"0{user.pk}"
        claims = sessions.verify(sessions.start(user).access_token)
        assert users.load_user(claims).pk == int(user.pk)


def test_a_token_pair_is_read_only_and_shows_no_token(pair):
    with pytest.raises(FrozenInstanceError):
        pair.expires_in = 3600
    assert pair.access_token not in repr(pair)
    assert pair.refresh_token not in repr(pair)


@pytest.mark.parametrize("name", ["start", "refresh", "find"])
def test_an_error_report_shows_neither_token_nor_hash(user, pair, name):
    function = getattr(sessions, name)
    statement, argument = ("INSERT", user) if name == "start" else ("SELECT", pair.refresh_token)
    with failing(statement, OperationalError()), pytest.raises(OperationalError) as caught:
        function(argument)
    report = ExceptionReporter(None, caught.type, caught.value, caught.tb.tb_next).get_traceback_html()
    assert f"in {name}" in report
    assert pair.refresh_token not in report
    assert user.get_session_auth_hash() not in report


class TestClaimsHook:
    def test_its_claims_are_written_at_start_and_refresh(self, user, jwtauth):
        jwtauth(CLAIMS=f"{__name__}.hook_with_scope")
        request = RequestFactory().post("/", headers={"user-agent": "one"})
        pair = sessions.start(user, request)
        claims = sessions.verify(pair.access_token)
        assert claims.scopes == {"read", "write"}
        assert claims.extra == {"team": {"ids": (1, 2)}, "agent": "one"}
        again = sessions.refresh(pair.refresh_token)
        assert sessions.verify(again.access_token).extra["agent"] is None

    def test_it_sees_user_and_session(self, user, jwtauth):
        seen = []
        jwtauth(CLAIMS=lambda *arguments: seen.append(arguments) or {})
        pair = sessions.start(user)
        assert seen == [(user, pair.session, None)]

    def test_at_a_login_all_times_that_it_sees_are_of_one_moment(self, user, jwtauth):
        seen = []
        jwtauth(CLAIMS=lambda user, session, request: seen.append(vars(session).copy()) or {})
        sessions.start(user, lifetime=timedelta(hours=1))
        [session] = seen
        assert session["created_at"] == session["refreshed_at"] == session["ends_at"] - timedelta(hours=1)

    def test_it_sees_when_the_session_began(self, user, jwtauth):
        jwtauth(CLAIMS=lambda user, session, request: {"auth_time": int(session.created_at.timestamp())})
        pair = sessions.start(user)
        first = sessions.verify(pair.access_token)
        assert abs(first.extra["auth_time"] - first.iat) <= 1
        again = sessions.verify(sessions.refresh(pair.refresh_token).access_token)
        assert abs(again.extra["auth_time"] - first.extra["auth_time"]) <= 1

    @pytest.mark.parametrize("claim", ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "cnf"])
    def test_a_claim_that_the_app_writes_is_refused_by_name_and_nothing_is_stored(self, user, jwtauth, claim):
        jwtauth(CLAIMS=lambda user, session, request: {claim: "x"})
        with pytest.raises(ImproperlyConfigured, match=f"'{claim}'"):
            sessions.start(user)
        assert not Session.objects.exists()

    def test_of_several_such_claims_the_first_by_name_is_told(self, user, jwtauth):
        jwtauth(CLAIMS=lambda user, session, request: {"sub": "x", "aud": "x"})
        with pytest.raises(ImproperlyConfigured, match="'aud'"):
            sessions.start(user)

    def test_a_scope_that_is_no_text_is_refused(self, user, jwtauth):
        jwtauth(CLAIMS=lambda user, session, request: {"scope": ["read"]})
        with pytest.raises(ImproperlyConfigured, match="read write"):
            sessions.start(user)

    @pytest.mark.parametrize(
        "claims", [None, 1, [("a", 1)], {1: "x"}, {"a": {1, 2}}, {"a": float("nan")}, {"a": "\ud800"}]
    )
    def test_what_is_no_json_object_is_refused_and_nothing_is_stored(self, user, jwtauth, claims):
        jwtauth(CLAIMS=lambda user, session, request: claims)
        with pytest.raises(ImproperlyConfigured):
            sessions.start(user)
        assert not Session.objects.exists()

    def test_a_refresh_that_fails_there_loses_nothing(self, pair, jwtauth):
        jwtauth(CLAIMS=lambda user, session, request: {"sub": "x"})
        with pytest.raises(ImproperlyConfigured):
            sessions.refresh(pair.refresh_token)
        jwtauth(CLAIMS=None)
        assert sessions.refresh(pair.refresh_token).session.generation == 1


class TestVerify:
    def test_it_returns_the_claims(self, user, pair):
        claims = sessions.verify(pair.access_token)
        assert (claims.sub, claims.sid, claims.scope) == (str(user.pk), pair.session.sid, None)

    def test_a_refresh_token_is_no_access_token(self, pair):
        with pytest.raises(InvalidTokenError):
            sessions.verify(pair.refresh_token)

    @pytest.mark.parametrize("cache_size", [0, 4096])
    def test_the_clock_is_asked_every_time(self, pair, jwtauth, monkeypatch, cache_size):
        jwtauth(TOKEN_CACHE_SIZE=cache_size)
        claims = sessions.verify(pair.access_token)
        monkeypatch.setattr("time.time", lambda: claims.exp + 5)
        with pytest.raises(ExpiredTokenError):
            sessions.verify(pair.access_token)
        monkeypatch.setattr("time.time", lambda: claims.exp + 4.9)
        assert sessions.verify(pair.access_token)
        monkeypatch.setattr("time.time", lambda: claims.iat - 5.1)
        with pytest.raises(InvalidTokenError):
            sessions.verify(pair.access_token)

    @pytest.mark.parametrize("changes", [{"ISSUER": "other"}, {"AUDIENCE": "other"}, {"AUDIENCE": ["a", "b"]}])
    def test_a_change_of_settings_takes_effect_on_remembered_tokens(self, pair, jwtauth, changes):
        assert sessions.verify(pair.access_token)
        jwtauth(**changes)
        with pytest.raises(InvalidTokenError):
            sessions.verify(pair.access_token)

    def test_any_one_audience_of_ours_is_accepted(self, pair, jwtauth):
        jwtauth(AUDIENCE=["x", "django-jwtauth"])
        assert sessions.verify(pair.access_token)

    def test_a_rotated_secret_key_verifies_as_a_fallback_and_is_refused_when_it_is_gone(self, pair, settings):
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 50, [settings.SECRET_KEY]
        assert sessions.verify(pair.access_token)
        settings.SECRET_KEY_FALLBACKS = []
        with pytest.raises(InvalidTokenError):
            sessions.verify(pair.access_token)


class TestRefresh:
    def test_the_refresh_token_of_another_issuer_is_refused_and_ends_nothing(self, pair, jwtauth, client):
        jwtauth(ISSUER="other")
        with pytest.raises(InvalidTokenError):
            sessions.refresh(pair.refresh_token)
        assert client.post("/auth/token/revoke/", {"token": pair.refresh_token}).status_code == 200
        jwtauth(ISSUER="django-jwtauth")
        assert sessions.refresh(pair.refresh_token).session == pair.session

    def test_it_rotates(self, pair):
        second = sessions.refresh(pair.refresh_token)
        assert second.refresh_token != pair.refresh_token
        assert second.session == pair.session
        assert Session.objects.get().generation == 1
        assert sessions.verify(second.access_token).jti != sessions.verify(pair.access_token).jti

    def test_the_predecessor_gets_the_identical_successor_within_the_leeway(self, pair):
        second, retried = sessions.refresh(pair.refresh_token), sessions.refresh(pair.refresh_token)
        assert retried.refresh_token == second.refresh_token
        assert retried.access_token != second.access_token
        assert Session.objects.get().generation == 1
        assert sessions.refresh(retried.refresh_token)

    def test_the_predecessor_after_the_leeway_is_reuse_and_ends_the_session(self, pair):
        second = sessions.refresh(pair.refresh_token)
        age(pair.session, timedelta(seconds=11))
        with pytest.raises(ReusedTokenError):
            sessions.refresh(pair.refresh_token)
        with pytest.raises(RevokedTokenError):
            sessions.refresh(second.refresh_token)
        with pytest.raises(RevokedTokenError):
            sessions.verify(second.access_token)
        assert Session.objects.get().revoke_reason == Reason.REUSE

    def test_the_leeway_counts_from_the_rotation_and_not_from_a_retry(self, pair):
        get_user_model().objects.update(date_joined=timezone.now() - timedelta(days=1))
        age(pair.session, timedelta(minutes=1))
        sessions.refresh(pair.refresh_token)
        rotated_at = Session.objects.get().refreshed_at
        assert timezone.now() - rotated_at < timedelta(seconds=30)
        sessions.refresh(pair.refresh_token)
        assert Session.objects.get().refreshed_at == rotated_at

    def test_a_leeway_of_zero_allows_no_retry(self, pair, jwtauth):
        jwtauth(REUSE_LEEWAY=timedelta(0))
        sessions.refresh(pair.refresh_token)
        with pytest.raises(ReusedTokenError):
            sessions.refresh(pair.refresh_token)

    def test_neither_does_it_where_the_clock_of_the_database_went_back(self, pair, jwtauth):
        jwtauth(REUSE_LEEWAY=timedelta(0))
        sessions.refresh(pair.refresh_token)
        Session.objects.update(refreshed_at=timezone.now() + timedelta(hours=1))
        with pytest.raises(ReusedTokenError):
            sessions.refresh(pair.refresh_token)

    def test_an_hour_that_daylight_saving_repeats_is_not_forgiven(self, pair):
        sessions.refresh(pair.refresh_token)
        Session.objects.update(refreshed_at=timezone.now() + timedelta(minutes=20))
        with pytest.raises(ReusedTokenError):
            sessions.refresh(pair.refresh_token)

    def test_a_moment_by_which_the_clock_went_back_is_forgiven(self, pair):
        successor = sessions.refresh(pair.refresh_token)
        Session.objects.update(refreshed_at=timezone.now() + timedelta(seconds=5))
        assert sessions.refresh(pair.refresh_token).refresh_token == successor.refresh_token

    def test_the_token_before_the_predecessor_is_reuse_even_within_the_leeway(self, pair):
        sessions.refresh(sessions.refresh(pair.refresh_token).refresh_token)
        with pytest.raises(ReusedTokenError):
            sessions.refresh(pair.refresh_token)

    def test_a_token_of_the_future_is_refused_and_ends_nothing(self, pair, caplog):
        future = refresh_tokens.derive(pair.session.pk, 7, bytes(pair.session.nonce))
        with caplog.at_level(logging.WARNING, "django_jwtauth"), pytest.raises(InvalidTokenError):
            sessions.refresh(future)
        assert pair.session.sid in caplog.text
        assert [record.name for record in caplog.records] == ["django_jwtauth"]
        assert future not in caplog.text
        assert sessions.refresh(pair.refresh_token)

    @pytest.mark.parametrize("guess", ["unknown session", "forged", "garbage"])
    def test_what_is_not_genuine_ends_nothing(self, pair, guess):
        token = {
            "unknown session": refresh_tokens.derive(new_id(), 0, bytes(pair.session.nonce)),
            "forged": refresh_tokens.derive(pair.session.pk, 0, b"x" * 16),
            "garbage": "jrt_garbage",
        }[guess]
        with pytest.raises(InvalidTokenError):
            sessions.refresh(token)
        assert sessions.refresh(pair.refresh_token)

    def test_an_access_token_is_no_refresh_token(self, pair):
        with pytest.raises(InvalidTokenError):
            sessions.refresh(pair.access_token)

    def test_no_refresh_extends_a_session_past_its_end(self, user):
        pair = sessions.start(user, lifetime=timedelta(days=15))
        age(pair.session, timedelta(days=10))
        second = sessions.refresh(pair.refresh_token)
        assert second.refresh_expires_in <= 5 * 24 * 3600
        assert Session.objects.get().expires_at == Session.objects.get().ends_at

    def test_an_unused_session_expires(self, pair):
        age(pair.session, timedelta(days=14))
        with pytest.raises(ExpiredTokenError):
            sessions.refresh(pair.refresh_token)

    def test_a_retry_is_covered_by_the_row_as_well(self, pair):
        sessions.refresh(pair.refresh_token)
        Session.objects.update(access_expires_at=timezone.now() - timedelta(hours=1))
        retried = sessions.refresh(pair.refresh_token)
        assert Session.objects.get().access_expires_at.timestamp() == claims_of(retried.access_token)["exp"]

    def test_the_latest_expiry_handed_out_is_kept_when_the_lifetime_becomes_shorter(self, pair, jwtauth):
        before = Session.objects.get().access_expires_at
        jwtauth(ACCESS_TOKEN_LIFETIME=timedelta(seconds=10))
        second = sessions.refresh(pair.refresh_token)
        assert second.expires_in == 10
        assert Session.objects.get().access_expires_at == before

    def test_revoked_is_refused_on_the_retry_path_too(self, pair):
        second = sessions.refresh(pair.refresh_token)
        sessions.revoke(pair.session)
        for token in (pair.refresh_token, second.refresh_token):
            with pytest.raises(RevokedTokenError):
                sessions.refresh(token)

    @pytest.mark.parametrize("retry", [False, True])
    @pytest.mark.parametrize(
        ("change", "reason"), [({"is_active": False}, Reason.INACTIVE), ({"password": "!x"}, Reason.PASSWORD)]
    )
    def test_a_bulk_change_of_the_user_ends_the_session_at_the_next_refresh(self, user, pair, change, reason, retry):
        if retry:
            sessions.refresh(pair.refresh_token)
        get_user_model().objects.filter(pk=user.pk).update(**change)
        with pytest.raises(RevokedTokenError):
            sessions.refresh(pair.refresh_token)
        assert Session.objects.get().revoke_reason == reason
        with pytest.raises(RevokedTokenError):
            sessions.verify(pair.access_token)

    def test_a_session_whose_user_the_default_manager_hides_is_unknown(self, user, monkeypatch):
        pair = max((sessions.start(user) for _ in range(3)), key=lambda pair: pair.session.pk)
        manager, hidden = type(get_user_model()._default_manager), [user.pk]
        monkeypatch.setattr(
            manager, "get_queryset", lambda self: manager._queryset_class(self.model).exclude(pk__in=hidden)
        )
        user_rows.are_all_visible.cache_clear()
        with pytest.raises(InvalidTokenError):
            sessions.refresh(pair.refresh_token)
        hidden.clear()
        second, retried = sessions.refresh(pair.refresh_token), sessions.refresh(pair.refresh_token)
        monkeypatch.undo()
        user_rows.are_all_visible.cache_clear()
        assert second.refresh_token == retried.refresh_token

    def test_the_other_sessions_of_the_user_stay_as_they_are(self, user, pair):
        other = sessions.start(user)
        before = Session.objects.filter(pk=other.session.pk).values().get()
        sessions.refresh(pair.refresh_token)
        assert Session.objects.filter(pk=other.session.pk).values().get() == before

    def test_a_deleted_session_is_unknown(self, pair):
        Session.objects.all().delete()
        with pytest.raises(InvalidTokenError):
            sessions.refresh(pair.refresh_token)

    def test_address_and_client_follow_the_refresh(self, pair):
        sessions.refresh(pair.refresh_token, RequestFactory().post("/", headers={"user-agent": "curl/8"}))
        assert Session.objects.get().user_agent == "curl"
        sessions.refresh(pair.refresh_token)
        assert Session.objects.get().user_agent == "curl"

    @pytest.mark.parametrize("again", [False, True])
    def test_the_session_that_it_returns_and_tells_is_the_row(
        self, pair, received, again, django_capture_on_commit_callbacks
    ):
        refreshed, request = received(signals.session_refreshed), RequestFactory().post("/")
        age(pair.session, timedelta(hours=1))
        if again:
            sessions.refresh(pair.refresh_token, request)
        with django_capture_on_commit_callbacks(execute=True):
            session = sessions.refresh(pair.refresh_token, request).session
        row = Session.objects.get()
        assert refreshed[-1]["session"] is session
        for field in Session._meta.concrete_fields:
            if field.name != "refreshed_at":
                assert getattr(session, field.attname) == getattr(row, field.attname), field.name
        assert abs(session.refreshed_at - row.refreshed_at) < timedelta(seconds=5)

    def test_a_session_survives_the_two_steps_of_a_secret_key_rotation(self, pair, settings):
        old, new = settings.SECRET_KEY, "n" * 50
        settings.SECRET_KEY_FALLBACKS = [new]
        second = sessions.refresh(pair.refresh_token)
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = new, [old]
        third = sessions.refresh(second.refresh_token)
        settings.SECRET_KEY_FALLBACKS = []
        assert sessions.refresh(third.refresh_token).session.generation == 3

    def test_a_retry_across_a_secret_key_rotation_gets_an_equivalent_successor(self, pair, settings):
        second = sessions.refresh(pair.refresh_token)
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 50, [settings.SECRET_KEY]
        retried = sessions.refresh(pair.refresh_token)
        assert retried.refresh_token != second.refresh_token
        assert sessions.refresh(retried.refresh_token).session.generation == 2

    @pytest.mark.parametrize(
        ("again", "is_told"),
        [
            ({}, False),
            ({"REMOTE_ADDR": "203.0.113.9"}, True),
            ({"HTTP_USER_AGENT": "Mozilla/5.0 (Windows NT 10.0) Firefox/140.0"}, True),
        ],
    )
    def test_a_retry_by_another_client_is_told_by_a_signal(
        self, pair, rf, received, django_capture_on_commit_callbacks, again, is_told
    ):
        client = {"REMOTE_ADDR": "192.0.2.1", "HTTP_USER_AGENT": "curl/8.0"}
        retried = received(signals.refresh_token_retried)
        sessions.refresh(pair.refresh_token, rf.post("/", **client))
        request = rf.post("/", **client | again)
        with django_capture_on_commit_callbacks(execute=True):
            sessions.refresh(pair.refresh_token, request)
            assert retried == []
        assert [(call["session"], call["request"]) for call in retried] == [(pair.session, request)] * is_told
        row = Session.objects.get()
        assert (row.ip_address, row.user_agent) == ("192.0.2.1", "curl")

    @pytest.mark.parametrize("first", [None, "a request"])
    def test_a_retry_of_which_one_client_is_unknown_is_told_by_none(
        self, pair, rf, received, django_capture_on_commit_callbacks, first
    ):
        retried = received(signals.refresh_token_retried)
        requests = [None, rf.post("/", HTTP_USER_AGENT="curl/8.0")]
        with django_capture_on_commit_callbacks(execute=True):
            for request in requests[:: -1 if first else 1]:
                sessions.refresh(pair.refresh_token, request)
        assert retried == []

    def test_reuse_is_told_by_signals_after_commit(self, pair, received, django_capture_on_commit_callbacks):
        reused, revoked = received(signals.refresh_token_reused), received(signals.session_revoked)
        sessions.refresh(sessions.refresh(pair.refresh_token).refresh_token)
        with django_capture_on_commit_callbacks(execute=True), pytest.raises(ReusedTokenError):
            sessions.refresh(pair.refresh_token)
        assert [call["session"] for call in reused] == [pair.session]
        assert [call["reason"] for call in revoked] == [Reason.REUSE]

    def test_reuse_of_a_session_that_another_request_just_ended_is_told_once(
        self, pair, received, monkeypatch, django_capture_on_commit_callbacks
    ):
        reused = received(signals.refresh_token_reused)
        sessions.refresh(sessions.refresh(pair.refresh_token).refresh_token)
        check = sessions._check_refreshable

        def check_then_lose(*arguments):
            check(*arguments)
            Session.objects.update(revoked_at=timezone.now())

        monkeypatch.setattr(sessions, "_check_refreshable", check_then_lose)
        with django_capture_on_commit_callbacks(execute=True), pytest.raises(ReusedTokenError):
            sessions.refresh(pair.refresh_token)
        assert reused == []

    @pytest.mark.parametrize(
        ("meanwhile", "error"),
        [
            ("refreshed twice", ReusedTokenError),
            ({"revoked_at": datetime(2026, 1, 1, tzinfo=UTC)}, RevokedTokenError),
            ({"expires_at": datetime(2026, 1, 1, tzinfo=UTC)}, ExpiredTokenError),
            ({"auth_hash": "that of another password"}, RevokedTokenError),
        ],
    )
    def test_what_was_overtaken_since_the_row_was_read_is_judged_anew(self, pair, monkeypatch, meanwhile, error):
        check = sessions._check_refreshable

        def check_and_be_overtaken(*arguments):
            check(*arguments)
            monkeypatch.setattr(sessions, "_check_refreshable", check)
            if meanwhile == "refreshed twice":
                sessions.refresh(sessions.refresh(pair.refresh_token).refresh_token)
            else:
                Session.objects.update(**meanwhile)

        monkeypatch.setattr(sessions, "_check_refreshable", check_and_be_overtaken)
        with pytest.raises(error):
            sessions.refresh(pair.refresh_token)
        assert Session.objects.get().generation == (2 if meanwhile == "refreshed twice" else 0)

    @pytest.mark.django_db(transaction=True)
    def test_a_loser_of_every_round_is_told_to_try_again_later(self, pair, monkeypatch):
        monkeypatch.setattr(sessions, "_rotate", lambda *arguments: None)
        with pytest.raises(UnavailableError):
            sessions.refresh(pair.refresh_token)

    @pytest.mark.django_db(transaction=True)
    def test_a_serialization_failure_is_a_lost_race(self, pair):
        with failing("UPDATE", lost_race("40001")) as left:
            assert sessions.refresh(pair.refresh_token).session.generation == 1
        assert not left

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize(
        ("error", "is_tried_again"),
        [
            (lost_race("40001"), True),
            (lost_race("40P01", "pgcode"), True),
            (lost_race(1213, "errno"), True),
            (lost_race(1020, "errno"), True),
            (lost_race("57P01"), False),
            (lost_race(2006, "errno"), False),
            (OperationalError("database is locked"), False),
        ],
    )
    def test_only_a_lost_race_is_tried_again(self, pair, error, is_tried_again):
        refused = nullcontext() if is_tried_again else pytest.raises(OperationalError)
        with failing("UPDATE", error) as left, refused:
            assert sessions.refresh(pair.refresh_token)
        assert not left

    def test_inside_a_transaction_of_the_caller_a_database_error_is_the_callers(self, pair):
        with failing("UPDATE", OperationalError()), pytest.raises(OperationalError):
            sessions.refresh(pair.refresh_token)


class TestRevoke:
    def test_it_ends_refresh_and_access(self, pair):
        assert sessions.verify(pair.access_token)
        assert sessions.revoke(pair.session, Reason.ADMIN) is True
        with pytest.raises(RevokedTokenError):
            sessions.verify(pair.access_token)
        with pytest.raises(RevokedTokenError):
            sessions.refresh(pair.refresh_token)

    def test_the_other_sessions_of_the_user_go_on(self, user, pair):
        other = sessions.start(user)
        sessions.revoke(pair.session)
        assert sessions.verify(other.access_token)
        assert sessions.refresh(other.refresh_token)

    def test_once_is_enough(self, pair, received, django_capture_on_commit_callbacks):
        revoked = received(signals.session_revoked)
        with django_capture_on_commit_callbacks(execute=True):
            assert sessions.revoke(pair.session, Reason.ADMIN) is True
            assert sessions.revoke(pair.session, Reason.LOGOUT) is False
        assert Session.objects.get().revoke_reason == Reason.ADMIN
        assert [(call["session"], call["reason"]) for call in revoked] == [(pair.session, Reason.ADMIN)]
        assert DenylistEntry.objects.count() == 1

    def test_the_session_that_was_given_knows_it_once_it_is_committed(self, pair, django_capture_on_commit_callbacks):
        known = Session.objects.get()
        with django_capture_on_commit_callbacks(execute=True):
            sessions.revoke(pair.session, Reason.ADMIN)
            assert (pair.session.revoked_at, pair.session.revoke_reason) == (None, "")
        row = Session.objects.get()
        assert (pair.session.revoked_at, pair.session.revoke_reason) == (row.revoked_at, row.revoke_reason)
        with django_capture_on_commit_callbacks(execute=True):
            sessions.revoke(known, Reason.LOGOUT)
        assert (known.revoked_at, known.revoke_reason) == (None, "")

    @pytest.mark.parametrize("pk", ["x" * 255, "x" * 300])
    def test_the_longest_key_of_a_user_is_no_obstacle(self, pair, pk):
        pair.session.user_id = pk
        sessions.revoke(pair.session)
        assert DenylistEntry.objects.get().user_id == "x" * 255

    def test_the_entry_covers_the_latest_token_not_the_one_that_the_caller_knew(self, user, pair):
        known = Session.objects.get()
        later = known.access_expires_at + timedelta(minutes=7)
        Session.objects.update(access_expires_at=later)
        sessions.revoke(known, "a reason of the project's own")
        Session.objects.get(revoke_reason="a reason of the project's own")
        entry = DenylistEntry.objects.get()
        assert (entry.claim, entry.value, entry.expires_at) == ("sid", pair.session.pk, later)
        assert (entry.user_id, entry.reason) == (str(user.pk), "a reason of the project's own")

    def test_it_denies_again_what_was_allowed_again(self, pair):
        sessions.revoke(pair.session)
        DenylistEntry.objects.all().delete()
        denylist.clear()
        assert sessions.verify(pair.access_token)
        sessions.revoke(pair.session)
        with pytest.raises(RevokedTokenError):
            sessions.verify(pair.access_token)

    def test_a_session_deleted_meanwhile_is_still_denied(self, pair):
        Session.objects.all().delete()
        assert sessions.revoke(pair.session) is False
        with pytest.raises(RevokedTokenError):
            sessions.verify(pair.access_token)

    def test_so_many_writers_at_once_are_served_for_certain(self):
        assert races.ROUNDS == 32

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("failures", [1, races.ROUNDS - 1, races.ROUNDS])
    def test_a_lost_race_is_tried_again_for_so_many_rounds(self, pair, monkeypatch, failures):
        update, left = sessions.SessionQuerySet.update, [lost_race("40P01")] * failures

        def failing_update(self, **changes):
            if left:
                raise left.pop()
            return update(self, **changes)

        monkeypatch.setattr(sessions.SessionQuerySet, "update", failing_update)
        if failures < races.ROUNDS:
            assert sessions.revoke(pair.session) is True
        else:
            with pytest.raises(OperationalError):
                sessions.revoke(pair.session)

    @pytest.fixture
    def failing_updates(self, monkeypatch):
        """Return a function that makes every update fail, and gives the list of those that were tried."""

        def fail_with(error):
            calls = []

            def failing_update(self, **changes):
                calls.append(changes)
                raise error

            monkeypatch.setattr(sessions.SessionQuerySet, "update", failing_update)
            return calls

        return fail_with

    @pytest.mark.parametrize("error", [OperationalError(), lost_race("40P01")])
    def test_a_transaction_of_the_caller_is_not_tried_again(self, pair, failing_updates, error):
        calls = failing_updates(error)
        with pytest.raises(OperationalError):
            sessions.revoke(pair.session)
        assert len(calls) == 1

    @pytest.mark.django_db(transaction=True)
    def test_an_error_that_is_no_lost_race_is_not_tried_again(self, pair, failing_updates):
        calls = failing_updates(OperationalError("down"))
        with pytest.raises(OperationalError):
            sessions.revoke(pair.session)
        assert len(calls) == 1


class TestRevokeAll:
    def test_it_ends_all_sessions_of_the_user_and_no_other(self, user, other_user):
        pairs, foreign = [sessions.start(user) for _ in range(3)], sessions.start(other_user)
        assert sessions.revoke_all(user, Reason.ADMIN) == 3
        for pair in pairs:
            with pytest.raises(RevokedTokenError):
                sessions.verify(pair.access_token)
            with pytest.raises(RevokedTokenError):
                sessions.refresh(pair.refresh_token)
        assert sessions.verify(foreign.access_token)
        assert sessions.refresh(foreign.refresh_token)

    def test_it_spares_one(self, user):
        first, second = sessions.start(user), sessions.start(user)
        assert sessions.revoke_all(user, except_for=second.session) == 1
        with pytest.raises(RevokedTokenError):
            sessions.verify(first.access_token)
        assert sessions.verify(second.access_token)

    def test_a_login_at_the_same_moment_is_ended_wholly_or_not_at_all(self, user, pair, monkeypatch):
        update, later = sessions.SessionQuerySet.update, []

        def update_then_login(self, **changes):
            count = update(self, **changes)
            if "revoked_at" in changes and not later:
                later.append(sessions.start(user))
            return count

        monkeypatch.setattr(sessions.SessionQuerySet, "update", update_then_login)
        assert sessions.revoke_all(user) == 1
        assert sessions.verify(later[0].access_token)
        assert sessions.refresh(later[0].refresh_token)

    def test_it_neither_counts_nor_tells_a_session_that_had_expired(
        self, user, pair, received, django_capture_on_commit_callbacks
    ):
        age(pair.session, timedelta(days=14))
        revoked = received(signals.session_revoked)
        with django_capture_on_commit_callbacks(execute=True):
            assert sessions.revoke_all(user) == 0
        assert revoked == []

    def test_it_denies_what_ended_sessions_still_hold(self, user, pair):
        Session.objects.update(revoked_at=timezone.now())
        assert sessions.verify(pair.access_token)
        assert sessions.revoke_all(user) == 0
        with pytest.raises(RevokedTokenError):
            sessions.verify(pair.access_token)

    @pytest.mark.parametrize(("minutes_ago", "denied"), [(59, True), (61, False)])
    def test_it_denies_what_a_clock_may_accept_that_is_an_hour_behind(self, user, pair, minutes_ago, denied):
        Session.objects.update(access_expires_at=timezone.now() - timedelta(minutes=minutes_ago))
        assert sessions.revoke_all(user) == 1
        assert DenylistEntry.objects.exists() is denied

    def test_an_entry_is_written_while_the_clock_leeway_still_accepts_the_token(self, user, pair):
        Session.objects.update(access_expires_at=timezone.now() - timedelta(seconds=3))
        sessions.revoke_all(user)
        assert DenylistEntry.objects.count() == 1

    def test_every_session_that_it_ended_is_told(self, user, received, django_capture_on_commit_callbacks):
        sessions.revoke(sessions.start(user).session)
        pairs = [sessions.start(user) for _ in range(2)]
        Session.objects.update(access_expires_at=timezone.now() - timedelta(hours=1))
        revoked = received(signals.session_revoked)
        with django_capture_on_commit_callbacks(execute=True):
            sessions.revoke_all(user, Reason.PASSWORD)
        assert {call["session"] for call in revoked} == {pair.session for pair in pairs}
        assert {call["reason"] for call in revoked} == {Reason.PASSWORD}

    def test_two_calls_in_the_same_microsecond_count_no_session_twice(
        self, user, monkeypatch, received, django_capture_on_commit_callbacks
    ):
        moment = timezone.now()
        monkeypatch.setattr(timezone, "now", lambda: moment)
        first, second = (sessions.start(user).session for _ in range(2))
        revoked = received(signals.session_revoked)
        with django_capture_on_commit_callbacks(execute=True):
            assert sessions.revoke_each(Session.objects.filter(pk=first.pk), "first") == 1
            assert sessions.revoke_each(Session.objects.all(), "second") == 1
        assert [(call["session"], call["reason"]) for call in revoked] == [(first, "first"), (second, "second")]
        assert DenylistEntry.objects.count() == 2

    def test_sessions_of_several_users_are_denied_each_with_its_own(self, user, other_user):
        pairs = [sessions.start(owner) for owner in (user, other_user, user)]
        assert sessions.revoke_each(Session.objects.all(), Reason.ADMIN) == 3
        entries = {entry.value: entry for entry in DenylistEntry.objects.all()}
        for session in Session.objects.all():
            entry = entries.pop(session.pk)
            assert (entry.expires_at, entry.user_id) == (session.access_expires_at, str(session.user_id))
            assert (entry.claim, entry.reason) == ("sid", Reason.ADMIN)
        assert not entries
        for pair in pairs:
            with pytest.raises(RevokedTokenError):
                sessions.verify(pair.access_token)

    def test_an_entry_says_whose_the_session_was_until_when_and_why(self, user):
        session = sessions.start(user).session
        before = timezone.now()
        sessions.revoke_all(user, Reason.PASSWORD)
        entry = DenylistEntry.objects.get()
        assert (entry.claim, entry.value, entry.expires_at) == ("sid", session.pk, session.access_expires_at)
        assert (entry.user_id, entry.reason) == (str(user.pk), Reason.PASSWORD)
        assert before <= entry.denied_at <= timezone.now()

    def test_a_queryset_may_depend_on_what_is_changed(self, user):
        sessions.start(user)
        assert sessions.revoke_each(Session.objects.filter(revoked_at=None), Reason.ADMIN) == 1
        assert DenylistEntry.objects.count() == 1


class TestRevokeManyOfOne:
    @pytest.fixture
    def pairs(self, user, monkeypatch):
        """Seven sessions, of which two are told of and the others are ended in batches of three."""
        monkeypatch.setattr(sessions, "MAX_SIGNALLED_SESSIONS", 2)
        monkeypatch.setattr(sessions, "MAX_BATCH_ROWS", 3)
        return [sessions.start(user) for _ in range(7)]

    def test_all_of_them_are_ended_and_denied(self, user, pairs):
        assert sessions.revoke_all(user, Reason.ADMIN) == 7
        assert set(Session.objects.values_list("revoke_reason", flat=True)) == {Reason.ADMIN}
        assert DenylistEntry.objects.count() == 7
        for pair in pairs:
            with pytest.raises(RevokedTokenError):
                sessions.verify(pair.access_token)

    def test_one_is_spared(self, user, pairs):
        assert sessions.revoke_all(user, except_for=pairs[3].session) == 6
        assert Session.objects.live().get() == pairs[3].session

    def test_the_signal_is_sent_for_the_first_and_the_rest_is_counted_in_the_log(
        self, user, pairs, received, caplog, rf, django_capture_on_commit_callbacks
    ):
        caplog.set_level("INFO", "django_jwtauth")
        revoked, request = received(signals.session_revoked), rf.get("/")
        request.user = user
        with django_capture_on_commit_callbacks(execute=True):
            sessions.revoke_all(user, Reason.ADMIN, request=request)
        assert len({call["session"] for call in revoked}) == len(revoked) == 2
        assert all(call["session"].revoke_reason == Reason.ADMIN for call in revoked)
        assert all(call["session"].revoked_at is not None for call in revoked)
        records = [record for record in caplog.records if getattr(record, "event", "") == "sessions_revoked"]
        assert [record.count for record in records] == [3, 2]
        assert {(record.reason, record.actor_id, record.ip_address) for record in records} == {
            (Reason.ADMIN, str(user.pk), "127.0.0.1")
        }
        assert [record.getMessage() for record in records] == [
            "3 more sessions were revoked: admin.",
            "2 more sessions were revoked: admin.",
        ]

    def test_what_had_expired_is_neither_counted_nor_logged(
        self, user, pairs, caplog, django_capture_on_commit_callbacks
    ):
        caplog.set_level("INFO", "django_jwtauth")
        Session.objects.update(expires_at=timezone.now())
        with django_capture_on_commit_callbacks(execute=True):
            assert sessions.revoke_all(user) == 0
        assert Session.objects.filter(revoked_at=None).count() == 0
        assert not caplog.records

    @pytest.mark.django_db(transaction=True)
    def test_outside_of_a_transaction_each_batch_is_committed(self, user, pairs):
        batches = sessions.revoke_in_batches(Session.objects.all(), Reason.ADMIN)
        assert [next(batches), next(batches)] == [2, 3]
        batches.close()
        assert Session.objects.live().count() == 2

    @pytest.mark.django_db(transaction=True)
    def test_inside_of_one_all_are_rolled_back_with_it(self, user, pairs):
        with transaction.atomic():
            assert sessions.revoke_all(user) == 7
            transaction.set_rollback(True)
        assert Session.objects.live().count() == 7
        assert not DenylistEntry.objects.exists()


def end_by(cause, user, pair, request, jwtauth):
    """Have a session end, or go on, in one of the ways that there are."""
    if cause == "logout":
        sessions.revoke(pair.session, request=request)
    elif cause == "logout everywhere":
        sessions.revoke_all(user, request=request)
    elif cause == "one login too many":
        jwtauth(MAX_SESSIONS_PER_USER=1)
        sessions.start(user, request)
    else:
        changes = {"deactivated": {"is_active": False}, "password": {"password": "!x"}}.get(cause)
        if changes:
            get_user_model().objects.filter(pk=user.pk).update(**changes)
        if cause == "reuse":
            sessions.refresh(sessions.refresh(pair.refresh_token).refresh_token)
        with suppress(RevokedTokenError, ReusedTokenError):
            sessions.refresh(pair.refresh_token, request)


@pytest.mark.parametrize(
    ("cause", "names"),
    [
        ("refresh", ["session_refreshed"]),
        ("reuse", ["session_revoked", "refresh_token_reused"]),
        ("deactivated", ["session_revoked"]),
        ("password", ["session_revoked"]),
        ("logout", ["session_revoked"]),
        ("logout everywhere", ["session_revoked"]),
        ("one login too many", ["session_revoked", "session_started"]),
    ],
)
def test_signals_tell_session_and_request(
    user, pair, received, jwtauth, django_capture_on_commit_callbacks, cause, names
):
    request = RequestFactory().post("/")
    calls = {name: received(getattr(signals, name)) for name in names}
    with django_capture_on_commit_callbacks(execute=True):
        end_by(cause, user, pair, request, jwtauth)
    for name, told in calls.items():
        assert told[-1]["request"] is request
        assert (told[-1]["session"] == pair.session) is (name != "session_started")


class TestFind:
    def test_it_finds_the_session_of_each_kind_of_token(self, pair):
        second = sessions.refresh(pair.refresh_token)
        for token in (pair.refresh_token, second.refresh_token, pair.access_token, second.access_token):
            assert sessions.find(token) == pair.session

    def test_it_finds_the_one_among_all(self, user):
        for each in [sessions.start(user) for _ in range(3)]:
            assert sessions.find(each.refresh_token) == sessions.find(each.access_token) == each.session

    @pytest.mark.parametrize("token", [None, 1, b"jrt_x", "", "\ud800"])
    def test_what_is_no_token_at_all_is_refused_as_one(self, db, token):
        assert sessions.find(token) is None
        for function in (sessions.verify, sessions.refresh):
            with pytest.raises(InvalidTokenError):
                function(token)

    def test_it_finds_nothing_by_an_expired_or_forged_token(self, pair, monkeypatch):
        nonce = bytes(pair.session.nonce)
        for token in ("", "jrt_", "a.b.c", pair.access_token[:-2], refresh_tokens.derive(new_id(), 0, nonce)):
            assert sessions.find(token) is None
        assert sessions.find(refresh_tokens.derive(pair.session.pk, 0, b"x" * 16)) is None
        age(pair.session, timedelta(days=15))
        assert sessions.find(pair.refresh_token) is None
        expires = pair.session.access_expires_at.timestamp()
        monkeypatch.setattr("time.time", lambda: expires + 4)
        assert sessions.find(pair.access_token) == pair.session
        monkeypatch.setattr("time.time", lambda: expires + 6)
        assert sessions.find(pair.access_token) is None


def test_at_the_moment_of_its_expiry_a_session_is_over(pair, monkeypatch):
    moment = Session.objects.get().expires_at
    monkeypatch.setattr("django.utils.timezone.now", lambda: moment - timedelta(microseconds=1))
    assert sessions.find(pair.refresh_token) == Session.objects.live().get() == pair.session
    monkeypatch.setattr("django.utils.timezone.now", lambda: moment)
    assert sessions.find(pair.refresh_token) is None
    assert not Session.objects.live().exists()
    with pytest.raises(ExpiredTokenError):
        sessions.refresh(pair.refresh_token)
    assert sessions.revoke_all(pair.session.user) == 0


class TestPrune:
    def test_it_deletes_what_has_expired_and_keeps_what_may_matter(self, user):
        live, kept, expired = (sessions.start(user).session for _ in range(3))
        age(kept, timedelta(days=14, minutes=59))
        age(expired, timedelta(days=14, minutes=61))
        now = timezone.now()
        for ahead in (timedelta(minutes=1), timedelta(minutes=-59), timedelta(minutes=-61)):
            DenylistEntry.objects.create(value=new_id(), expires_at=now + ahead, reason=Reason.ADMIN)
        assert pruning.count_expired() == 2
        assert Session.objects.count() == 3
        assert list(pruning.prune()) == [2]
        assert set(Session.objects.all()) == {live, kept}
        assert DenylistEntry.objects.count() == 2
        assert list(pruning.prune()) == []

    def test_it_stops_where_its_caller_stops_and_goes_on_another_time(self, user):
        for days in (20, 18, 19, 17, 16):
            age(sessions.start(user).session, timedelta(days=days))
        oldest = Session.objects.order_by("expires_at").first()
        assert next(pruning.prune(2)) == 2
        assert Session.objects.count() == 3
        assert not Session.objects.filter(pk=oldest.pk).exists()
        assert list(pruning.prune(2)) == [2, 1]

    def test_a_batch_of_each_table_is_one_statement_or_two_on_mariadb(self, user):
        for _ in range(5):
            age(sessions.start(user).session, timedelta(days=20))
        with statements() as executed:
            assert list(pruning.prune()) == [5]
        # Twice each table; where nothing is found, nothing is deleted.
        assert len(executed) == (5 if connection.vendor == "mysql" else 4)

    def test_what_has_expired_is_asked_once_a_batch(self, user):
        # Asked twice, PostgreSQL may read the batch once for each row: 20,000 of them took 40 s, rather than 0.1.
        age(sessions.start(user).session, timedelta(days=20))
        with statements() as executed:
            assert list(pruning.prune()) == [1]
        deletes = [sql.partition(" IN ")[0] for sql in executed if sql.startswith("DELETE")]
        assert deletes
        assert not [sql for sql in deletes if "expires_at" in sql]

    def test_it_keeps_a_session_whose_access_token_outlives_it_because_the_lifetimes_were_shortened(
        self, user, jwtauth, monkeypatch
    ):
        jwtauth(ACCESS_TOKEN_LIFETIME=timedelta(hours=24))
        first = sessions.start(user)
        jwtauth(REFRESH_TOKEN_LIFETIME=timedelta(minutes=1))
        sessions.refresh(first.refresh_token)
        later = timezone.now() + timedelta(hours=2)
        monkeypatch.setattr(timezone, "now", lambda: later)
        monkeypatch.setattr("time.time", later.timestamp)
        assert list(pruning.prune()) == []
        sessions.revoke_all(user)
        with pytest.raises(RevokedTokenError):
            sessions.verify(first.access_token)

    def test_without_time_zones_it_waits_an_hour_longer(self, user, settings):
        settings.USE_TZ = False
        session = sessions.start(user).session
        age(session, timedelta(days=14, minutes=61))
        assert list(pruning.prune()) == []
        age(session, timedelta(minutes=60))
        assert list(pruning.prune()) == [1]


class TestPruneByRefresh:
    @pytest.fixture
    def drawn(self, monkeypatch):
        """What is drawn by lot: 0 prunes."""
        drawn = []
        monkeypatch.setattr("random.randrange", lambda stop: drawn.append(stop) or 0)
        return drawn

    @pytest.fixture
    def expired(self, user):
        for _ in range(3):
            age(sessions.start(user).session, timedelta(days=20))

    @pytest.mark.django_db(transaction=True)
    def test_one_refresh_in_a_hundred_prunes_a_batch(self, pair, expired, drawn, monkeypatch):
        sessions.refresh(pair.refresh_token)
        assert drawn == [100]
        assert list(Session.objects.all()) == [pair.session]

    @pytest.mark.django_db(transaction=True)
    def test_the_others_do_not(self, pair, expired, monkeypatch):
        monkeypatch.setattr("random.randrange", lambda stop: stop - 1)
        sessions.refresh(pair.refresh_token)
        assert Session.objects.count() == 4

    def test_inside_a_transaction_none_does(self, pair, expired, drawn):
        sessions.refresh(pair.refresh_token)
        assert Session.objects.count() == 4

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("kind", [OperationalError, InterfaceError, RuntimeError])
    def test_a_refresh_succeeds_although_pruning_fails(self, pair, expired, drawn, monkeypatch, caplog, kind):
        def fail(self):
            raise kind("why it failed")

        monkeypatch.setattr(sessions.SessionQuerySet, "expired", fail)
        assert sessions.refresh(pair.refresh_token).access_token
        assert "could not be deleted" in caplog.text
        assert "why it failed" in caplog.text
        assert {record.name for record in caplog.records} == {"django_jwtauth"}


NOBODY = [None, 1, "1", b"1", object(), AnonymousUser(), Group(pk=1), Session(), get_user_model()]


class TestArguments:
    """A primary key alone says nothing: the row of another model may have the same one."""

    @pytest.mark.parametrize("thing", NOBODY)
    @pytest.mark.parametrize("take", [sessions.start, sessions.revoke_all, JWTClient().force_login])
    def test_what_is_no_user_is_an_error_that_says_what_is_wanted(self, pair, thing, take):
        with pytest.raises(TypeError, match=rf"^Expected a user \({get_user_model()._meta.label}\), got \w+\.$"):
            take(thing)
        assert sessions.verify(pair.access_token)
        assert Session.objects.live().count() == 1

    @pytest.mark.parametrize("take", [sessions.start, sessions.revoke_all])
    def test_neither_is_the_user_of_a_token_alone(self, pair, take):
        with pytest.raises(TypeError, match="got TokenUser"):
            take(users.TokenUser(sessions.verify(pair.access_token)))

    @pytest.mark.parametrize("take", [sessions.start, sessions.revoke_all])
    def test_a_user_who_is_not_stored_has_no_sessions(self, db, take):
        with pytest.raises(ValueError, match="Expected a stored user"):
            take(get_user_model()())

    def test_a_lazy_user_is_one_at_no_query(self, user, pair):
        lazy = users.get_user(sessions.verify(pair.access_token))
        with statements() as executed:
            assert users.user_key(lazy) == user.pk
        assert executed == []
        assert sessions.revoke_all(SimpleLazyObject(lambda: user)) == 1

    @pytest.mark.parametrize("thing", [None, 1, "x", get_user_model()(pk=1), Session], ids=repr)
    def test_what_is_no_session_ends_none(self, pair, thing):
        with pytest.raises(TypeError, match=r"^Expected a Session, got \w+\.$"):
            sessions.revoke(thing)
        if thing is not None:
            with pytest.raises(TypeError, match="Expected a Session"):
                sessions.revoke_all(pair.session.user, except_for=thing)
        assert sessions.verify(pair.access_token)

    @pytest.mark.parametrize("thing", [None, "x", 1, Group(pk=1)], ids=repr)
    def test_what_is_no_claims_names_nobody(self, db, thing):
        for take in (users.get_user, users.load_user):
            with pytest.raises(TypeError, match=r"^Expected verified Claims, got \w+\.$"):
                take(thing)


class TestGreatestGeneration:
    @pytest.fixture
    def worn(self, pair):
        """Return the last refresh token of a session that can be refreshed no more, and the one before."""
        Session.objects.update(generation=MAX_GENERATION - 1)
        session = Session.objects.get()
        before = refresh_tokens.derive(session.pk, session.generation, bytes(session.nonce))
        return before, sessions.refresh(before).refresh_token

    def test_it_is_the_greatest_that_every_database_holds(self):
        ranges = BaseDatabaseOperations.integer_field_ranges
        assert ranges["PositiveIntegerField"] == (0, MAX_GENERATION)

    def test_the_session_has_expired(self, worn, client):
        answer = client.post("/auth/token/refresh/", {"refresh_token": worn[1]}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.UNAUTHORIZED, "token_expired")

    def test_a_retry_of_the_last_refresh_is_answered(self, worn):
        assert sessions.refresh(worn[0]).refresh_token == worn[1]

    def test_reuse_ends_it(self, worn):
        Session.objects.update(refreshed_at=timezone.now() - timedelta(hours=1))
        with pytest.raises(ReusedTokenError):
            sessions.refresh(worn[0])
        assert Session.objects.get().revoke_reason == Reason.REUSE
