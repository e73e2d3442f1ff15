"""The OpenAPI schema: it is valid, each answer in it can be had, and what a project says itself comes first."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import jsonschema
import jwt
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import OperationalError
from django.db.models import F
from django.test import Client
from django.urls import include, path
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.settings import patched_settings
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.filters import SearchFilter
from rest_framework.generics import GenericAPIView, RetrieveUpdateAPIView
from rest_framework.permissions import AllowAny
from rest_framework.throttling import AnonRateThrottle

import config.urls  # noqa: F401 - its views keep the class of the schema that is set when they are imported
from django_jwtauth import checks, sessions, throttling, views
from django_jwtauth.authentication import JWTActiveUserAuthentication
from django_jwtauth.denylist.snapshot import Denylist
from django_jwtauth.errors import CacheUnavailableError, DenylistUnavailableError, IssuerUnavailableError
from django_jwtauth.jose.encoding import encode_id, new_id
from django_jwtauth.models import Session
from django_jwtauth.openapi import BearerScheme, document_refusals, keep_field_names
from django_jwtauth.serializers import TokenObtainSerializer
from django_jwtauth.tokens.access import get_codec
from django_jwtauth.tokens.pair import TokenPair
from django_jwtauth.views import parsers
from tests.docs.readme import README, block

PAGE = README.parent / "docs" / "reference" / "openapi.md"
PASSWORD = "correct horse"
OBTAIN, REFRESH, REVOKE = "POST /auth/token/", "POST /auth/token/refresh/", "POST /auth/token/revoke/"
LIST, END_ALL, END_ONE = "GET /auth/sessions/", "DELETE /auth/sessions/", "DELETE /auth/sessions/{sid}/"
JWKS = "GET /auth/jwks.json"
Answer = tuple[str, int, str | None]
"""An operation, a status, and a code where there is one."""


@pytest.fixture(scope="module")
def schema() -> Any:
    """Return the schema of the example project, in the version that is all JSON Schema."""
    with patched_settings({"OAS_VERSION": "3.1.0"}):
        return json.loads(Client().get("/api/schema/?format=json").content)


def schema_of(*patterns: Any) -> Any:
    """Return the schema of a project with these URL patterns."""
    return SchemaGenerator(patterns=list(patterns)).get_schema(public=True)


def test_the_schema_is_valid_and_made_without_a_warning():
    output = io.StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=output)
    assert "openapi: 3" in output.getvalue()


def test_the_scheme_is_a_bearer_token_for_swagger_ui_to_ask_for(schema):
    assert schema["components"]["securitySchemes"]["jwtAuth"] == {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
    }
    assert schema["paths"]["/auth/sessions/"]["get"]["security"] == [{"jwtAuth": []}]
    assert schema["paths"]["/api/notes/"]["get"]["security"][0] == {"jwtAuth": []}
    assert schema["paths"]["/auth/token/"]["post"].get("security", [{}]) == [{}]


def test_every_operation_has_a_name_that_is_one_in_every_language(schema):
    names = [operation["operationId"] for path in schema["paths"].values() for operation in path.values()]
    assert [name for name in names if not re.fullmatch(r"[a-z]\w*", name)] == []
    assert len(set(names)) == len(names)


def test_the_jwk_set_is_listed_once(schema):
    assert [path for path in schema["paths"] if "jwks" in path] == ["/auth/jwks.json"]


def test_a_jwk_set_mounted_twice_has_two_names():
    patterns = [path(f"{place}jwks.json", views.JWKSView.as_view()) for place in ("", ".well-known/")]
    names = [path["get"]["operationId"] for path in schema_of(*patterns)["paths"].values()]
    assert sorted(names) == ["jwks_json_retrieve", "well_known_jwks_json_retrieve"]


class TestCamelCase:
    """Of djangorestframework-camel-case, with the hook that drf-spectacular has for it."""

    @pytest.fixture
    def schemas(self):
        """Return a function that gives the schemas of our endpoints and a view of the project's own."""
        pytest.importorskip("djangorestframework_camel_case")

        def make(*hooks):
            patterns = [path("auth/", include("django_jwtauth.urls")), path("own/", OwnView.as_view())]
            with patched_settings({"POSTPROCESSING_HOOKS": list(hooks)}):
                return schema_of(*patterns)["components"]["schemas"]

        return make

    def test_our_fields_keep_the_names_under_which_they_are_sent(self, schemas, user, client):
        made = schemas(checks.CAMELIZE, checks.KEEP_NAMES)
        body = {"username": "alice", "password": "correct horse"}
        pair = client.post("/auth/token/", body, format="json").json()
        assert set(made["TokenPair"]["properties"]) == set(pair) == set(made["TokenPair"]["required"])
        assert "refresh_token" in made["TokenRefreshRequest"]["properties"]
        assert "created_at" in made["APISession"]["properties"]
        assert "userId" in made["Login"]["properties"]

    def test_nothing_changes_without_it(self, schemas):
        assert schemas() == schemas(checks.KEEP_NAMES)

    def test_a_schema_without_a_view_of_ours_is_left_alone(self):
        assert keep_field_names({"components": {}}, SchemaGenerator(patterns=[])) == {"components": {}}


@dataclass
class Api:
    """Whom an answer is coaxed out of."""

    user: Any
    pair: TokenPair
    jwtauth: Callable[..., None]
    monkeypatch: pytest.MonkeyPatch

    def ask(self, operation: str, body: Any = None, token: str | None = None, **headers: str) -> Any:
        """Send a request: by default a good one."""
        method, url = operation.split(" ")
        good = {
            OBTAIN: {"username": "alice", "password": PASSWORD},
            REFRESH: {"refresh_token": self.pair.refresh_token},
            REVOKE: {"token": self.pair.refresh_token},
        }
        content_type = headers.pop("content_type", "application/json")
        if operation not in good:
            headers.setdefault("Authorization", f"Bearer {token or self.pair.access_token}")
        return Client(headers=headers).generic(
            method,
            url.format(sid=self.pair.session.sid),
            json.dumps(good.get(operation) if body is None else body),
            content_type,
        )

    def raises(self, error: Exception, target: Any, name: str) -> None:
        """Let a function fail."""

        def fail(*args: Any, **kwargs: Any) -> None:
            raise error

        self.monkeypatch.setattr(target, name, fail)


@pytest.fixture
def api(user, pair, jwtauth, monkeypatch) -> Api:
    return Api(user, pair, jwtauth, monkeypatch)


def fails(api: Api, operation: str) -> Any:
    # A throttle may count in the database.
    api.raises(OperationalError("gone"), views.AuthView, "check_throttles")
    return api.ask(operation)


def cannot_be_counted(api: Api, operation: str) -> Any:
    api.raises(CacheUnavailableError(), views.AuthView, "check_throttles")
    return api.ask(operation)


def is_throttled(api: Api, operation: str) -> Any:
    api.monkeypatch.setattr(throttling.OutcomeThrottle, "allow_request", lambda *args: False)
    return api.ask(operation)


def is_replayed(api: Api, operation: str) -> Any:
    api.jwtauth(REUSE_LEEWAY=timedelta(0))
    sessions.refresh(api.pair.refresh_token)
    Session.objects.update(refreshed_at=F("refreshed_at") - timedelta(seconds=1))
    return api.ask(operation)


def is_revoked(api: Api, operation: str) -> Any:
    sessions.revoke(api.pair.session)
    return api.ask(operation)


def has_ended(api: Api, operation: str) -> Any:
    Session.objects.update(expires_at=F("expires_at") - timedelta(days=99))
    return api.ask(operation)


def expired_token(api: Api) -> str:
    claims = jwt.decode(api.pair.access_token, options={"verify_signature": False})
    return get_codec().encode({**claims, "iat": 1_000_000_000, "exp": 1_000_000_600})


def has_expired(api: Api, operation: str) -> Any:
    return api.ask(operation, token=expired_token(api))


def revoked_token(api: Api) -> str:
    sessions.revoke(api.pair.session)
    return api.pair.access_token


def ask_as_bearer(api: Api, operation: str, token: str) -> Any:
    return api.ask(operation, {}, Authorization=f"Bearer {token}")


def has_no_denylist_for_a_bearer(api: Api, operation: str) -> Any:
    api.raises(DenylistUnavailableError(), Denylist, "check")
    return ask_as_bearer(api, operation, api.pair.access_token)


def has_no_keys_for_a_bearer(api: Api, operation: str) -> Any:
    api.raises(IssuerUnavailableError(), sessions, "verify")
    return ask_as_bearer(api, operation, api.pair.access_token)


def is_out_of_scope(api: Api, operation: str) -> Any:
    api.jwtauth(CLAIMS=lambda user, session, request: {"scope": "read"})
    return api.ask(operation, token=sessions.start(api.user).access_token)


def has_no_denylist(api: Api, operation: str) -> Any:
    api.raises(DenylistUnavailableError(), Denylist, "check")
    return api.ask(operation)


def has_no_keys(api: Api, operation: str) -> Any:
    api.raises(IssuerUnavailableError(), sessions, "verify")
    return api.ask(operation)


def matches(api: Api, operation: str) -> Any:
    return api.ask(operation, **{"If-None-Match": api.ask(operation)["ETag"]})


Coax = Callable[[Api, str], Any]
WITH_A_BODY: dict[tuple[int, str | None], Coax] = {
    (200, None): Api.ask,
    (400, None): lambda api, operation: api.ask(operation, []),
    (413, None): lambda api, operation: api.ask(operation, "x" * parsers.LONGEST_BODY),
    (415, None): lambda api, operation: api.ask(operation, content_type="text/plain"),
    (503, "database_unavailable"): fails,
    (503, "cache_unavailable"): cannot_be_counted,
}
WITH_A_TOKEN: dict[tuple[int, str | None], Coax] = {
    (401, None): lambda api, operation: api.ask(operation, Authorization=""),
    (401, "token_invalid"): lambda api, operation: api.ask(operation, token="x"),
    (401, "token_expired"): has_expired,
    (401, "token_revoked"): is_revoked,
    (403, None): is_out_of_scope,
    (503, "database_unavailable"): fails,
    (503, "denylist_unavailable"): has_no_denylist,
    (503, "issuer_unavailable"): has_no_keys,
}
ANSWERS: dict[str, dict[tuple[int, str | None], Coax]] = {
    OBTAIN: WITH_A_BODY
    | {
        (401, "invalid_credentials"): lambda api, operation: api.ask(operation, {"username": "x", "password": "y"}),
        (429, None): is_throttled,
    },
    REFRESH: WITH_A_BODY
    | {
        (401, "token_invalid"): lambda api, operation: api.ask(operation, {"refresh_token": "x"}),
        (401, "token_expired"): has_ended,
        (401, "token_revoked"): is_revoked,
        (401, "token_reused"): is_replayed,
        (429, None): is_throttled,
    },
    REVOKE: WITH_A_BODY
    | {
        (401, "token_invalid"): lambda api, operation: ask_as_bearer(api, operation, "x"),
        (401, "token_expired"): lambda api, operation: ask_as_bearer(api, operation, expired_token(api)),
        (401, "token_revoked"): lambda api, operation: ask_as_bearer(api, operation, revoked_token(api)),
        (429, None): is_throttled,
        (503, "denylist_unavailable"): has_no_denylist_for_a_bearer,
        (503, "issuer_unavailable"): has_no_keys_for_a_bearer,
    },
    LIST: WITH_A_TOKEN | {(200, None): Api.ask},
    END_ALL: WITH_A_TOKEN
    | {
        (204, None): Api.ask,
        (400, None): lambda api, operation: api.ask(f"{operation}?others=perhaps"),
    },
    END_ONE: WITH_A_TOKEN
    | {
        (204, None): Api.ask,
        (404, None): lambda api, operation: api.ask(operation.format(sid=encode_id(new_id()))),
    },
    JWKS: {
        (200, None): Api.ask,
        (304, None): matches,
        (412, None): lambda api, operation: api.ask(operation, **{"If-Match": '"another"'}),
    },
}
EVERY = [(operation, *answer) for operation, answers in ANSWERS.items() for answer in answers]


def response_of(schema: Any, operation: str, status: int) -> Any:
    method, url = operation.split(" ")
    return schema["paths"][url][method.lower()]["responses"][str(status)]


def body_of(schema: Any, response: Any) -> Any:
    """Return the schema of a body, with all that it refers to."""
    body = response["content"]["application/json"]["schema"]
    return {**body, "components": schema["components"]}


def codes_of(schema: Any, response: Any) -> Iterator[str | None]:
    name = response.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
    component = schema["components"]["schemas"].get(name, {})
    if "code" not in component.get("properties", {}):
        yield None
        return
    if "code" not in component["required"]:
        yield None
    yield from schema["components"]["schemas"][f"{name}Code"]["enum"]


class TestAnswers:
    def test_those_that_are_documented_are_those_below(self, schema):
        documented = {
            (f"{method.upper()} {url}", int(status), code)
            for url, operations in schema["paths"].items()
            if url.startswith("/auth/")
            for method, described in operations.items()
            for status, response in described["responses"].items()
            for code in codes_of(schema, response)
        }
        assert documented == set(EVERY)

    @pytest.mark.parametrize(("operation", "status", "code"), EVERY)
    def test_each_can_be_had_and_is_as_documented(self, operation, status, code, schema, api):
        given = ANSWERS[operation][status, code](api, operation)
        assert given.status_code == status
        documented = response_of(schema, operation, status)
        if "content" in documented:
            assert given["Content-Type"] == "application/json"
            jsonschema.validate(given.json(), body_of(schema, documented))
            assert (given.json().get("code") if status >= HTTPStatus.BAD_REQUEST else None) == code
        else:
            assert given.content == b""
        for name, header in documented.get("headers", {}).items():
            if header.get("required"):
                assert given[name] in header["schema"].get("enum", [given[name]])

    @pytest.mark.parametrize("operation", [operation for operation in ANSWERS if operation != JWKS])
    def test_headers_that_a_client_acts_on_are_documented(self, operation, schema):
        method, url = operation.split(" ")
        responses = schema["paths"][url][method.lower()]["responses"]
        for status, response in responses.items():
            assert "Cache-Control" in response["headers"]
            assert ("Retry-After" in response["headers"]) == (status in {"429", "503"})
            assert ("WWW-Authenticate" in response["headers"]) == (status in {"401", "403"})

    def test_a_400_names_the_fields_of_the_user_model(self, schema):
        errors = schema["components"]["schemas"]["TokenObtainErrors"]["properties"]
        assert set(errors) == {"username", "password", "non_field_errors", "detail"}


class LoginSerializer(serializers.Serializer):
    """An answer of a project's own."""

    user_id = serializers.IntegerField()


class OwnView(GenericAPIView):
    authentication_classes = (JWTActiveUserAuthentication,)
    serializer_class = LoginSerializer

    def get(self, request):
        """Answer."""


class OpenView(OwnView):
    authentication_classes = ()


class TestViewsOfAProject:
    def test_a_view_that_inherits_from_ours_is_described_as_ours(self):
        class LoginView(views.TokenObtainView):
            pass

        described = schema_of(path("login/", LoginView.as_view()))["paths"]["/login/"]["post"]
        assert described["summary"] == "Log in"
        assert "401" in described["responses"]

    def test_what_it_says_itself_comes_first_and_the_rest_stays(self):
        @extend_schema(tags=["login"])
        class TaggedView(views.TokenObtainView):
            pass

        @extend_schema_view(post=extend_schema(summary="Sign in"))
        class NamedView(views.TokenObtainView):
            pass

        @extend_schema(tags=["login"])
        class BothView(views.TokenObtainView):
            @extend_schema(summary="Sign in", responses=LoginSerializer)
            def post(self, request, *args, **kwargs):
                """Answer."""

        paths = [path(f"{view.__name__}/", view.as_view()) for view in (TaggedView, NamedView, BothView)]
        both, named, tagged = (operations["post"] for operations in schema_of(*paths)["paths"].values())
        assert (both["tags"], both["summary"]) == (["login"], "Sign in")
        assert set(both["responses"]) == {"200"}
        assert (named["tags"], named["summary"]) == (["auth"], "Sign in")
        assert (tagged["tags"], tagged["summary"]) == (["login"], "Log in")
        assert set(named["responses"]) == set(tagged["responses"]) >= {"200", "401", "503"}

    def test_another_view_on_our_base_is_left_alone(self):
        class HealthView(views.TokenView):
            serializer_class = LoginSerializer

            def get(self, request):
                """Tell."""

        described = schema_of(path("health/", HealthView.as_view()))["paths"]["/health/"]["get"]
        assert (described["tags"], set(described["responses"])) == (["health"], {"200"})

    def test_too_many_is_an_answer_where_there_is_a_throttle(self):
        class OneView(views.TokenRevokeView):
            throttle_classes = (AnonRateThrottle,)

        class OtherView(views.TokenRevokeView):
            throttle_classes = ()

        paths = schema_of(path("a/", OneView.as_view()), path("b/", OtherView.as_view()))["paths"]
        assert ["429" in operations["post"]["responses"] for operations in paths.values()] == [True, False]

    def test_the_hook_documents_how_a_token_may_be_refused(self):
        described = schema_of(path("own/", OwnView.as_view()), path("open/", OpenView.as_view()))
        assert set(described["paths"]["/open/"]["get"]["responses"]) == {"200"}
        own = described["paths"]["/own/"]["get"]
        assert own["security"] == [{"jwtAuth": []}]
        assert list(own["responses"]) == ["200", "401", "503"]
        assert own["responses"]["401"]["headers"].keys() == {"WWW-Authenticate"}
        assert own["responses"]["503"]["headers"].keys() == {"Retry-After"}
        body = own["responses"]["401"]["content"]["application/json"]["schema"]
        jsonschema.validate(
            {"detail": "The token has expired.", "code": "token_expired"},
            {**body, "components": described["components"]},
        )

    def test_the_hook_leaves_what_a_view_says_about_its_401(self):
        class OddView(OwnView):
            @extend_schema(responses={200: LoginSerializer, 401: LoginSerializer})
            def get(self, request):
                """Answer."""

        described = schema_of(path("odd/", OddView.as_view()))["paths"]["/odd/"]["get"]["responses"]
        assert "LoginSerializer" not in str(described)
        assert described["401"]["content"] == described["200"]["content"]

    def test_the_hook_leaves_what_is_no_operation_and_what_has_no_responses(self):
        shared, bare = [{"name": "id", "in": "path"}], {"security": [{BearerScheme.name: []}]}
        paths = {"/a/": {"parameters": shared, "summary": "A"}, "/b/": {"get": bare}}
        found = document_refusals({"paths": paths, "components": {}}, SchemaGenerator(patterns=[]))["paths"]
        assert found["/a/"] == {"parameters": shared, "summary": "A"}
        assert set(found["/b/"]["get"]["responses"]) == {"401", "503"}

    def test_a_serializer_that_needs_a_request_is_no_obstacle(self):
        class NeedySerializer(TokenObtainSerializer):
            def get_fields(self):
                return super().get_fields() if self.context["request"] else {}

        class NeedyView(views.TokenObtainView):
            serializer_class = NeedySerializer

        operation = schema_of(path("needy/", NeedyView.as_view()))["paths"]["/needy/"]["post"]
        assert {"200", "400", "401"} <= set(operation["responses"])

    def test_filters_of_the_project_are_none_of_ours(self, monkeypatch):
        monkeypatch.setattr(GenericAPIView, "filter_backends", [SearchFilter])
        operation = schema_of(path("", include("django_jwtauth.urls")))["paths"]["/sessions/"]["get"]
        assert "search" not in {parameter["name"] for parameter in operation.get("parameters", [])}

    def test_the_hook_is_at_home_in_a_schema_without_a_component(self):
        schema = {"paths": {}, "components": {}}
        assert document_refusals(schema, SchemaGenerator(patterns=[]))["paths"] == {}

    def test_choices_of_a_project_keep_their_names_beside_our_codes(self):
        class CouponSerializer(serializers.Serializer):
            code = serializers.ChoiceField(choices=["SPRING", "AUTUMN"])

        class CouponsSerializer(CouponSerializer):
            pass

        class CouponView(RetrieveUpdateAPIView):
            permission_classes = (AllowAny,)

            def get_serializer_class(self):
                return CouponSerializer if self.request.method == "GET" else CouponsSerializer

        described = schema_of(
            path("coupon/", CouponView.as_view()),
            path("refresh/", views.TokenRefreshView.as_view()),
            path("login/", views.TokenObtainView.as_view()),
        )
        schemas = described["components"]["schemas"]
        assert schemas["CodeEnum"]["enum"] == ["SPRING", "AUTUMN"]
        assert schemas["RefreshRefusedCode"]["enum"][-1] == "token_reused"
        assert "LoginRefusedCode" in schemas


def test_to_make_the_schema_changes_no_view():
    # Each description would lie on top of the one before, until Python recurses too deep.
    first, second = (SchemaGenerator().get_schema(public=True) for _ in range(2))
    assert first == second
    described = [view for view in vars(views).values() if isinstance(view, type) and issubclass(view, views.AuthView)]
    handlers = [
        getattr(view, method) for view in described for method in ("get", "post", "delete") if hasattr(view, method)
    ]
    assert len(handlers) > len(ANSWERS)
    assert [handler for handler in handlers if hasattr(handler, "kwargs")] == []


class TestPage:
    """``docs/reference/openapi.md``."""

    def test_the_codes_are_those_of_the_schema(self, schema):
        schemas = schema["components"]["schemas"]
        rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
        written = {name: re.findall(r"`(\w+)`", codes) for name, codes in rows}
        assert written == {name: component["enum"] for name, component in schemas.items() if name.endswith("Code")}

    def test_the_settings_are_those_of_the_example(self):
        names = {"INSTALLED_APPS": [], "REST_FRAMEWORK": {}}
        for name in ("new-openapi-settings", "openapi-settings", "openapi-swagger"):
            exec(block(name, PAGE), names)  # noqa: S102
        assert names["SPECTACULAR_SETTINGS"].items() <= settings.SPECTACULAR_SETTINGS.items()
        assert names["REST_FRAMEWORK"].items() <= settings.REST_FRAMEWORK.items()
        assert set(names["INSTALLED_APPS"]) <= set(settings.INSTALLED_APPS)

    def test_the_view_is_described_as_it_says(self):
        names = {"__name__": "snippet"}
        exec(block("openapi-view", PAGE), names)  # noqa: S102
        described = schema_of(path("sign-in/", names["SignInView"].as_view()))["paths"]["/sign-in/"]["post"]
        assert (described["summary"], described["tags"]) == ("Sign in", ["account"])
        assert "401" in described["responses"]
