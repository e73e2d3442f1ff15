"""What is counted, for whom, and what it takes to get around it."""

from __future__ import annotations

import json
import time
from collections import Counter
from http import HTTPStatus

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache, caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import OperationalError, connection
from django.utils.datastructures import MultiValueDictKeyError
from rest_framework import serializers
from rest_framework.authtoken.serializers import AuthTokenSerializer
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.throttling import UserRateThrottle

from django_jwtauth import sessions, throttling, views
from django_jwtauth.errors import InvalidTokenError
from django_jwtauth.models import Session
from django_jwtauth.serializers import TokenObtainSerializer, TokenRefreshSerializer
from django_jwtauth.tokens import refresh as refresh_tokens
from django_jwtauth.views import tokens as token_views
from tests.support.answers import assert_no_token_in
from tests.support.statements import failing, statements


def stored_keys():
    """The keys in the cache, as they were given to it."""
    return [key.split(":", 2)[2] for key in cache._cache]


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The time by which windows are counted: half a minute after a full hour."""
    now = [3600 * 500_000.0 + 30]
    monkeypatch.setattr(throttling.OutcomeThrottle, "timer", lambda self: now[0])
    return now


@pytest.fixture
def rates(settings):
    """Return a function that sets the project's throttle rates."""

    def change(**rates):
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": rates}

    return change


@pytest.fixture
def login(client):
    def login(username="alice", password="wrong", address="192.0.2.1", **headers):
        body = {"username": username, "password": password}
        return client.post("/auth/token/", body, format="json", REMOTE_ADDR=address, **headers)

    return login


class TestLogin:
    def test_failed_logins_are_limited_by_account_and_address(self, user, login):
        assert [login().status_code for _ in range(20)] == [HTTPStatus.UNAUTHORIZED] * 20
        answer = login(password="correct horse")
        assert answer.status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert 0 < int(answer["Retry-After"]) <= 3600

    def test_the_owner_is_not_locked_out_elsewhere(self, user, login, rates):
        rates(jwtauth_login="1/min")
        login()
        assert login().status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert login(password="correct horse", address="192.0.2.2").status_code == HTTPStatus.OK
        assert login(username="bob").status_code == HTTPStatus.UNAUTHORIZED

    def test_good_logins_are_not_counted(self, user, login, rates):
        rates(jwtauth_login="1/min", jwtauth_login_account="1/min")
        for _ in range(3):
            assert login(password="correct horse").status_code == HTTPStatus.OK

    def test_good_logins_to_one_account_are_limited_generously(self, user, other_user, login, rates):
        rates(jwtauth_login_good="3/hour")
        statuses = [login(password="correct horse", address=f"192.0.2.{last}").status_code for last in range(4)]
        assert statuses == [HTTPStatus.OK] * 3 + [HTTPStatus.TOO_MANY_REQUESTS]
        assert login(username="bob", password="battery staple").status_code == HTTPStatus.OK
        assert Session.objects.filter(user=user).count() == 3

    def test_failed_ones_use_up_nothing_of_that(self, user, login, rates):
        rates(jwtauth_login_good="1/hour")
        login()
        assert login(password="correct horse").status_code == HTTPStatus.OK

    def test_a_body_that_is_no_login_is_not_counted(self, user, client, login, rates):
        rates(jwtauth_login="1/min")
        for body in ({}, {"username": "alice"}, [], "x"):
            assert client.post("/auth/token/", body, format="json").status_code == HTTPStatus.BAD_REQUEST
        assert login().status_code == HTTPStatus.UNAUTHORIZED

    def test_a_serializer_that_tries_the_password_is_counted(self, user, login, rates, monkeypatch):
        rates(jwtauth_login="1/min")
        monkeypatch.setattr(views.TokenObtainView, "serializer_class", AuthTokenSerializer)
        assert login(password="").status_code == HTTPStatus.BAD_REQUEST
        assert login(password="correct horse").status_code == HTTPStatus.OK
        assert login().status_code == HTTPStatus.BAD_REQUEST
        assert login(password="correct horse").status_code == HTTPStatus.TOO_MANY_REQUESTS

    def test_an_account_is_limited_from_everywhere_together(self, user, login, rates):
        rates(jwtauth_login_account="3/hour")
        for last in range(3):
            assert login(address=f"192.0.2.{last}").status_code == HTTPStatus.UNAUTHORIZED
        assert login(address="192.0.2.9").status_code == HTTPStatus.TOO_MANY_REQUESTS

    @pytest.mark.parametrize("other", ["ALICE", " alice ", "\uff41\uff4c\uff49\uff43\uff45"])
    def test_another_spelling_of_the_name_is_the_same_account(self, user, login, rates, other):
        rates(jwtauth_login="1/min")
        login()
        assert login(username=other).status_code == HTTPStatus.TOO_MANY_REQUESTS

    @pytest.mark.parametrize(
        "other", ["\u00e0lice", "alic\u00e8", "al\u0131ce", "\u00c5LICE", "al\u200bice", "a\u0300lice"]
    )
    def test_no_spelling_that_the_database_takes_for_the_same_name_evades_it(self, user, login, rates, other):
        rates(jwtauth_login="1/min")
        login()
        answer = login(username=other, password="correct horse")
        assert answer.status_code in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.UNAUTHORIZED}

    def test_the_spelling_of_the_user_counts_however_it_is_typed(self, user, login, rates):
        get_user_model().objects.filter(pk=user.pk).update(username="\u00c0lice")
        rates(jwtauth_login="1/min")
        login(username="\u00c0lice")
        assert login(username="A\u0300lice").status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert login(username="alice", password="correct horse").status_code != HTTPStatus.OK

    @pytest.mark.parametrize("collation", [None, "any"])
    @pytest.mark.parametrize("exists", [True, False])
    def test_no_answer_tells_whether_there_is_such_a_user(self, db, login, rates, monkeypatch, collation, exists):
        monkeypatch.setattr(get_user_model()._meta.get_field("username"), "db_collation", collation)
        if exists:
            get_user_model().objects.create_user("alice", password="correct horse")
        rates(jwtauth_login="1/min")
        login(username="\u00e0lice")
        folds = collation is not None or connection.vendor == "mysql"
        expected = HTTPStatus.TOO_MANY_REQUESTS if folds else HTTPStatus.UNAUTHORIZED
        assert login(username="alice").status_code == expected

    @pytest.mark.parametrize("spell", ["0{}".format, " {}".format, "+{}".format, lambda pk: f"{pk:0>1000}"])
    def test_neither_does_another_spelling_of_a_number_where_names_are_numbers(
        self, user, client, rates, monkeypatch, spell
    ):
        monkeypatch.setattr(get_user_model(), "USERNAME_FIELD", "id")
        rates(jwtauth_login="1/min")
        for name in (str(user.pk), spell(user.pk)):
            answer = client.post("/auth/token/", {"id": name, "password": "wrong"}, format="json")
        assert answer.status_code == HTTPStatus.TOO_MANY_REQUESTS

    @pytest.mark.parametrize("name", ["a\0", "\ud800", "\U0001f600"])
    def test_a_name_that_no_user_can_have_is_no_error(self, user, client, name):
        body = json.dumps({"username": name, "password": "wrong"})
        answer = client.generic("POST", "/auth/token/", body, "application/json")
        assert answer.status_code in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED}

    def test_a_database_that_does_not_tell_the_spelling_is_503(self, user, login):
        with failing("SELECT", OperationalError("the server has gone away")):
            answer = login()
        assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "database_unavailable")

    def test_a_made_up_forwarded_address_evades_nothing(self, user, login, rates):
        rates(jwtauth_login="1/min")
        login()
        for made_up in ("203.0.113.1", "203.0.113.2, 203.0.113.3"):
            assert login(HTTP_X_FORWARDED_FOR=made_up).status_code == HTTPStatus.TOO_MANY_REQUESTS

    def test_behind_a_proxy_its_word_counts_and_no_other(self, user, login, rates, settings):
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 1}
        rates(jwtauth_login="1/min")
        login(HTTP_X_FORWARDED_FOR="198.51.100.7")
        assert login(HTTP_X_FORWARDED_FOR="1.2.3.4, 198.51.100.7").status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert login(HTTP_X_FORWARDED_FOR="198.51.100.8").status_code == HTTPStatus.UNAUTHORIZED

    def test_a_rate_of_none_switches_it_off(self, user, login, rates):
        rates(jwtauth_login=None, jwtauth_login_account=None)
        for _ in range(12):
            assert login().status_code == HTTPStatus.UNAUTHORIZED

    def test_the_cache_holds_no_name_and_no_address(self, user, login):
        login()
        keys = " ".join(stored_keys())
        assert "jwtauth_login" in keys
        assert "alice" not in keys
        assert "192.0.2.1" not in keys

    def test_guesses_at_the_same_time_see_each_other(self, user, login, rates, monkeypatch):
        rates(jwtauth_login="2/min")
        statuses, authenticate = [], token_views.authenticate

        def authenticate_slowly(request, **credentials):
            if len(statuses) < 3:
                statuses.append(None)
                statuses.append(login().status_code)
            return authenticate(request, **credentials)

        monkeypatch.setattr(token_views, "authenticate", authenticate_slowly)
        statuses.append(login().status_code)
        assert Counter(status for status in statuses if status) == {401: 2, 429: 1}

    def test_one_address_alone_cannot_use_up_what_an_account_has_everywhere(self):
        alone, everywhere = (throttle() for throttle in (throttling.LoginThrottle, throttling.LoginAccountThrottle))
        assert alone.num_requests / alone.duration * 10 <= everywhere.num_requests / everywhere.duration

    def test_a_login_that_came_to_no_end_is_taken_back(self, user, login, rates, jwtauth):
        rates(jwtauth_login="1/min", jwtauth_login_account="1/min")
        jwtauth(CLAIMS=lambda user, session, request: {"sub": "x"})
        with pytest.raises(ImproperlyConfigured):
            login(password="correct horse")
        jwtauth(CLAIMS=None)
        assert login(password="correct horse").status_code == HTTPStatus.OK

    def test_taking_back_what_is_no_longer_counted_is_no_error(self, user, login, jwtauth):
        jwtauth(CLAIMS=lambda user, session, request: cache.clear() or {})
        assert login(password="correct horse").status_code == HTTPStatus.OK

    def test_the_addresses_of_one_ipv6_network_are_one(self, user, login, rates):
        rates(jwtauth_login="1/min")
        login(address="2001:db8::1")
        assert login(address="2001:db8::ffff:2").status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert login(address="2001:db8:0:1::1").status_code == HTTPStatus.UNAUTHORIZED

    def test_where_the_server_knows_no_address_only_the_account_counts(self, user, login, rates):
        rates(jwtauth_login="1/min", jwtauth_login_account="2/min")
        assert login(address="").status_code == HTTPStatus.UNAUTHORIZED
        assert login(address="").status_code == HTTPStatus.UNAUTHORIZED
        assert login(address="").status_code == HTTPStatus.TOO_MANY_REQUESTS

    def test_in_the_next_window_one_may_try_again(self, user, login, rates, clock):
        rates(jwtauth_login="1/hour")
        login()
        answer = login()
        assert (answer.status_code, answer["Retry-After"]) == (HTTPStatus.TOO_MANY_REQUESTS, "3570")
        clock[0] += 3569
        assert login().status_code == HTTPStatus.TOO_MANY_REQUESTS
        clock[0] += 2
        assert login().status_code == HTTPStatus.UNAUTHORIZED

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
    def test_a_flood_from_one_address_locks_nobody_out_elsewhere(self, user, client, login, rates, method):
        rates(jwtauth_login="2/hour", jwtauth_login_account="5/hour")
        body = '{"username": "alice", "password": "wrong"}'
        for _ in range(20):
            client.generic(method, "/auth/token/", body, "application/json", REMOTE_ADDR="192.0.2.1")
        assert login(password="correct horse", address="192.0.2.2").status_code == HTTPStatus.OK

    def test_what_a_throttle_of_the_projects_own_refuses_is_not_counted(self, user, login, rates, monkeypatch):
        from django_jwtauth.views import TokenObtainView

        class Never(throttling.OutcomeThrottle):
            scope = "never"
            default_rate = "1/hour"

            def allow_request(self, request, view):
                return False

        rates(jwtauth_login_account="1/hour")
        with monkeypatch.context() as patch:
            patch.setattr(TokenObtainView, "throttle_classes", (throttling.LoginAccountThrottle, Never))
            for _ in range(3):
                assert login().status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert login().status_code == HTTPStatus.UNAUTHORIZED

    @pytest.mark.parametrize("error", [AuthenticationFailed, PermissionDenied])
    def test_a_subclass_that_refuses_in_the_frameworks_own_way_is_counted(self, user, login, rates, monkeypatch, error):
        from django_jwtauth.views import TokenObtainView

        def refuse(self, request):
            raise error

        monkeypatch.setattr(TokenObtainView, "get_token_pair", refuse)
        rates(jwtauth_login="1/hour")
        assert login().status_code == error.status_code
        assert login().status_code == HTTPStatus.TOO_MANY_REQUESTS

    def test_a_count_lasts_its_window_whatever_the_default_timeout_of_the_cache(
        self, user, login, rates, monkeypatch, tmp_path
    ):
        monkeypatch.setattr(throttling.OutcomeThrottle, "cache", FileBasedCache(str(tmp_path), {"TIMEOUT": 300}))
        rates(jwtauth_login="2/hour")
        login()
        login()
        login(password="correct horse")
        later = time.time() + 3000
        monkeypatch.setattr("time.time", lambda: later)
        assert login(password="correct horse").status_code == HTTPStatus.TOO_MANY_REQUESTS

    def test_a_subclass_whose_own_post_answers_401_is_counted(self, user, login, rates, monkeypatch):
        from django_jwtauth.views import TokenObtainView
        from django_jwtauth.views.base import Response

        monkeypatch.setattr(TokenObtainView, "post", lambda self, request: Response(status=HTTPStatus.UNAUTHORIZED))
        rates(jwtauth_login="1/hour")
        assert login().status_code == HTTPStatus.UNAUTHORIZED
        assert login().status_code == HTTPStatus.TOO_MANY_REQUESTS

    def test_a_cache_that_keeps_nothing_throttles_nothing(self, user, login, rates, monkeypatch):
        monkeypatch.setattr(throttling.OutcomeThrottle, "cache", DummyCache("", {}))
        rates(jwtauth_login="1/hour")
        for _ in range(3):
            assert login().status_code == HTTPStatus.UNAUTHORIZED

    def test_a_long_name_of_combining_marks_takes_no_time(self, db, login):
        name = "a" + "\u0316\u0300" * 20_000
        began = time.process_time()
        assert login(username=name).status_code in {400, 413}
        assert time.process_time() - began < 0.5


class TestRevoke:
    @pytest.fixture
    def revoke(self, client, rates):
        rates(jwtauth_revoke="2/min")

        def revoke(token, address="192.0.2.1"):
            return client.post("/auth/token/revoke/", {"token": token}, format="json", REMOTE_ADDR=address).status_code

        return revoke

    def test_those_of_one_session_are_limited(self, user, pair, revoke):
        other = sessions.start(user)
        tokens = [pair.refresh_token, pair.access_token, pair.refresh_token]
        assert [revoke(token) for token in tokens] == [HTTPStatus.OK, HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS]
        assert revoke(other.refresh_token) == HTTPStatus.OK

    @pytest.mark.parametrize("garbage", ["x", "jrt_x", "a.b.c"])
    def test_garbage_is_limited_by_address_and_stops_no_logout(self, pair, revoke, garbage):
        assert [revoke(garbage) for _ in range(3)] == [HTTPStatus.OK, HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS]
        assert revoke(garbage, "192.0.2.2") == HTTPStatus.OK
        assert revoke(pair.refresh_token) == HTTPStatus.OK

    def test_where_the_server_knows_no_address_garbage_is_not_counted(self, db, revoke):
        assert [revoke("x", "") for _ in range(3)] == [HTTPStatus.OK] * 3


class EmailSerializer(serializers.Serializer):
    email, password = serializers.CharField(), serializers.CharField()


class TestNameField:
    """A login view whose serializer calls the account something else."""

    @pytest.fixture
    def post(self, rf, rates):
        """Return a function that logs in at a view with this serializer; one failure an account is allowed."""
        rates(jwtauth_login="1/min", jwtauth_login_account="400/hour")

        def post(serializer, **body):
            class LoginView(views.TokenObtainView):
                serializer_class = serializer

            return LoginView.as_view()(rf.post("/", body))

        return post

    def test_each_account_is_counted_apart(self, user, post):
        for name in ("a@example.com", "b@example.com"):
            statuses = [post(EmailSerializer, email=name, password="x").status_code for _ in range(2)]
            assert statuses == [HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS]

    @pytest.mark.parametrize("other", ["A@EXAMPLE.COM", " a@example.com "])
    def test_every_spelling_is_one_account(self, user, post, other):
        post(EmailSerializer, email="a@example.com", password="x")
        assert post(EmailSerializer, email=other, password="x").status_code == HTTPStatus.TOO_MANY_REQUESTS

    def test_a_number_is_a_name(self, user, post):
        class NumberSerializer(serializers.Serializer):
            staff_number, password = serializers.IntegerField(), serializers.CharField()

        post(NumberSerializer, staff_number="7", password="x")
        answers = [post(NumberSerializer, staff_number=name, password="x").status_code for name in ("007", "8")]
        assert answers == [HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.UNAUTHORIZED]

    def test_among_several_fields_the_class_names_it(self, user, post):
        class DeviceSerializer(EmailSerializer):
            username_field = "email"
            device = serializers.CharField()

        post(DeviceSerializer, email="a", password="x", device="1")
        assert post(DeviceSerializer, email="a", password="x", device="2").status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert post(DeviceSerializer, email="b", password="x", device="1").status_code == HTTPStatus.UNAUTHORIZED

    def test_our_serializer_takes_another_name(self, user, post, settings):
        class OurSerializer(TokenObtainSerializer):
            username_field = "email"

        assert set(post(OurSerializer).data) == {"email", "password"}
        post(OurSerializer, email="a", password="x")
        assert post(OurSerializer, email="b", password="x").status_code == HTTPStatus.UNAUTHORIZED

    def test_a_serializer_that_names_no_account_is_an_error(self, user, post):
        class TwoSerializer(EmailSerializer):
            device = serializers.CharField()

        with pytest.raises(ImproperlyConfigured, match=r"TwoSerializer .* username_field"):
            post(TwoSerializer, email="a", password="x", device="1")

    @pytest.mark.parametrize(
        "options", [{"required": False}, {"allow_blank": True}, {"allow_null": True, "default": None}]
    )
    def test_so_is_one_that_lets_a_login_pass_without_a_name(self, user, post, options):
        class OptionalSerializer(serializers.Serializer):
            email, password = serializers.CharField(**options), serializers.CharField()

        body = {"email": ""} if "allow_blank" in options else {}
        with pytest.raises(ImproperlyConfigured, match="without 'email'"):
            post(OptionalSerializer, password="x", **body)

    def test_a_serializer_that_makes_up_a_name_is_an_error_too(self, user, post):
        class LaxSerializer(EmailSerializer):
            def to_internal_value(self, data):
                return {"email": "a@example.com", "password": "x"}

        with pytest.raises(ImproperlyConfigured, match="without 'email'"):
            post(LaxSerializer, password="x")

    def test_the_body_is_bound_and_validated_once_a_request(self, user, rf):
        bound, validated, kept = [], [], []

        class CountingSerializer(TokenObtainSerializer):
            def validate(self, attrs):
                validated.append(None)
                return super().validate(attrs)

        class LoginView(views.TokenObtainView):
            serializer_class = CountingSerializer

            def get_serializer(self, *args, **kwargs):
                bound.append(None)
                return super().get_serializer(*args, **kwargs)

            def get_token_pair(self, request):
                kept.append(self.validated(request).pop("password"))
                return super().get_token_pair(request)

        answer = LoginView.as_view()(rf.post("/", {"username": "alice", "password": "correct horse"}))
        assert (answer.status_code, len(bound), len(validated)) == (HTTPStatus.OK, 1, 1)
        assert kept == ["correct horse"]

    def test_no_password_is_tried_before_it_is_counted(self, user, post):
        tried = []

        class TryingSerializer(EmailSerializer):
            def validate(self, attrs):
                tried.append(attrs)
                raise AuthenticationFailed

        for expected in (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS):
            assert post(TryingSerializer, email="a", password="x").status_code == expected
        assert len(tried) == 1


class TestRefresh:
    @pytest.fixture
    def refresh(self, client):
        def refresh(token, address="192.0.2.1"):
            return client.post("/auth/token/refresh/", {"refresh_token": token}, format="json", REMOTE_ADDR=address)

        return refresh

    def test_refused_ones_are_limited_by_address(self, pair, refresh, rates):
        rates(jwtauth_refresh_failed="2/min")
        for _ in range(2):
            assert refresh("jrt_x").status_code == HTTPStatus.UNAUTHORIZED
        forged = pair.refresh_token[:-1] + ("A" if pair.refresh_token[-1] != "A" else "E")
        for refused in ("jrt_x", forged, pair.access_token):
            assert refresh(refused).status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert refresh("jrt_x", "192.0.2.2").status_code == HTTPStatus.UNAUTHORIZED

    def test_no_number_of_refused_ones_from_its_address_stops_a_genuine_one(self, user, pair, refresh, rates):
        rates(jwtauth_refresh_failed="2/min")
        token, ended = pair.refresh_token, sessions.start(user)
        sessions.revoke(ended.session)
        for _ in range(5):
            for _ in range(10):
                refresh("jrt_x")
            answer = refresh(token)
            assert answer.status_code == HTTPStatus.OK
            token = answer.json()["refresh_token"]
            answer = refresh(ended.refresh_token)
            assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.UNAUTHORIZED, "token_revoked")

    def test_a_genuine_one_costs_a_query_more_only_beyond_the_limit(self, pair, refresh, rates):
        rates(jwtauth_refresh_failed="2/min")
        counts = []
        for garbage in (0, 2):
            for _ in range(garbage):
                refresh("jrt_x")
            with statements() as executed:
                pair_now = refresh(pair.refresh_token).json()
            counts.append(len(executed))
        assert "refresh_token" in pair_now
        assert counts[0] <= counts[1] <= counts[0] + 2

    def test_good_ones_are_limited_by_session(self, user, refresh, rates):
        rates(jwtauth_refresh="2/min")
        token, other = (sessions.start(user).refresh_token for _ in range(2))
        for _ in range(2):
            token = refresh(token).json()["refresh_token"]
        assert refresh(token, "192.0.2.2").status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert refresh(other).status_code == HTTPStatus.OK

    @pytest.mark.parametrize("call", ["add", "incr", "touch"])
    def test_a_cache_that_fails_once_the_token_is_used_does_not_lose_its_successor(
        self, pair, refresh, monkeypatch, caplog, call
    ):
        def fail(*arguments, **options):
            raise RuntimeError

        monkeypatch.setattr(type(caches["default"]), call, fail)
        answer = refresh(pair.refresh_token)
        assert (answer.status_code, Session.objects.get().generation) == (HTTPStatus.OK, 1)
        [record] = [record for record in caplog.records if record.name.startswith("django_jwtauth")]
        assert (record.levelname, "could not be counted" in record.getMessage()) == ("ERROR", True)
        assert_no_token_in(caplog.text)

    def test_a_throttled_token_is_still_good_afterwards(self, pair, refresh, rates):
        rates(jwtauth_refresh="1/min")
        token = refresh(pair.refresh_token).json()["refresh_token"]
        assert refresh(token).status_code == HTTPStatus.TOO_MANY_REQUESTS
        cache.clear()
        assert refresh(token).status_code == HTTPStatus.OK

    def test_another_transport_is_limited_as_well(self, pair, rates, rf):
        from django_jwtauth.views import TokenRefreshView

        class HeaderRefreshView(TokenRefreshView):
            def get_refresh_token(self, request):
                return request.headers["X-Refresh"]

        rates(jwtauth_refresh="1/min")
        view = HeaderRefreshView.as_view()
        answer = view(rf.post("/", headers={"x-refresh": pair.refresh_token}))
        assert answer.status_code == HTTPStatus.OK
        answer = view(rf.post("/", headers={"x-refresh": answer.data["refresh_token"]}))
        assert answer.status_code == HTTPStatus.TOO_MANY_REQUESTS

    @pytest.mark.parametrize("error", [KeyError("refresh"), MultiValueDictKeyError("refresh"), ValidationError("none")])
    def test_a_transport_that_finds_no_token_is_refused_and_counted(self, db, rates, rf, error):
        from django_jwtauth.views import TokenRefreshView

        class CookieRefreshView(TokenRefreshView):
            def get_refresh_token(self, request):
                raise error

        rates(jwtauth_refresh_failed="1/min")
        view = CookieRefreshView.as_view()
        answer = view(rf.post("/"))
        assert (answer.status_code, answer.data["code"]) == (HTTPStatus.UNAUTHORIZED, "token_invalid")
        assert view(rf.post("/")).status_code == HTTPStatus.TOO_MANY_REQUESTS

    def test_a_view_of_another_kind_may_count_its_refusals(self, db, rates, rf):
        class ExchangeView(views.TokenObtainView):
            throttle_classes = (throttling.FailedRefreshThrottle,)

            def get_token_pair(self, request):
                raise InvalidTokenError

        rates(jwtauth_refresh_failed="1/min")
        view = ExchangeView.as_view()
        statuses = [view(rf.post("/")).status_code for _ in range(2)]
        assert statuses == [HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS]

    def test_the_token_is_read_once_a_request(self, pair, rf, monkeypatch):
        read, validated = [], []

        class CountingView(views.TokenRefreshView):
            def get_refresh_token(self, request):
                read.append(None)
                return super().get_refresh_token(request)

        def validate(self, attrs):
            validated.append(None)
            return attrs

        monkeypatch.setattr(TokenRefreshSerializer, "validate", validate)
        answer = CountingView.as_view()(rf.post("/", {"refresh_token": pair.refresh_token}))
        assert (answer.status_code, len(read), len(validated)) == (HTTPStatus.OK, 1, 1)

    def test_the_token_is_parsed_once_a_request(self, pair, refresh, rates, monkeypatch):
        rates(jwtauth_refresh_failed="0/min")
        parsed, decode = [], refresh_tokens.b64url_decode
        monkeypatch.setattr(refresh_tokens, "b64url_decode", lambda text: parsed.append(text) or decode(text))
        assert refresh(pair.refresh_token).status_code == HTTPStatus.OK
        assert len(parsed) == 1

    def test_a_transport_without_a_token_is_logged_once(self, db, rf, caplog):
        class CookieRefreshView(views.TokenRefreshView):
            def get_refresh_token(self, request):
                return request.COOKIES["refresh"]

        caplog.set_level("INFO")
        assert CookieRefreshView.as_view()(rf.post("/")).status_code == HTTPStatus.UNAUTHORIZED
        told = [record.getMessage() for record in caplog.records if record.name == "django_jwtauth"]
        assert told == ["CookieRefreshView found no refresh token: KeyError."]

    def test_where_the_server_knows_no_address_refused_ones_are_not_counted_together(self, pair, refresh, rates):
        rates(jwtauth_refresh_failed="1/min")
        for _ in range(3):
            assert refresh("jrt_x", "").status_code == HTTPStatus.UNAUTHORIZED

    def test_forged_tokens_that_name_a_session_use_up_nothing_of_its_count(self, pair, refresh, rates):
        rates(jwtauth_refresh="1/min")
        forged = pair.refresh_token[:-1] + ("A" if pair.refresh_token[-1] != "A" else "E")
        for _ in range(3):
            assert refresh(forged).status_code == HTTPStatus.UNAUTHORIZED
        assert refresh(pair.refresh_token).status_code == HTTPStatus.OK


def test_a_throttle_of_the_projects_own_works_beside_ours(user, client, monkeypatch):
    from rest_framework.throttling import AnonRateThrottle

    from django_jwtauth.views import TokenObtainView

    class Rare(AnonRateThrottle):
        rate = "1/min"

    monkeypatch.setattr(TokenObtainView, "throttle_classes", (Rare,))
    body = {"username": "alice", "password": "correct horse"}
    assert client.post("/auth/token/", body, format="json").status_code == HTTPStatus.OK
    assert client.post("/auth/token/", body, format="json").status_code == HTTPStatus.TOO_MANY_REQUESTS


def test_a_throttle_must_say_what_it_counts(rf):
    with pytest.raises(NotImplementedError):
        throttling.OutcomeThrottle.get_identity(throttling.LoginThrottle(), None, None)


class TestCacheFailure:
    @pytest.fixture(autouse=True)
    def _closed_port(self, settings):
        settings.CACHES = {"default": {"BACKEND": "tests.http.test_throttling.ClosedCache"}}

    @pytest.mark.parametrize("path", ["/auth/token/", "/auth/token/refresh/"])
    def test_it_is_a_503_in_the_form_of_our_errors_and_a_log_line(self, pair, client, caplog, path):
        body = {"username": "alice", "password": "correct horse", "refresh_token": pair.refresh_token}
        answer = client.post(path, body, format="json")
        assert (answer.status_code, answer["Retry-After"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "5")
        assert set(answer.json()) == {"detail", "code"}
        assert answer.json()["code"] == "cache_unavailable"
        [record] = [record for record in caplog.records if record.name == "django_jwtauth"]
        assert (record.levelname, "cache" in record.getMessage()) == ("ERROR", True)
        assert isinstance(record.exc_info[1], ConnectionRefusedError)
        assert Session.objects.get().generation == 0

    def test_so_it_is_where_a_throttle_of_the_projects_own_counts(self, pair, bearer, monkeypatch):
        class Rare(UserRateThrottle):
            rate = "1/min"

        monkeypatch.setattr(views.SessionListView, "throttle_classes", (Rare,))
        answer = bearer(pair.access_token).get("/auth/sessions/")
        assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "cache_unavailable")

    def test_endpoints_that_count_nothing_go_on(self, pair, bearer):
        assert bearer(pair.access_token).get("/auth/sessions/").status_code == HTTPStatus.OK

    def test_neither_do_rates_of_none_count(self, user, client, rates):
        rates(jwtauth_login=None, jwtauth_login_account=None, jwtauth_login_good=None)
        body = {"username": "alice", "password": "correct horse"}
        assert client.post("/auth/token/", body, format="json").status_code == HTTPStatus.OK


class ClosedCache(BaseCache):
    """A cache whose server is gone."""

    def __init__(self, location, params):
        super().__init__(params)

    def get(self, *args, **kwargs):
        raise ConnectionRefusedError

    add = incr = touch = set = get
