"""The endpoints over HTTP: answers, refusals, and input of every kind."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta
from http import HTTPStatus
from unittest import mock

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.db import InterfaceError, InternalError, OperationalError, connection
from django.urls import include, path, resolve, reverse
from django.utils import timezone
from django.views.debug import ExceptionReporter
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.versioning import AcceptHeaderVersioning, BaseVersioning, NamespaceVersioning
from rest_framework.views import APIView

from django_jwtauth import serializers, sessions, views
from django_jwtauth.errors import RevokedTokenError
from django_jwtauth.jose.encoding import encode_id, new_id
from django_jwtauth.models import DenylistEntry, Reason, Session
from django_jwtauth.views import tokens as token_views
from tests.support.answers import BARE as CHALLENGE
from tests.support.answers import INVALID
from tests.support.answers import assert_grant_refused as assert_refused
from tests.support.statements import statements

OBTAIN, REFRESH, REVOKE = "/auth/token/", "/auth/token/refresh/", "/auth/token/revoke/"
PAIR = {"access_token", "token_type", "expires_in", "refresh_token", "refresh_expires_in"}


SECRETS = ("k" * 40, "correct horse", "jrt_")


def login_request():
    body = {"username": "alice", "password": SECRETS[1]}
    return APIRequestFactory().post(OBTAIN, body, format="json")


@pytest.fixture
def post(client):
    def post(path, body, format="json", **extra):
        return client.post(path, body, format=format, **extra)

    return post


@pytest.fixture
def mine(pair, bearer):
    return bearer(pair.access_token)


def parts(count, disposition):
    """Return a multipart body of so many parts."""
    return f"--x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n\r\n" * count + "--x--\r\n"


def urlencoded(client, path, body):
    return client.post(path, body, content_type="application/x-www-form-urlencoded")


class TestObtain:
    @pytest.mark.parametrize("format", ["json", "multipart"])
    def test_credentials_give_a_pair(self, user, post, format):
        answer = post(OBTAIN, {"username": "alice", "password": "correct horse"}, format)
        assert answer.status_code == HTTPStatus.OK
        assert answer["Cache-Control"] == "no-store"
        assert set(answer.json()) == PAIR
        assert answer.json()["token_type"] == "Bearer"
        assert answer.json()["expires_in"] == 600
        assert sessions.verify(answer.json()["access_token"]).sub == str(user.pk)

    def test_a_form_will_do(self, user, client):
        assert urlencoded(client, OBTAIN, "username=alice&password=correct+horse").status_code == HTTPStatus.OK

    @pytest.mark.parametrize(("name", "password"), [("alice", "wrong"), ("nobody", "correct horse"), ("alice", " ")])
    def test_wrong_credentials_are_refused_alike(self, user, post, name, password):
        answer = post(OBTAIN, {"username": name, "password": password})
        assert_refused(answer, "invalid_credentials")
        assert not Session.objects.exists()

    def test_an_inactive_user_is_refused_like_an_unknown_one(self, user, post):
        get_user_model().objects.update(is_active=False)
        assert_refused(post(OBTAIN, {"username": "alice", "password": "correct horse"}), "invalid_credentials")

    def test_an_inactive_user_is_refused_even_where_a_backend_lets_him_in(self, user, post, settings):
        settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.AllowAllUsersModelBackend"]
        get_user_model().objects.update(is_active=False)
        assert_refused(post(OBTAIN, {"username": "alice", "password": "correct horse"}), "invalid_credentials")

    def test_a_password_is_taken_as_it_is(self, user, post):
        user.set_password(" spaced ")
        user.save()
        assert post(OBTAIN, {"username": "alice", "password": " spaced "}).status_code == HTTPStatus.OK
        assert post(OBTAIN, {"username": "alice", "password": "spaced"}).status_code == HTTPStatus.UNAUTHORIZED

    def test_the_client_is_recorded(self, user, post):
        post(
            OBTAIN,
            {"username": "alice", "password": "correct horse"},
            HTTP_USER_AGENT="curl/8.5",
            HTTP_X_FORWARDED_FOR="203.0.113.9",
        )
        session = Session.objects.get()
        assert (session.ip_address, session.user_agent) == ("127.0.0.1", "curl")

    def test_no_secret_is_shown_by_an_error_report(self, user, jwtauth):
        jwtauth(
            ISSUER="x",
            SIGNING_KEYS=[{"ALGORITHM": "HS256", "SECRET": SECRETS[0]}],
            CLAIMS=lambda user, session, request: {"sub": "x"},
        )
        request = login_request()
        try:
            views.TokenObtainView.as_view()(request)
        except ImproperlyConfigured as error:
            reporter = ExceptionReporter(request, type(error), error, error.__traceback__)
            report = reporter.get_traceback_html() + reporter.get_traceback_text()
        assert "get_token_pair" in report
        assert [secret for secret in SECRETS if secret in report] == []

    def test_nothing_ambient_stands_in_the_way(self, user, client):
        client.credentials(HTTP_AUTHORIZATION="Bearer expired.or.garbage")
        answer = client.post(OBTAIN, {"username": "alice", "password": "correct horse"}, format="json")
        assert answer.status_code == HTTPStatus.OK


class TestRefresh:
    def test_it_gives_the_next_pair(self, pair, post):
        answer = post(REFRESH, {"refresh_token": pair.refresh_token})
        assert answer.status_code == HTTPStatus.OK
        assert set(answer.json()) == PAIR
        assert answer["Cache-Control"] == "no-store"

    def test_refusals_have_codes(self, user, pair, post):
        assert_refused(post(REFRESH, {"refresh_token": "jrt_garbage"}), "token_invalid")
        assert_refused(post(REFRESH, {"refresh_token": pair.access_token}), "token_invalid")
        second = sessions.refresh(pair.refresh_token)
        sessions.refresh(second.refresh_token)
        assert_refused(post(REFRESH, {"refresh_token": pair.refresh_token}), "token_reused")
        assert_refused(post(REFRESH, {"refresh_token": second.refresh_token}), "token_revoked")
        expired = sessions.start(user)
        Session.objects.filter(pk=expired.session.pk).update(expires_at=timezone.now())
        assert_refused(post(REFRESH, {"refresh_token": expired.refresh_token}), "token_expired")

    @pytest.mark.parametrize("token", ["x" * 9000, " "])
    def test_an_impossible_token_costs_no_query(self, db, post, token):
        with statements() as executed:
            assert post(REFRESH, {"refresh_token": token}).status_code in {400, 401}
        assert executed == []


class TestRevoke:
    @pytest.mark.parametrize("which", ["access_token", "refresh_token"])
    @pytest.mark.parametrize("form", [True, False])
    def test_either_token_ends_the_session(self, client, pair, which, form):
        token = getattr(pair, which)
        if form:
            answer = urlencoded(client, REVOKE, f"token={token}&token_type_hint=nonsense")
        else:
            answer = client.post(REVOKE, {"token": token}, format="json")
        assert answer.status_code == HTTPStatus.OK
        assert answer["Cache-Control"] == "no-store"
        assert Session.objects.get().revoke_reason == Reason.LOGOUT
        with pytest.raises(RevokedTokenError):
            sessions.verify(pair.access_token)

    def test_a_refresh_token_of_any_generation_will_do(self, pair, post):
        second = sessions.refresh(pair.refresh_token)
        sessions.refresh(second.refresh_token)
        post(REVOKE, {"token": pair.refresh_token})
        assert Session.objects.get().revoke_reason == Reason.LOGOUT

    @pytest.mark.parametrize("token", ["garbage", "a.b.c", "jrt_x", "é", "x" * 50_000])
    def test_garbage_is_no_error_and_changes_nothing(self, pair, post, token):
        assert post(REVOKE, {"token": token}).status_code == HTTPStatus.OK
        assert sessions.verify(pair.access_token)

    def test_neither_is_an_expired_or_a_foreign_token(self, pair, post, jwtauth, monkeypatch):
        jwtauth(ISSUER="another")
        assert post(REVOKE, {"token": pair.access_token}).status_code == HTTPStatus.OK
        jwtauth(ISSUER="django-jwtauth")
        monkeypatch.setattr("time.time", lambda: pair.session.access_expires_at.timestamp() + 6)
        assert post(REVOKE, {"token": pair.access_token}).status_code == HTTPStatus.OK
        Session.objects.update(expires_at=timezone.now() - timedelta(days=1))
        assert post(REVOKE, {"token": pair.refresh_token}).status_code == HTTPStatus.OK
        assert Session.objects.get().revoked_at is None

    def test_once_more_is_no_error(self, pair, post):
        for _ in range(2):
            assert post(REVOKE, {"token": pair.refresh_token}).status_code == HTTPStatus.OK

    @pytest.mark.parametrize("body", ["", "{}"])
    @pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
    def test_without_a_body_it_ends_the_session_of_the_bearer(self, user, pair, client, body, scheme):
        other = sessions.start(user)
        headers = {"HTTP_AUTHORIZATION": f"{scheme} {pair.access_token}"}
        answer = client.generic("POST", REVOKE, body, content_type="application/json", **headers)
        assert (answer.status_code, answer.json()) == (HTTPStatus.OK, {})
        assert Session.objects.get(pk=pair.session.pk).revoke_reason == Reason.LOGOUT
        assert sessions.verify(other.access_token)

    def test_a_token_in_the_body_comes_first(self, user, pair, mine):
        other = sessions.start(user)
        assert mine.post(REVOKE, {"token": other.refresh_token}, format="json").status_code == HTTPStatus.OK
        assert sessions.verify(pair.access_token)
        assert Session.objects.get(pk=other.session.pk).revoke_reason == Reason.LOGOUT

    def test_a_bearer_that_is_refused_is_401_and_not_taken_for_a_logout(self, pair, mine, bearer):
        answer = bearer("x").post(REVOKE)
        assert (answer.status_code, answer["WWW-Authenticate"]) == (HTTPStatus.UNAUTHORIZED, INVALID)
        sessions.revoke(pair.session)
        answer = mine.post(REVOKE)
        assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.UNAUTHORIZED, "token_revoked")

    def test_neither_a_cookie_nor_a_login_of_another_kind_is_a_bearer(self, user, pair, client):
        client.force_login(user)
        client.credentials(HTTP_AUTHORIZATION=f"Basic {pair.access_token}")
        assert client.post(REVOKE).status_code == HTTPStatus.BAD_REQUEST
        assert sessions.verify(pair.access_token)

    def test_the_session_is_looked_for_once(self, pair, post, monkeypatch):
        found, find = [], sessions.find
        monkeypatch.setattr(sessions, "find", lambda token: found.append(token) or find(token))
        post(REVOKE, {"token": pair.refresh_token})
        assert found == [pair.refresh_token]

    def test_without_a_token_it_is_400_and_other_methods_are_405(self, db, client, post):
        answer = post(REVOKE, {})
        assert answer.status_code == HTTPStatus.BAD_REQUEST
        assert answer.json() == {"token": ["This field is required."]}
        assert client.get(REVOKE).status_code == HTTPStatus.METHOD_NOT_ALLOWED


class TestSessions:
    def test_one_sees_ones_own_live_sessions_newest_first(self, user, other_user, pair, mine):
        sessions.start(other_user)
        sessions.revoke(sessions.start(user).session)
        newest = sessions.start(user)
        answer = mine.get("/auth/sessions/")
        assert answer["Cache-Control"] == "no-store, private"
        assert [item["id"] for item in answer.json()] == [newest.session.sid, pair.session.sid]
        assert [item["current"] for item in answer.json()] == [False, True]
        assert set(answer.json()[0]) == {
            "id",
            "current",
            "created_at",
            "refreshed_at",
            "expires_at",
            "ip_address",
            "user_agent",
        }

    def test_the_times_of_the_list_do_not_tell_when_a_session_is_refreshed(self, user, pair, mine, jwtauth):
        day = timezone.now().replace(hour=12)
        Session.objects.update(created_at=day - timedelta(days=3), refreshed_at=day - timedelta(days=1))
        Session.objects.update(expires_at=day + timedelta(days=12))
        other = sessions.start(user)
        before = {item["id"]: item for item in mine.get("/auth/sessions/").json()}
        assert before[pair.session.sid]["refreshed_at"] == f"{day - timedelta(days=1):%Y-%m-%d}T00:00:00Z"
        assert before[pair.session.sid]["expires_at"] == f"{day + timedelta(days=13):%Y-%m-%d}T00:00:00Z"
        sessions.refresh(other.refresh_token)
        assert mine.get("/auth/sessions/").json() == list(before.values())

    def test_a_session_was_never_refreshed_before_it_was_logged_in(self, pair, mine):
        (item,) = mine.get("/auth/sessions/").json()
        assert item["refreshed_at"] == item["created_at"]

    def test_without_time_zones_the_day_is_that_of_the_server(self, user, settings):
        settings.USE_TZ = False
        moment = datetime(2026, 5, 4, 23, 59)
        session = Session(created_at=moment - timedelta(days=9), refreshed_at=moment, expires_at=moment)
        assert serializers.refreshed_day(session) == datetime(2026, 5, 4)
        assert serializers.expiry_day(session) == datetime(2026, 5, 5)

    def test_the_newest_1000_are_listed(self, user, pair, mine):
        fields = {field.attname: getattr(pair.session, field.attname) for field in Session._meta.concrete_fields}
        later = [pair.session.created_at + timedelta(seconds=number) for number in range(1, 1002)]
        others = [Session(**fields | {"id": new_id(), "created_at": created_at}) for created_at in later]
        Session.objects.bulk_create(others)
        answer = mine.get("/auth/sessions/")
        assert [item["id"] for item in answer.json()] == [session.sid for session in reversed(others)][:1000]

    def test_the_cache_of_the_site_shows_them_to_nobody_else(self, pair, mine, client, settings):
        update, fetch = (f"django.middleware.cache.{name}CacheMiddleware" for name in ("Update", "FetchFrom"))
        settings.MIDDLEWARE = [update, *settings.MIDDLEWARE, fetch]
        assert mine.get("/auth/sessions/").status_code == HTTPStatus.OK
        assert client.get("/auth/sessions/").status_code == HTTPStatus.UNAUTHORIZED
        sessions.revoke(pair.session)
        assert mine.get("/auth/sessions/").status_code == HTTPStatus.UNAUTHORIZED

    def test_one_ends_all_of_them(self, user, other_user, pair, mine):
        second, foreign = sessions.start(user), sessions.start(other_user)
        assert mine.delete("/auth/sessions/").status_code == HTTPStatus.NO_CONTENT
        for ended in (pair, second):
            with pytest.raises(RevokedTokenError):
                sessions.verify(ended.access_token)
        assert sessions.verify(foreign.access_token)

    @pytest.mark.parametrize("value", ["true", "1"])
    def test_or_all_others(self, user, pair, mine, value):
        second = sessions.start(user)
        assert mine.delete(f"/auth/sessions/?others={value}").status_code == HTTPStatus.NO_CONTENT
        assert sessions.verify(pair.access_token)
        with pytest.raises(RevokedTokenError):
            sessions.verify(second.access_token)

    def test_a_misspelt_choice_ends_nothing(self, pair, mine):
        assert mine.delete("/auth/sessions/?others=yess").status_code == HTTPStatus.BAD_REQUEST
        assert sessions.verify(pair.access_token)

    def test_or_a_single_one(self, user, pair, mine):
        second = sessions.start(user)
        assert mine.delete(f"/auth/sessions/{second.session.sid}/").status_code == HTTPStatus.NO_CONTENT
        with pytest.raises(RevokedTokenError):
            sessions.verify(second.access_token)
        assert mine.delete(f"/auth/sessions/{second.session.sid}/").status_code == HTTPStatus.NOT_FOUND
        assert sessions.verify(pair.access_token)

    def test_the_current_one_has_a_name(self, user, pair, mine):
        second = sessions.start(user)
        assert mine.delete("/auth/sessions/current/").status_code == HTTPStatus.NO_CONTENT
        assert Session.objects.get(pk=pair.session.pk).revoke_reason == Reason.LOGOUT
        assert sessions.verify(second.access_token)

    def test_a_login_of_another_kind_has_no_current_one(self, user, pair, client):
        client.force_authenticate(user)
        assert client.delete("/auth/sessions/current/").status_code == HTTPStatus.NOT_FOUND
        assert sessions.verify(pair.access_token)

    def test_another_users_session_is_not_found(self, other_user, mine):
        foreign = sessions.start(other_user)
        for sid in (foreign.session.sid, encode_id(new_id()), "x", "é", "A" * 300):
            assert mine.delete(f"/auth/sessions/{sid}/").status_code == HTTPStatus.NOT_FOUND
        assert sessions.verify(foreign.access_token)

    @pytest.mark.parametrize("path", ["/auth/sessions/", "/auth/sessions/AAAAAAAAAAAAAAAAAAAAAA/"])
    def test_without_a_token_it_is_401(self, db, client, path):
        answer = client.delete(path)
        assert answer.status_code == HTTPStatus.UNAUTHORIZED
        assert answer["WWW-Authenticate"] == CHALLENGE

    def test_a_browser_session_does_not_authenticate_here(self, user, client):
        client.force_login(user)
        assert client.delete("/auth/sessions/").status_code == HTTPStatus.UNAUTHORIZED

    def test_a_login_of_another_kind_manages_sessions_where_a_project_lets_it(self, user, pair, client):
        client.force_authenticate(user)
        assert [item["current"] for item in client.get("/auth/sessions/").json()] == [False]
        assert client.delete(f"/auth/sessions/{pair.session.sid}/").status_code == HTTPStatus.NO_CONTENT
        second = sessions.start(user)
        assert client.delete("/auth/sessions/?others=true").status_code == HTTPStatus.NO_CONTENT
        with pytest.raises(RevokedTokenError):
            sessions.verify(second.access_token)


@pytest.mark.parametrize(
    ("view", "method"),
    [(views.SessionListView, "get"), (views.SessionListView, "delete"), (views.SessionDetailView, "delete")],
)
def test_what_another_authenticator_finds_is_no_user_by_its_key_alone(pair, view, method):
    class CustomerAuthentication(BaseAuthentication):
        def authenticate(self, request):
            customer = Group(pk=pair.session.user_id)
            customer.is_authenticated = True
            return customer, None

    call = view.as_view(authentication_classes=[CustomerAuthentication])
    arguments = {} if view is views.SessionListView else {"sid": pair.session.sid}
    with pytest.raises(TypeError, match="Expected a user"):
        call(getattr(APIRequestFactory(), method)("/"), **arguments)
    assert Session.objects.live().count() == 1


class TestBadInput:
    BODIES = (
        b"",
        b"{",
        b"[]",
        b"[1]",
        b"null",
        b'"x"',
        b"1e999",
        b"NaN",
        b"[" * 100_000,
        b'{"username":' * 5_000,
        b'{"token": 1}',
        b'{"token": true, "refresh_token": true, "username": true, "password": true}',
        b'{"token": null, "refresh_token": null, "username": null, "password": null}',
        b'{"token": {"a": 1}, "refresh_token": [], "username": {}, "password": []}',
        b'{"token": 1e400, "refresh_token": 1e400, "username": 1e400, "password": 1e400}',
        b'{"refresh_token": ' + b"9" * 5000 + b', "token": ' + b"9" * 5000 + b"}",
        b'{"username": "a\\u0000", "password": "\\ud800", "refresh_token": "\\ud800"}',
        b"\xff\xfe{}",
        b'\xef\xbb\xbf{"token": ""}',
        "{}".encode("utf-16"),
    )

    @pytest.mark.parametrize("path", [OBTAIN, REFRESH, REVOKE])
    @pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
    @pytest.mark.parametrize(
        "content_type",
        ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", ""],
    )
    def test_a_malformed_body_is_a_clear_4xx(self, db, client, path, body, content_type):
        answer = client.generic("POST", path, body, content_type=content_type)
        assert 400 <= answer.status_code < 500
        assert answer["Content-Type"] == "application/json"

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/json; charset=utf-16",
            "application/json; charset=nonsense",
            "application/json; charset=rot13",
            "application/json; charset=base64",
            "application/json; charset=idna",
            "application/json; charset=zlib",
            "application/json; charset=bz2",
            "application/json; charset=utf-7",
            "application/x-www-form-urlencoded; charset=base64",
            "application/x-www-form-urlencoded; charset=punycode",
            "multipart/form-data; boundary=x; charset=idna",
            "multipart/form-data",
            "multipart/form-data; boundary=é",
            ";;;",
            "application/json" * 500,
        ],
    )
    @pytest.mark.parametrize("path", [OBTAIN, REFRESH, REVOKE])
    def test_so_is_an_odd_content_type(self, db, client, path, content_type):
        answer = client.generic("POST", path, b'{"x": "y"}', content_type=content_type)
        assert 400 <= answer.status_code < 500

    @pytest.mark.parametrize("path", [OBTAIN, REFRESH, REVOKE])
    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            ("{", "application/json"),
            ("x", "multipart/form-data"),
            ("a&" * 1001, "application/x-www-form-urlencoded"),
            (parts(1001, 'name="a"'), "multipart/form-data; boundary=x"),
            (parts(101, 'name="a"; filename="b"'), "multipart/form-data; boundary=x"),
        ],
        ids=["no JSON", "no boundary", "fields", "parts", "files"],
    )
    def test_a_body_that_cannot_be_read_is_told_as_that(self, db, client, path, body, content_type):
        answer = client.generic("POST", path, body, content_type=content_type)
        assert answer.status_code == HTTPStatus.BAD_REQUEST
        assert set(answer.json()) == {"detail"}
        assert answer["Cache-Control"] == "no-store"

    @pytest.mark.parametrize("path", [OBTAIN, REFRESH, REVOKE, "/auth/sessions/", "/auth/jwks.json", "/auth/nothing/"])
    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "NONSENSE"])
    def test_so_is_another_method(self, db, client, path, method):
        assert client.generic(method, path).status_code < 500

    @pytest.mark.parametrize("path", [OBTAIN, REFRESH, REVOKE])
    def test_a_method_that_tries_nothing_needs_no_body(self, db, client, path):
        assert client.options(path).status_code == HTTPStatus.OK
        for method in (client.get, client.put, client.delete):
            assert method(path).status_code == HTTPStatus.METHOD_NOT_ALLOWED

    @pytest.mark.parametrize("accept", ["text/html", "application/xml", "nonsense", "*/*;q=é", ""])
    def test_the_answer_is_json_whatever_is_asked_for(self, db, client, accept):
        answer = client.post(OBTAIN, {}, format="json", HTTP_ACCEPT=accept)
        assert answer.status_code == HTTPStatus.BAD_REQUEST
        assert answer["Content-Type"] == "application/json"
        answer = client.get("/auth/jwks.json", HTTP_ACCEPT="application/jwk-set+json")
        assert answer.status_code == HTTPStatus.OK

    @pytest.mark.parametrize("length", ["abc", "1e3", " ", "0x10", "-1", "9" * 5000])
    @pytest.mark.parametrize("path", [OBTAIN, REFRESH, REVOKE])
    def test_so_is_a_length_that_is_no_number(self, db, path, length):
        request = APIRequestFactory().post(path, {}, format="json")
        request.META["CONTENT_LENGTH"] = length
        answer = resolve(path).func(request)
        assert 400 <= answer.status_code < 500

    @pytest.mark.parametrize("path", [OBTAIN, REFRESH, REVOKE])
    def test_a_body_that_is_too_large_is_not_read(self, db, client, path):
        answer = client.generic("POST", path, b"x" * 70_000, content_type="application/json")
        assert answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        assert answer.json() == {"detail": "The request body is too large."}

    @pytest.mark.parametrize(("length", "status"), [(64 * 1024, 400), (64 * 1024 + 1, 413)])
    def test_sixty_four_kilobytes_are_not_too_large_and_one_byte_more_is(self, db, client, length, status):
        body = b"{" + b" " * (length - 2) + b"}"
        assert client.generic("POST", OBTAIN, body, content_type="application/json").status_code == status

    def test_a_name_that_the_model_cannot_hold_is_ill_typed(self, db, post, monkeypatch):
        monkeypatch.setattr(get_user_model(), "USERNAME_FIELD", "id")
        answer = post(OBTAIN, {"id": "abc", "password": "x"})
        assert answer.status_code == HTTPStatus.BAD_REQUEST
        assert set(answer.json()) == {"id"}

    def test_a_message_names_the_field_and_repeats_no_secret(self, db, post):
        answer = post(OBTAIN, {"username": ["alice"], "password": ["hunter2"]})
        assert set(answer.json()) == {"username", "password"}
        assert "hunter2" not in answer.content.decode()


class TestDatabaseFailure:
    @pytest.mark.parametrize("error", [OperationalError, InterfaceError, InternalError])
    @pytest.mark.parametrize(
        ("path", "body"),
        [(OBTAIN, {"username": "a", "password": "b"}), (REFRESH, {"refresh_token": ""}), (REVOKE, {"token": ""})],
    )
    def test_it_is_503_with_retry_after_and_not_401(self, pair, post, monkeypatch, path, body, error):
        def fail(*args, **kwargs):
            raise error("password=hunter2")

        monkeypatch.setattr(token_views, "authenticate", fail)
        monkeypatch.setattr(sessions.Session.objects, "primary", fail)
        monkeypatch.setattr(sessions, "fetch", fail)
        answer = post(path, {name: value or pair.refresh_token for name, value in body.items()})
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert answer["Retry-After"] == "5"
        assert set(answer.json()) == {"detail", "code"}
        assert answer.json()["code"] == "database_unavailable"
        assert "hunter2" not in answer.content.decode()


@pytest.mark.django_db(transaction=True)
class TestAtomicRequests:
    @pytest.fixture(autouse=True)
    def _atomic_requests(self, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)

    def test_the_end_of_a_reused_session_stays_written(self, pair, post):
        sessions.refresh(sessions.refresh(pair.refresh_token).refresh_token)
        assert_refused(post(REFRESH, {"refresh_token": pair.refresh_token}), "token_reused")
        assert Session.objects.get().revoke_reason == Reason.REUSE
        assert DenylistEntry.objects.exists()

    def test_so_it_does_in_a_subclass_with_its_own_dispatch(self, pair):
        class Custom(views.TokenRefreshView):
            def dispatch(self, request, *args, **kwargs):
                return super().dispatch(request, *args, **kwargs)

        from django.core.handlers.base import BaseHandler

        sessions.refresh(sessions.refresh(pair.refresh_token).refresh_token)
        view = BaseHandler().make_view_atomic(Custom.as_view())
        answer = view(APIRequestFactory().post("/", {"refresh_token": pair.refresh_token}))
        assert answer.data["code"] == "token_reused"
        assert Session.objects.get().revoke_reason == Reason.REUSE

    def test_every_view_runs_outside_of_transactions_of_every_database(self):
        for view in (
            views.JWKSView,
            views.TokenObtainView,
            views.TokenRevokeView,
            views.SessionListView,
            views.SessionDetailView,
        ):
            assert "default" in view.as_view()._non_atomic_requests


def test_a_refusal_inside_a_test_with_atomic_requests_leaves_the_database_usable(pair, post, monkeypatch):
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert_refused(post(REFRESH, {"refresh_token": "x"}), "token_invalid")
    assert Session.objects.count() == 1


class TestCustomizing:
    def test_another_transport_uses_the_two_hooks(self, pair):
        class CookieRefreshView(views.TokenRefreshView):
            def get_refresh_token(self, request):
                return request.COOKIES["refresh"]

            def build_response(self, pair):
                response = super().build_response(pair)
                response.set_cookie("refresh", response.data.pop("refresh_token"))
                return response

        request = APIRequestFactory().post("/")
        request.COOKIES["refresh"] = pair.refresh_token
        answer = CookieRefreshView.as_view()(request)
        assert answer.status_code == HTTPStatus.OK
        assert answer.cookies["refresh"].value.startswith("jrt_")
        assert "refresh_token" not in answer.data

    def test_a_transport_that_found_no_token_is_refused(self, db):
        class CookieRefreshView(views.TokenRefreshView):
            def get_refresh_token(self, request):
                return request.COOKIES.get("refresh")

        answer = CookieRefreshView.as_view()(APIRequestFactory().post("/"))
        assert (answer.status_code, answer.data["code"]) == (HTTPStatus.UNAUTHORIZED, "token_invalid")

    @pytest.mark.parametrize("versioning", [NamespaceVersioning, AcceptHeaderVersioning])
    def test_the_versions_of_a_project_are_none_of_ours(self, user, client, monkeypatch, versioning):
        monkeypatch.setattr(APIView, "versioning_class", versioning)
        monkeypatch.setattr(BaseVersioning, "allowed_versions", ["v1"])
        accept = "application/json; version=9"
        body = {"username": "alice", "password": "correct horse"}
        assert client.post(OBTAIN, body, format="json", HTTP_ACCEPT=accept).status_code == HTTPStatus.OK
        assert client.get("/auth/jwks.json", HTTP_ACCEPT=accept).status_code == HTTPStatus.OK

    def test_the_rest_frameworks_own_schema_has_every_endpoint(self):
        from rest_framework.schemas.openapi import AutoSchema, SchemaGenerator

        patterns = [path("auth/", include("django_jwtauth.urls"))]
        with mock.patch.object(APIView, "schema", AutoSchema()), warnings.catch_warnings(action="ignore"):
            assert len(SchemaGenerator(patterns=patterns).get_schema(public=True)["paths"]) == 6

    def test_a_base_view_must_say_where_pairs_come_from(self, db):
        with pytest.raises(NotImplementedError):
            views.TokenPairView().get_token_pair(None)

    def test_a_mistake_in_a_hook_is_not_hidden(self, user, post, jwtauth):
        jwtauth(CLAIMS=lambda user, session, request: {"sub": "x"})
        with pytest.raises(ImproperlyConfigured):
            post(OBTAIN, {"username": "alice", "password": "correct horse"})

    def test_the_projects_exception_handler_is_asked(self, db, post, monkeypatch):
        seen = []

        def handler(exc, context):
            seen.append(exc)
            return Response({"wrapped": True}, status=exc.status_code)

        monkeypatch.setattr(views.AuthView, "get_exception_handler", lambda self: handler)
        assert post(REFRESH, {"refresh_token": "x"}).json() == {"wrapped": True}
        assert isinstance(seen[0], APIException)


def test_urls_have_names():
    names = ["token_obtain", "token_refresh", "token_revoke", "session_list", "jwks"]
    assert [reverse(f"jwtauth:{name}") for name in names] == [
        OBTAIN,
        REFRESH,
        REVOKE,
        "/auth/sessions/",
        "/auth/jwks.json",
    ]
    assert reverse("jwtauth:session_detail", args=["abc"]) == "/auth/sessions/abc/"
