"""The bearer door: which header is a token, what a view gets, what a refusal looks like."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError
from django.views.debug import ExceptionReporter
from rest_framework.exceptions import APIException, AuthenticationFailed, ErrorDetail
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView

from django_jwtauth import authentication, sessions
from django_jwtauth.authentication import to_api_exception
from django_jwtauth.denylist.snapshot import denylist
from django_jwtauth.errors import CredentialsError, ExpiredTokenError, InvalidTokenError, RevokedTokenError
from django_jwtauth.jose.encoding import encode_id, new_id
from django_jwtauth.models import DenylistEntry
from django_jwtauth.tokens.access import get_codec
from tests.support.answers import BARE, INVALID
from tests.support.answers import assert_bearer_refused as assert_refused
from tests.support.statements import failing, statements

pytestmark = pytest.mark.urls("tests.support.views")

CLASSES = ["/plain/", "/active/", "/stateless/"]


@pytest.fixture
def get(client):
    def get(path, header=None, **extra):
        headers = {} if header is None else {"HTTP_AUTHORIZATION": header}
        return client.get(path, **headers, **extra)

    return get


def own_handler(exc, context):
    return Response({"errors": [str(exc.detail)], "codes": exc.get_codes()}, status=exc.status_code)


def delete_unnoticed(user):
    """Delete a user as something does that leaves no trace in the denylist."""
    user.delete()
    DenylistEntry.objects.all().delete()
    denylist.clear()


class TestHeader:
    @pytest.mark.parametrize("path", CLASSES)
    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
    def test_a_good_token_is_let_in_whatever_the_schemes_case(self, get, pair, path, scheme):
        answer = get(path, f"{scheme} {pair.access_token}")
        assert answer.status_code == HTTPStatus.OK
        assert str(answer.json()["pk"]) == str(pair.session.user_id)
        assert answer.json()["sid"] == pair.session.sid

    @pytest.mark.parametrize("path", [*CLASSES, "/basic-second/"])
    @pytest.mark.parametrize("header", [None, "", "Basic", "Token abc", "Bearerabc", "Digest x=y"])
    def test_without_a_bearer_token_the_challenge_names_no_error(self, get, db, path, header):
        answer = get(path, header)
        assert answer.status_code == HTTPStatus.UNAUTHORIZED
        assert answer["WWW-Authenticate"] == BARE
        assert "code" not in answer.json()

    def test_other_schemes_are_left_to_other_authenticators(self, get, user):
        answer = get("/basic-second/", "Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==")
        assert answer.json() == {"pk": user.pk, "sid": None}

    @pytest.mark.parametrize("path", [*CLASSES, "/session-first/", "/basic-second/"])
    @pytest.mark.parametrize(
        "credentials",
        ["", " ", "a b", "a.b.c", "{token} {token}", "{token},Bearer {token}", "{token}é", "X{token}X", "\0", "jrt_x"],
    )
    def test_a_malformed_token_is_refused_with_its_challenge(self, get, pair, path, credentials):
        assert_refused(get(path, "Bearer " + credentials.format(token=pair.access_token)))

    def test_a_refresh_token_is_no_bearer_token(self, get, pair):
        assert_refused(get("/plain/", f"Bearer {pair.refresh_token}"))

    def test_a_token_in_query_or_body_is_no_credential(self, client, pair):
        answer = client.get(f"/plain/?access_token={pair.access_token}")
        assert answer["WWW-Authenticate"] == BARE
        answer = client.post("/plain/", {"access_token": pair.access_token})
        assert answer["WWW-Authenticate"] == BARE


class TestAnotherPlace:
    """A class that reads the token from elsewhere overrides one method."""

    @pytest.fixture
    def ask(self, rf):
        class HeaderAuthentication(authentication.JWTAuthentication):
            def get_token(self, request):
                return request.META.get("HTTP_X_TOKEN")

        class View(APIView):
            authentication_classes = (HeaderAuthentication,)
            permission_classes = (IsAuthenticated,)

            def get(self, request):
                return Response({"pk": request.user.pk})

        return lambda **headers: View.as_view()(rf.get("/", **headers))

    def test_a_token_there_is_let_in(self, ask, pair):
        assert ask(HTTP_X_TOKEN=pair.access_token).data == {"pk": pair.session.user_id}

    def test_one_that_is_refused_there_is_401_with_its_code(self, ask, pair):
        sessions.revoke(pair.session)
        answer = ask(HTTP_X_TOKEN=pair.access_token)
        assert (answer.status_code, answer["WWW-Authenticate"]) == (HTTPStatus.UNAUTHORIZED, INVALID)
        assert answer.data["code"] == "token_revoked"

    def test_the_usual_place_is_not_read(self, ask, pair):
        answer = ask(HTTP_AUTHORIZATION=f"Bearer {pair.access_token}")
        assert (answer.status_code, answer["WWW-Authenticate"]) == (HTTPStatus.UNAUTHORIZED, BARE)


class TestRefusal:
    def test_expired_and_revoked_have_codes_of_their_own(self, get, pair, monkeypatch):
        sessions.revoke(pair.session)
        answer = get("/plain/", f"Bearer {pair.access_token}")
        assert_refused(answer, "token_revoked")
        monkeypatch.setattr("time.time", lambda: pair.session.access_expires_at.timestamp() + 5)
        assert_refused(get("/plain/", f"Bearer {pair.access_token}"), "token_expired")

    @pytest.mark.parametrize("path", CLASSES)
    def test_a_subject_that_is_no_key_is_refused_where_there_are_users(self, get, pair, path, db):
        codec = get_codec()
        claims = {"iss": "django-jwtauth", "aud": "django-jwtauth", "exp": 2**33, "iat": 0, "sub": "nobody"}
        token = codec.encode({**claims, "jti": encode_id(new_id()), "sid": encode_id(new_id())})
        answer = get(path, f"Bearer {token}")
        if path == "/stateless/":
            assert answer.json()["pk"] == "nobody"
        else:
            assert_refused(answer)

    @pytest.mark.parametrize("path", ["/name/", "/session-first-name/", "/active/"])
    @pytest.mark.parametrize("change", ["gone", "inactive"])
    def test_a_user_gone_or_inactive_is_401_when_looked_at(self, get, user, pair, path, change):
        if change == "gone":
            delete_unnoticed(user)
        else:
            get_user_model().objects.update(is_active=False)
        assert_refused(get(path, f"Bearer {pair.access_token}"))

    def test_a_view_that_uses_only_the_key_does_not_ask(self, get, user, pair):
        get_user_model().objects.update(is_active=False)
        assert get("/plain/", f"Bearer {pair.access_token}").status_code == HTTPStatus.OK

    def test_a_stateless_view_asks_nothing_but_the_denylist(self, get, pair):
        with statements() as executed:
            get("/stateless/", f"Bearer {pair.access_token}")
        assert ["denylist" in sql for sql in executed] == [True]

    def test_the_active_user_class_loads_the_user_in_one_query(self, get, pair):
        get("/active/", f"Bearer {pair.access_token}")
        with statements() as executed:
            get("/active/", f"Bearer {pair.access_token}")
        assert len(executed) == 1

    def test_the_browsable_api_refuses_a_deleted_user_while_it_authenticates(self, get, user, pair):
        header = f"Bearer {pair.access_token}"
        answer = get("/plain/", header, HTTP_ACCEPT="text/html")
        assert answer.status_code == HTTPStatus.OK
        assert "alice" in answer.content.decode()
        delete_unnoticed(user)
        answer = get("/plain/", header, HTTP_ACCEPT="text/html")
        assert answer.status_code == HTTPStatus.UNAUTHORIZED
        assert answer["WWW-Authenticate"] == INVALID

    @pytest.mark.parametrize("path", ["/name/", "/active/"])
    def test_a_database_that_fails_is_503_with_retry_after(self, get, pair, path):
        get("/plain/", f"Bearer {pair.access_token}")
        with failing("SELECT", OperationalError()):
            answer = get(path, f"Bearer {pair.access_token}")
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert answer["Retry-After"] == "5"
        assert answer.json()["code"] == "database_unavailable"

    def test_a_denylist_that_cannot_be_loaded_is_503_and_never_401(self, get, pair, monkeypatch):
        def fail(*arguments):
            raise OperationalError

        monkeypatch.setattr("django_jwtauth.denylist.loading.read", fail)
        answer = get("/plain/", f"Bearer {pair.access_token}")
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert answer["Retry-After"] == "5"
        assert answer.json()["code"] == "denylist_unavailable"
        assert not answer.has_header("WWW-Authenticate")


class TestExceptions:
    def test_a_refusal_is_an_authentication_failure_whose_status_and_challenge_stay(self):
        refusal = to_api_exception(InvalidTokenError())
        assert isinstance(refusal, AuthenticationFailed)
        refusal.auth_header, refusal.status_code = "Basic", 403
        assert (refusal.auth_header, refusal.status_code) == (INVALID, 401)
        refusal.note = "other attributes are free"
        assert refusal.note

    @pytest.mark.parametrize("error", [InvalidTokenError, ExpiredTokenError, RevokedTokenError])
    def test_every_error_keeps_its_code(self, error):
        refusal = to_api_exception(error())
        assert isinstance(refusal, APIException)
        assert isinstance(refusal.detail, ErrorDetail)
        assert (refusal.detail, refusal.detail.code) == (str(error.message), error.code)
        assert (str(refusal), refusal.get_codes()) == (str(error.message), error.code)

    @pytest.fixture
    def _own_handler(self, settings):
        """As packages that make errors uniform do: they write the text of the detail."""
        name = f"{__name__}.own_handler"
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "EXCEPTION_HANDLER": name}

    @pytest.mark.usefixtures("_own_handler")
    @pytest.mark.parametrize("path", [*CLASSES, "/session-first/", "/auth/sessions/"])
    def test_a_handler_of_the_projects_own_renders_one_error(self, get, pair, path, settings):
        settings.ROOT_URLCONF = "config.urls" if path.startswith("/auth") else "tests.support.views"
        sessions.revoke(pair.session)
        answer = get(path, f"Bearer {pair.access_token}")
        assert answer.status_code == HTTPStatus.UNAUTHORIZED
        assert answer.json() == {"errors": ["The token was revoked. Log in again."], "codes": "token_revoked"}

    @pytest.mark.usefixtures("_own_handler")
    def test_so_it_does_where_the_user_is_refused_in_the_view(self, get, user, pair):
        get_user_model().objects.update(is_active=False)
        assert get("/name/", f"Bearer {pair.access_token}").json() == {
            "errors": ["The token is invalid."],
            "codes": "token_invalid",
        }

    def test_a_view_of_the_projects_own_raises_it_with_its_code(self, rf, user):
        class LoginView(APIView):
            authentication_classes = permission_classes = ()

            def post(self, request):
                raise to_api_exception(CredentialsError(), BARE, request)

        answer = LoginView.as_view()(rf.post("/"))
        assert (answer.status_code, answer["WWW-Authenticate"]) == (HTTPStatus.UNAUTHORIZED, BARE)
        assert answer.data == {"detail": str(CredentialsError.message), "code": "invalid_credentials"}

    def test_the_challenge_is_quoted_and_names_the_realm_once(self):
        assert authentication.INVALID_TOKEN_CHALLENGE.count("realm=") == 1


class TestLogs:
    def test_no_token_is_logged(self, get, pair, caplog):
        caplog.set_level(0)
        sessions.revoke(pair.session)
        for token in (pair.access_token, pair.refresh_token):
            answer = get("/plain/", f"Bearer {token}")
            assert token not in answer.content.decode()
            assert token not in caplog.text

    def test_errors_do_not_repeat_the_token(self, pair):
        denylist.clear()
        with pytest.raises(InvalidTokenError) as caught:
            sessions.verify(pair.access_token + "x")
        assert pair.access_token not in repr(caught.value) + str(caught.value)

    @pytest.mark.parametrize("mistake", ["in a class of the project's own", "in the settings"])
    def test_reports_of_errors_show_neither_token_nor_cookies(self, pair, rf, jwtauth, mistake):
        class Own(authentication.JWTAuthentication):
            def get_user(self, claims, request):
                raise ImproperlyConfigured

        jwtauth(LEEWAY=timedelta(0) if "class" in mistake else "none")
        request = rf.get(
            "/", HTTP_AUTHORIZATION=f"Bearer {pair.access_token}", HTTP_COOKIE=f"refresh_token={pair.refresh_token}"
        )
        with pytest.raises(ImproperlyConfigured) as caught:
            Own().authenticate(request)
        report = ExceptionReporter(request, caught.type, caught.value, caught.tb).get_traceback_html()
        assert "in authenticate" in report
        assert pair.access_token not in report
        assert pair.refresh_token not in report


def test_middleware_may_pass_djangos_own_request(pair, rf):
    request = rf.get("/", HTTP_AUTHORIZATION=f"Bearer {pair.access_token}")
    user, claims = authentication.JWTAuthentication().authenticate(request)
    assert (user.pk, claims.sid) == (pair.session.user_id, pair.session.sid)
