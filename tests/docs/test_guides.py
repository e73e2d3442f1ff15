"""The guides in docs/ do what they say: their code is taken from the page and used."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable, Iterator
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.core import signing
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.core.management import call_command
from django.test import RequestFactory
from django.test.utils import isolate_apps
from django.utils import timezone
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.test import APIRequestFactory

from django_jwtauth import sessions, signals
from django_jwtauth.authentication import JWTAuthentication
from django_jwtauth.models import DenylistEntry, Session
from django_jwtauth.throttling import OutcomeThrottle
from notes.views import PingView
from tests.docs.readme import DOCS, blocks, project, steps
from tests.support.answers import AUTHORIZATIONS

PASSWORD = "correct horse"


def code(page: str, **given: Any) -> dict[str, Any]:
    """Return what the Python blocks of a page define."""
    names: dict[str, Any] = {"__name__": "tests.support.people.guide", "urlpatterns": [], **project(), **given}
    for block in blocks(DOCS / page):
        if block.language == "python":
            exec(compile(block.text, page, "exec"), names)  # noqa: S102
    return names


def post(view: Any, **body: Any) -> Any:
    return view.as_view()(APIRequestFactory().post("/", body, format="json"))


def with_token(pair: Any) -> Any:
    return RequestFactory().get("/", headers={"Authorization": f"Bearer {pair.access_token}"})


class TestClaims:
    def test_scopes_are_granted_and_asked_for(self, user: Any, jwtauth: Callable[..., None]) -> None:
        guide = code("howto/claims.md", user=user, request=None)
        jwtauth(CLAIMS=guide["claims"])
        view = guide["ReportView"].as_view()
        assert view(with_token(sessions.start(user))).status_code == HTTPStatus.FORBIDDEN
        user.is_staff = True
        user.save()
        assert view(with_token(sessions.start(user))).data == {"plan": "basic"}

    @pytest.mark.parametrize(
        ("method", "scope", "granted"),
        [
            ("get", "notes:read", True),
            ("post", "notes:read", False),
            ("post", "notes:write", True),
            ("get", "notes:write", False),
        ],
    )
    def test_reading_asks_for_another_scope_than_writing(
        self, method: str, scope: str, granted: bool, user: Any, jwtauth: Callable[..., None]
    ) -> None:
        guide = code("howto/claims.md", user=user, request=None)
        jwtauth(CLAIMS=lambda user, session, request: {"scope": scope})

        class View(guide["APIView"]):  # type: ignore[misc]
            authentication_classes = (JWTAuthentication,)
            permission_classes = (guide["NotesScope"],)

            def get(self, request: Any) -> Any:
                return guide["Response"]()

            post = get

        header = {"HTTP_AUTHORIZATION": f"Bearer {sessions.start(user).access_token}"}
        answer = View.as_view()(getattr(APIRequestFactory(), method)("/", **header))
        assert (answer.status_code == HTTPStatus.OK) is granted


class TestUsers:
    @pytest.fixture
    def guide(self, db: None) -> Any:
        with isolate_apps("tests.support.people"):
            yield code("howto/users.md")

    def test_addresses_are_one_in_whatever_case(self, guide: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        model, found = guide["User"], []
        monkeypatch.setattr(type(model.objects), "get", lambda self, **lookup: found.append(lookup))
        model.objects.get_by_natural_key("Ada@Example.com")
        monkeypatch.setattr(guide["AbstractUser"], "save", lambda self, **options: found.append({"email": self.email}))
        model(email="Ada@Example.com").save()
        assert found == [{"email": "ada@example.com"}] * 2

    def test_a_link_logs_in(self, guide: dict[str, Any], user: Any) -> None:
        answer = post(guide["LinkLoginView"], code=signing.dumps(user.pk, salt="login-link"))
        assert sessions.verify(answer.data["access_token"]).sub == str(user.pk)

    def test_a_forged_or_foreign_link_does_not(self, guide: dict[str, Any], user: Any) -> None:
        codes = [signing.dumps(user.pk), "x", signing.dumps(0, salt="login-link")]
        answers = [post(guide["LinkLoginView"], code=code) for code in codes]
        assert {(answer.status_code, answer.data["code"]) for answer in answers} == {
            (HTTPStatus.UNAUTHORIZED, "invalid_credentials")
        }


class TestRememberMe:
    @pytest.mark.parametrize(("remember_me", "days"), [(True, 90), (False, 0.5)])
    def test_it_decides_how_long_the_session_lives(self, remember_me: bool, days: float, user: Any) -> None:
        view = code("howto/remember-me.md")["LoginView"]
        answer = post(view, username="alice", password=PASSWORD, remember_me=remember_me)
        lives = user.jwtauth_sessions.get().ends_at - timezone.now()
        assert abs(lives - timedelta(days=days)) < timedelta(minutes=1)
        assert answer.data["refresh_expires_in"] <= min(days, 14) * 24 * 60 * 60

    def test_a_wrong_password_is_refused(self, user: Any) -> None:
        answer = post(code("howto/remember-me.md")["LoginView"], username="alice", password="wrong")
        assert (answer.status_code, answer.data["code"]) == (HTTPStatus.UNAUTHORIZED, "invalid_credentials")


class TestThrottling:
    @pytest.fixture(autouse=True)
    def _one_window(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(OutcomeThrottle, "timer", lambda self: 1_000_000_000)

    def test_counting_elsewhere_fills_that_cache(
        self, user: Any, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend = "django.core.cache.backends.locmem.LocMemCache"
        settings.CACHES = {"default": {"BACKEND": backend}, "throttles": {"BACKEND": backend, "LOCATION": "throttles"}}
        view = code("howto/throttling.md")["LoginView"]
        monkeypatch.setattr(view.throttle_classes[0], "default_rate", "2/hour")
        answers = [post(view, username="alice", password="wrong").status_code for _ in range(3)]
        assert answers == [HTTPStatus.UNAUTHORIZED] * 2 + [HTTPStatus.TOO_MANY_REQUESTS]
        elsewhere: LocMemCache = caches["throttles"]  # type: ignore[assignment]
        assert len(elsewhere._cache) == 2
        elsewhere.clear()
        assert post(view, username="alice", password="wrong").status_code == HTTPStatus.UNAUTHORIZED

    def test_a_throttle_counts_the_outcome_it_names(self, user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        view = code("howto/throttling.md")["TenantLoginView"]
        monkeypatch.setattr(view.throttle_classes[-1], "default_rate", "1/hour")
        passwords = ("wrong", PASSWORD, PASSWORD)
        answers = [post(view, username="alice", password=each).status_code for each in passwords]
        assert answers == [HTTPStatus.UNAUTHORIZED, HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS]

    def test_the_rates_replace_ours(self, user: Any, client: Any, settings: Any) -> None:
        settings.REST_FRAMEWORK = with_first_block("howto/throttling.md", settings.REST_FRAMEWORK)
        bodies = [{"username": "alice", "password": "wrong"}] * 6
        statuses = [client.post("/auth/token/", body).status_code for body in bodies]
        assert statuses == [HTTPStatus.UNAUTHORIZED] * 5 + [HTTPStatus.TOO_MANY_REQUESTS]


class TestProxies:
    @pytest.mark.parametrize(
        ("headers", "address"),
        [
            ({"X-Forwarded-For": "192.0.2.1"}, "192.0.2.1"),
            ({"X-Forwarded-For": "203.0.113.7, 192.0.2.1"}, "192.0.2.1"),
        ],
    )
    def test_one_proxy_is_believed_and_no_client(
        self, headers: dict[str, str], address: str, user: Any, settings: Any
    ) -> None:
        settings.REST_FRAMEWORK = with_first_block("howto/proxies.md", settings.REST_FRAMEWORK)
        for remote in ("127.0.0.1", ""):  # the second one is a Unix socket
            session = sessions.start(user, RequestFactory(headers=headers).get("/", REMOTE_ADDR=remote)).session
            assert session.ip_address == address

    def test_a_socket_has_no_address(self, user: Any) -> None:
        assert sessions.start(user, RequestFactory().get("/", REMOTE_ADDR="")).session.ip_address is None


class TestTasks:
    def test_leavers_are_logged_out(self, user: Any) -> None:
        user.email = "alice@old.example.com"
        user.save()
        sessions.start(user)
        names = {"user": user}
        for block in blocks(DOCS / "howto/tasks.md"):
            if block.language == "python" and not block.comment:
                exec(block.text, names)  # noqa: S102
        assert {session.revoke_reason for session in user.jwtauth_sessions.all()} == {"inactive", "logout"}
        with pytest.raises(sessions.TokenError):
            sessions.verify(names["pair"].access_token)

    @pytest.mark.django_db
    def test_the_commands_print_what_the_page_shows(self, capsys: pytest.CaptureFixture[str]) -> None:
        sessions.start(get_user_model().objects.create_user("ada"))
        (console,) = [block.text for block in blocks(DOCS / "howto/tasks.md") if block.language == "console"]
        for command, printed in steps(console):
            call_command(*shlex.split(command.removeprefix("python manage.py ")))
            assert capsys.readouterr().out.strip() == printed


class TestPlainViews:
    @pytest.fixture
    def guide(self) -> dict[str, Any]:
        return code("howto/plain-views.md")

    def test_a_token_is_let_in(self, guide: dict[str, Any], pair: Any) -> None:
        assert guide["hello"](with_token(pair)).content == b'{"hello": "alice"}'
        assert async_to_sync(guide["hello_later"])(with_token(pair)).content == b'{"hello": "alice"}'

    def test_none_and_a_bad_one_are_refused(self, guide: dict[str, Any], user: Any) -> None:
        for request in (RequestFactory().get("/"), RequestFactory().get("/", headers={"Authorization": "Bearer x"})):
            for answer in (guide["hello"](request), async_to_sync(guide["hello_later"])(request)):
                assert answer.status_code == HTTPStatus.UNAUTHORIZED
                assert answer["WWW-Authenticate"].endswith('error="invalid_token"')

    @pytest.mark.parametrize("header", AUTHORIZATIONS)
    def test_it_takes_the_schemes_that_the_app_takes(self, header: str, guide: dict[str, Any], pair: Any) -> None:
        request = RequestFactory().get("/", headers={"Authorization": header.format(pair.access_token)})
        status = PingView.as_view()(request).status_code
        assert guide["hello"](request).status_code == status
        assert async_to_sync(guide["hello_later"])(request).status_code == status

    def test_a_user_who_is_gone_is_refused_in_the_view(self, guide: dict[str, Any], user: Any, pair: Any) -> None:
        get_user_model().objects.filter(pk=user.pk).update(is_active=False)
        assert guide["hello"](with_token(pair)).status_code == HTTPStatus.UNAUTHORIZED

    @pytest.mark.parametrize("offered", [[], ["notes"], ["notes", "x"], ["other", "{token}"], ["notes", "{token}"]])
    def test_a_connection_gets_its_user(self, offered: list[str], guide: dict[str, Any], user: Any, pair: Any) -> None:
        seen = {}

        async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
            seen.update(scope)

        subprotocols = [word.format(token=pair.access_token) for word in offered]
        async_to_sync(guide["TokenAuthMiddleware"](app))({"subprotocols": subprotocols}, None, None)
        is_known = offered == ["notes", "{token}"]
        assert (seen["user"] == user, seen["user"].is_anonymous) == (is_known, not is_known)


class TestPython:
    @pytest.fixture
    def guide(self, user: Any) -> dict[str, Any]:
        return code("reference/python.md", user=user, request=RequestFactory().get("/"))

    @pytest.fixture
    def view(self, guide: dict[str, Any]) -> Any:
        return guide["LoginByLinkView"]

    def test_the_functions_do_what_they_say(self, guide: dict[str, Any], user: Any) -> None:
        assert guide["claims"].sub == str(user.pk)
        ended = user.jwtauth_sessions.get()
        assert (ended.generation, ended.revoke_reason) == (1, "logout")

    def test_a_view_of_ones_own_adds_to_the_answer(self, guide: dict[str, Any], user: Any) -> None:
        assert post(guide["LoginView"], username="alice", password=PASSWORD).data["user_id"] == user.pk

    def test_a_login_view_of_ones_own_answers_as_ours_does(self, view: Any, user: Any, client: Any) -> None:
        answer = post(view, code=signing.dumps("alice", salt="login by link"))
        ours = client.post("/auth/token/", {"username": "alice", "password": PASSWORD})
        assert (answer.status_code, answer["Cache-Control"]) == (ours.status_code, ours["Cache-Control"])
        assert answer.data.keys() == ours.json().keys()
        assert sessions.verify(answer.data["access_token"]).sub == str(user.pk)

    def test_it_refuses_as_ours_does(self, view: Any, user: Any, client: Any) -> None:
        ours = client.post("/auth/token/", {"username": "alice", "password": "wrong"})
        inactive = signing.dumps("alice", salt="login by link")
        get_user_model().objects.update(is_active=False)
        for link in ("x", None, signing.dumps("nobody", salt="login by link"), inactive):
            answer = post(view, code=link)
            assert (answer.status_code, answer["WWW-Authenticate"]) == (ours.status_code, ours["WWW-Authenticate"])
            assert answer.data == ours.json()

    def test_a_token_may_come_from_elsewhere(self, guide: dict[str, Any], pair: Any) -> None:
        authentication = guide["HeaderAuthentication"]()
        request = RequestFactory().get("/", headers={"X-Access-Token": pair.access_token})
        assert authentication.authenticate(request)[1].sid == pair.session.sid
        assert authentication.authenticate(with_token(pair)) is None


class TestSignals:
    @pytest.fixture(autouse=True)
    def forget_receivers(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        reused = signals.refresh_token_reused
        monkeypatch.setattr(reused, "receivers", list(reused.receivers))
        yield
        reused.sender_receivers_cache.clear()

    def test_a_replay_sends_mail(self, user: Any, mailoutbox: Any) -> None:
        get_user_model().objects.filter(pk=user.pk).update(email="alice@example.com")
        user.refresh_from_db()
        code("reference/signals.md")
        signals.refresh_token_reused.send(sender=Session, session=sessions.start(user).session, request=None)
        assert [mail.to for mail in mailoutbox] == [["alice@example.com"]]


class TestPrivacy:
    def test_old_addresses_are_erased_and_what_is_kept_is_told(self, user: Any) -> None:
        request = RequestFactory(headers={"User-Agent": "curl/8"}).get("/")
        old, new = sessions.start(user, request).session, sessions.start(user, request).session
        Session.objects.filter(pk=old.pk).update(refreshed_at=timezone.now() - timedelta(days=4))
        sessions.revoke(new)
        told = code("howto/privacy.md", user=user)
        kept = {row["revoke_reason"]: (row["ip_address"], row["user_agent"]) for row in told["about_sessions"]}
        assert kept == {"": (None, ""), "logout": ("127.0.0.1", "curl")}
        assert [row["reason"] for row in told["about_denials"]] == ["logout"]

    def test_an_address_is_kept_for_fifteen_days_and_an_hour(self, user: Any) -> None:
        session = sessions.start(user, RequestFactory().get("/")).session
        sessions.revoke(session)
        lives = session.expires_at - timezone.now()
        assert timedelta(days=13) < lives <= timedelta(days=14)
        for past, left in ((timedelta(minutes=59), True), (timedelta(hours=1, minutes=1), False)):
            ended = timezone.now() - past
            Session.objects.update(expires_at=ended, access_expires_at=ended)
            assert Session.objects.expired().exists() is not left

    def test_deleting_a_user_leaves_what_is_denied(self, user: Any) -> None:
        sessions.start(user)
        user.delete()
        assert (Session.objects.count(), DenylistEntry.objects.count()) == (0, 1)


class TestComingFromSimplejwt:
    """With the real package; its blacklist app is not installed here."""

    @pytest.fixture
    def guide(self) -> dict[str, Any]:
        pytest.importorskip("rest_framework_simplejwt")
        return code("howto/coming-from-simplejwt.md")

    @pytest.fixture
    def view(self, guide: dict[str, Any]) -> Any:
        return PingView.as_view(authentication_classes=[guide["EitherAuthentication"]])

    def test_both_kinds_of_tokens_are_accepted(self, guide: dict[str, Any], view: Any, user: Any) -> None:
        old = guide["RefreshToken"].for_user(user).access_token
        for token in (sessions.start(user).access_token, old):
            answer = view(RequestFactory().get("/", headers={"Authorization": f"Bearer {token}"}))
            assert (answer.status_code, answer.data["user_id"]) == (HTTPStatus.OK, user.pk), token

    def test_each_class_alone_refuses_the_other_kind(self, guide: dict[str, Any], user: Any) -> None:
        old = guide["RefreshToken"].for_user(user).access_token
        for kind, token in (
            (JWTAuthentication, old),
            (guide["OldAuthentication"], sessions.start(user).access_token),
        ):
            request = RequestFactory().get("/", headers={"Authorization": f"Bearer {token}"})
            with pytest.raises(AuthenticationFailed):
                kind().authenticate(request)

    @pytest.mark.parametrize("token", ["", "x", "e30.e30.e30", "eyJ0eXAiOiJKV1QifQ.e30.e30"])
    def test_a_token_of_neither_is_refused(self, token: str, view: Any, db: None) -> None:
        answer = view(RequestFactory().get("/", headers={"Authorization": f"Bearer {token}"}))
        assert answer.status_code == HTTPStatus.UNAUTHORIZED

    def test_an_old_refresh_token_is_exchanged(self, guide: dict[str, Any], user: Any) -> None:
        old = guide["RefreshToken"].for_user(user)
        answer = post(guide["ExchangeView"], refresh_token=str(old))
        assert sessions.verify(answer.data["access_token"]).sub == str(user.pk)
        assert sessions.refresh(answer.data["refresh_token"]).session.user == user

    def test_an_old_access_token_and_garbage_are_not(self, guide: dict[str, Any], user: Any) -> None:
        for token in (str(guide["RefreshToken"].for_user(user).access_token), "x", sessions.start(user).refresh_token):
            answer = post(guide["ExchangeView"], refresh_token=token)
            assert (answer.status_code, answer.data["code"]) == (HTTPStatus.UNAUTHORIZED, "token_invalid")


def with_first_block(page: str, rest_framework: dict[str, Any]) -> dict[str, Any]:
    """Return ``REST_FRAMEWORK`` with what the first Python block of a page adds."""
    names = {"REST_FRAMEWORK": copy.deepcopy(rest_framework)}
    exec(next(block.text for block in blocks(DOCS / page) if block.language == "python"), names)  # noqa: S102
    return names["REST_FRAMEWORK"]
