"""The JWK Set endpoint: what others need to verify our tokens, and nothing else."""

from __future__ import annotations

from http import HTTPStatus
from itertools import pairwise

import pytest
from django.db import connection
from rest_framework.test import APIClient

from django_jwtauth.jose.key_parsing import ALGORITHMS
from django_jwtauth.jose.keys import Key
from django_jwtauth.views import keys as key_views
from tests.support import keys

PATH = "/auth/jwks.json"
MEMBERS = {"RS": {"n", "e"}, "PS": {"n", "e"}, "ES": {"crv", "x", "y"}, "Ed": {"crv", "x"}}
BROWSER = {"HTTP_ORIGIN": "https://app.example"}


@pytest.fixture
def sign_with(jwtauth):
    def sign_with(*entries):
        jwtauth(ISSUER=keys.ISSUER, SIGNING_KEYS=list(entries))

    return sign_with


class TestContent:
    def test_every_key_is_there_in_its_order_with_public_members_only(self, client, sign_with):
        sign_with(*(keys.entry(algorithm, KID=f"key of {algorithm}") for algorithm in ALGORITHMS))
        answer = client.get(PATH)
        assert (answer.status_code, answer["Content-Type"]) == (HTTPStatus.OK, "application/json")
        assert set(answer.json()) == {"keys"}
        published = answer.json()["keys"]
        assert [jwk["alg"] for jwk in published] == list(keys.ASYMMETRIC)
        for jwk in published:
            assert set(jwk) == {"kty", "kid", "use", "alg"} | MEMBERS[jwk["alg"][:2]]
            assert (jwk["use"], jwk["kid"]) == ("sig", f"key of {jwk['alg']}")

    def test_a_key_that_only_verifies_is_there_and_a_secret_is_not(self, client, sign_with):
        sign_with("SECRET_KEY", keys.entry("HS512"), keys.public_entry("EdDSA"))
        assert [jwk["alg"] for jwk in client.get(PATH).json()["keys"]] == ["EdDSA"]

    def test_by_default_there_is_none(self, client):
        assert client.get(PATH).json() == {"keys": []}

    def test_what_is_there_verifies_what_we_sign(self, client, sign_with):
        sign_with(keys.entry("ES256"))
        (jwk,) = client.get("/.well-known/jwks.json").json()["keys"]
        published = Key.from_dict({"ALGORITHM": "ES256", "PUBLIC_KEY": jwk})
        assert published.verify(b"data", keys.key("ES256").sign(b"data"))
        assert published.kid == keys.key("ES256").kid

    @pytest.mark.parametrize("path", ["?format=xml", "?format=html", "?kid=x"])
    def test_nothing_that_is_asked_for_changes_it(self, client, path):
        assert client.get(PATH + path, HTTP_ACCEPT="text/html").json() == {"keys": []}


class TestCaches:
    def test_may_keep_it_for_five_minutes(self, client):
        assert client.get(PATH)["Cache-Control"] == f"public, max-age={key_views.JWKS_MAX_AGE}" == "public, max-age=300"
        assert not client.get(PATH).has_header("Vary")

    @pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}', "*"])
    def test_are_told_when_it_has_not_changed(self, client, known):
        etag = client.get(PATH)["ETag"]
        assert etag.startswith('"')
        answer = client.get(PATH, HTTP_IF_NONE_MATCH=known.format(etag))
        assert (answer.status_code, answer.content) == (HTTPStatus.NOT_MODIFIED, b"")
        assert (answer["ETag"], answer["Cache-Control"]) == (etag, "public, max-age=300")

    def test_are_told_when_it_has(self, client, sign_with):
        states = [
            [keys.entry("ES256")],
            [keys.entry("ES256"), keys.entry("EdDSA")],
            [keys.entry("EdDSA"), keys.entry("ES256")],
            [keys.entry("EdDSA")],
            [keys.entry("EdDSA", KID="renamed")],
        ]
        etags = []
        for state in states:
            sign_with(*state)
            answer = client.get(PATH, HTTP_IF_NONE_MATCH=", ".join(etags) or '"x"')
            assert answer.status_code == HTTPStatus.OK
            etags.append(answer["ETag"])
        assert all(earlier != later for earlier, later in pairwise(etags))

    def test_get_the_same_tag_from_every_process(self, client, sign_with):
        etags = set()
        for _ in range(2):
            sign_with(keys.entry("ES256"), keys.public_entry("RS256"))
            etags.add(client.get(PATH)["ETag"])
        assert len(etags) == 1


class TestMethods:
    def test_head_answers_as_get_without_the_body(self, client):
        get, head = client.get(PATH), client.head(PATH)
        assert (head.status_code, head.content) == (HTTPStatus.OK, b"")
        assert head.headers == get.headers
        assert client.head(PATH, HTTP_IF_NONE_MATCH=get["ETag"]).status_code == HTTPStatus.NOT_MODIFIED

    def test_options_names_the_methods_and_no_key(self, client, sign_with):
        sign_with(keys.entry("ES256"))
        answer = client.options(PATH)
        assert (answer.status_code, answer["Allow"]) == (HTTPStatus.OK, "GET, HEAD, OPTIONS")
        assert keys.key("ES256").kid not in answer.content.decode()

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
    def test_others_are_not_allowed(self, client, method):
        assert client.generic(method, PATH).status_code == HTTPStatus.METHOD_NOT_ALLOWED


class TestDatabase:
    """Not touched, so that keys are served while it is away and where there is none."""

    REQUESTS = (("GET", {}), ("HEAD", {}), ("OPTIONS", {}), ("GET", {"HTTP_IF_NONE_MATCH": "*"}))

    @pytest.fixture
    def request_each(self, client, settings, sign_with):
        sign_with(keys.entry("ES256"))
        client.credentials(HTTP_AUTHORIZATION="Bearer garbage", HTTP_COOKIE="sessionid=garbage")

        def request_each():
            for method, headers in self.REQUESTS:
                assert client.generic(method, PATH, **headers).status_code in {HTTPStatus.OK, HTTPStatus.NOT_MODIFIED}

        return request_each

    @pytest.mark.parametrize("atomic", [False, True])
    def test_no_query_is_made(self, db, request_each, django_assert_num_queries, monkeypatch, atomic):
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic)
        with django_assert_num_queries(0):
            request_each()

    @pytest.mark.parametrize("atomic", [False, True])
    def test_it_answers_while_no_connection_can_be_made(self, request_each, monkeypatch, atomic):
        monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic)
        with pytest.raises(RuntimeError, match="Database access not allowed"):
            connection.ensure_connection()
        request_each()


class TestCrossOrigin:
    """We set no header of CORS; django-cors-headers sets its own on all that this app answers."""

    @pytest.fixture
    def browser(self, settings):
        settings.MIDDLEWARE = ["corsheaders.middleware.CorsMiddleware", *settings.MIDDLEWARE]
        settings.CORS_ALLOWED_ORIGINS = [BROWSER["HTTP_ORIGIN"]]
        return APIClient(**BROWSER)

    @pytest.mark.parametrize("path", [PATH, "/auth/token/", "/auth/sessions/", "/api/ping/"])
    @pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
    def test_without_it_there_is_none(self, db, path, method):
        answer = APIClient(**BROWSER).generic(method, path, HTTP_ACCESS_CONTROL_REQUEST_METHOD="GET")
        assert not [name for name in answer.headers if name.startswith("Access-Control-")]

    def test_the_set_can_be_read_from_another_origin(self, browser):
        answer = browser.get(PATH)
        assert answer["Access-Control-Allow-Origin"] == BROWSER["HTTP_ORIGIN"]
        again = browser.get(PATH, HTTP_IF_NONE_MATCH=answer["ETag"])
        assert again.status_code == HTTPStatus.NOT_MODIFIED
        assert again["Access-Control-Allow-Origin"] == BROWSER["HTTP_ORIGIN"]
        assert answer["Cache-Control"] == "public, max-age=300"

    def test_but_not_from_one_that_is_not_listed(self, browser):
        assert not browser.get(PATH, HTTP_ORIGIN="https://evil.example").has_header("Access-Control-Allow-Origin")

    @pytest.mark.parametrize("path", [PATH, "/auth/token/", "/auth/token/refresh/", "/api/ping/"])
    def test_a_preflight_is_answered_before_us(self, browser, path):
        asked = {"HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST", "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": "authorization"}
        answer = browser.options(path, **asked)
        assert (answer.status_code, answer.content) == (HTTPStatus.OK, b"")
        assert answer["Access-Control-Allow-Origin"] == BROWSER["HTTP_ORIGIN"]
        assert "authorization" in answer["Access-Control-Allow-Headers"]

    def test_a_refusal_can_be_read_too(self, db, browser):
        answer = browser.get("/api/ping/", HTTP_AUTHORIZATION="Bearer garbage")
        assert answer.status_code == HTTPStatus.UNAUTHORIZED
        assert answer["Access-Control-Allow-Origin"] == BROWSER["HTTP_ORIGIN"]
        assert "invalid_token" in answer["WWW-Authenticate"]
