"""D. Claims"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from http import HTTPStatus

import jwt
import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured

from tests.conformance.conftest import claims_of
from tests.conformance.registry import OWN, states
from tests.conformance.tokens import ME, content_of, header, signing_key, token, with_members
from tests.support import keys, publisher
from tests.support.ageing import stop_clock, turn_clocks
from tests.support.answers import assert_bearer_refused, assert_grant_refused

REQUIRED = ("iss", "sub", "aud", "exp", "iat", "jti")
ZERO = timedelta(0)

issuer = pytest.mark.usefixtures("_issuer")


@pytest.fixture
def at(monkeypatch, _issuer, call):
    """Return a function that calls the API at the moment ``keys.NOW`` with a token of these claims."""
    stop_clock(monkeypatch, keys.NOW)
    return lambda **changes: call(token(claims=keys.claims(**changes)))


@states(35, "At `exp` an access token is refused, with the code `token_expired`.", "RFC 7519 section 4.1.4")
def test_expiry(at, jwtauth):
    jwtauth(LEEWAY=ZERO)
    assert at(exp=keys.NOW + 1).status_code == HTTPStatus.OK
    for seconds in (0, -1, -600, -(10**9)):
        assert_bearer_refused(at(exp=keys.NOW + seconds), "token_expired")


@states(
    36,
    "`exp`, `iat`, `iss`, `aud`, `sub` and `jti` must all be there.",
    "RFC 9068 section 2.2",
    "RFC 9068 section 4",
    "RFC 8725 section 3.8",
    "RFC 8725 section 3.9",
)
@issuer
@pytest.mark.parametrize("name", REQUIRED)
def test_required_claims(refuses, name):
    refuses(token(claims=keys.without(keys.current_claims(), name)))
    refuses(token(claims=keys.current_claims(**{name: None})))


@states(37, "`exp`, `nbf` and `iat` must be numbers that a date can be.", "RFC 7519 section 2")
@issuer
@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize(
    "value",
    ['"text"', '"1900000000"', "true", "false", "null", "[]", "[1900000000]", "{}", "NaN", "Infinity", "1e400"],
)
def test_dates_that_are_none(refuses, name, value):
    refuses(token(claims=with_members(keys.without(keys.current_claims(), name), f'"{name}": {value}')))


@states(38, "A date may have a fraction.", "RFC 7519 section 2")
def test_fractions(at):
    assert at(exp=keys.NOW + 60.5, iat=keys.NOW - 0.5, nbf=keys.NOW - 0.25).status_code == HTTPStatus.OK


@states(39, "Before `nbf` and before `iat` a token is refused.", "RFC 7519 section 4.1.5", OWN)
@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_tokens_of_the_future(at, jwtauth, name):
    jwtauth(LEEWAY=ZERO)
    assert at(**{name: keys.NOW}).status_code == HTTPStatus.OK
    for seconds in (0.5, 1, 3600):
        assert_bearer_refused(at(**{name: keys.NOW + seconds}))


@states(40, "`LEEWAY` is exact: a second inside passes, a second outside does not.", "RFC 7519 section 4.1.4")
@pytest.mark.parametrize("leeway", [1, 5, 60])
def test_leeway(at, jwtauth, leeway):
    jwtauth(LEEWAY=timedelta(seconds=leeway))
    assert at(exp=keys.NOW - leeway + 1, iat=0).status_code == HTTPStatus.OK
    for name in ("nbf", "iat"):
        assert at(**{name: keys.NOW + leeway}).status_code == HTTPStatus.OK
        assert_bearer_refused(at(**{name: keys.NOW + leeway + 1}))
    for seconds in (leeway, leeway + 1):
        assert_bearer_refused(at(exp=keys.NOW - seconds, iat=0), "token_expired")


@states(41, "`iss` must be ours, to the last character.", "RFC 9068 section 4", "RFC 8725 section 3.8")
@issuer
@pytest.mark.parametrize(
    "issuer",
    [
        f"{keys.ISSUER}/",
        keys.ISSUER[:-1],
        keys.ISSUER.upper(),
        f" {keys.ISSUER}",
        "",
        "id.example.com",
        1,
        [keys.ISSUER],
    ],
)
def test_another_issuer(refuses, issuer):
    refuses(token(claims=keys.current_claims(iss=issuer)))


@states(42, "`aud` must be or contain one of ours.", "RFC 7519 section 4.1.3", "RFC 9068 section 4")
@issuer
class TestAudience:
    @pytest.mark.parametrize("audience", [[keys.AUDIENCE], ["other", keys.AUDIENCE], [keys.AUDIENCE, "other"]])
    def test_ours_among_others(self, call, audience):
        assert call(token(claims=keys.current_claims(aud=audience))).status_code == HTTPStatus.OK

    @pytest.mark.parametrize(
        "audience",
        [
            *("other", keys.AUDIENCE[:-1], f"{keys.AUDIENCE}x", keys.AUDIENCE.upper(), f"{keys.AUDIENCE} other", ""),
            *(1, True, {keys.AUDIENCE: 1}, [], ["other"], [1], [None], [[keys.AUDIENCE]], [keys.AUDIENCE, 1]),
        ],
    )
    def test_others(self, refuses, audience):
        refuses(token(claims=keys.current_claims(aud=audience)))

    def test_any_one_of_several(self, call, jwtauth):
        jwtauth(AUDIENCE=["web", keys.AUDIENCE])
        for audience in ("web", keys.AUDIENCE, ["x", "web"]):
            assert call(token(claims=keys.current_claims(aud=audience))).status_code == HTTPStatus.OK


@states(
    43,
    "`sub` must be text that is not empty; one that no user can have is refused, and is no error of the server.",
    "RFC 9068 section 2.2",
)
@issuer
@pytest.mark.parametrize(
    "subject",
    [
        *(
            "",
            1,
            True,
            ["1"],
            {"1": 1},
            "nobody",
            "1.0",
            " 1",
            "1 ",
            "01",
            "+1",
            "1_0",
            "\u0661",
            "\0",
            "1\0",
            "\ud800",
        ),
        *("-1", "0", "9" * 19, "9" * 40, "9" * 4000, "1e3", "0x1", "None", "' OR 1=1", "é"),
    ],
)
def test_subjects(refuses, subject):
    refuses(token(claims=keys.current_claims(sub=subject)), path=ME)


@states(
    44,
    "`sub`, `jti` and `sid` are written as text. A `jti` has at least 96 random bits, and no two of 100,000 are equal.",
    "RFC 7519 section 4.1.2",
    "RFC 7519 section 4.1.7",
    also=("tests/unit/test_tokens.py::test_ids_of_tokens_are_distinct",),
)
class TestIds:
    def test_text(self, tokens, refresh):
        for issued in (tokens, refresh(tokens["refresh_token"]).json()):
            claims = claims_of(issued["access_token"])
            assert [type(claims[name]) for name in ("sub", "jti", "sid")] == [str, str, str]
            assert len(claims["jti"]) == len(claims["sid"]) == 22

    def test_random_bits(self, tokens, refresh):
        # The retry of a refresh hands out another access token each time.
        ids = {claims_of(refresh(tokens["refresh_token"]).json()["access_token"])["jti"] for _ in range(40)}
        assert len(ids) == 40
        ones = Counter(bit for text in ids for bit in range(128) if int.from_bytes(content_of(text), "big") >> bit & 1)
        assert len([bit for bit in range(128) if 0 < ones[bit] < 40]) >= 96


@states(
    45,
    "`typ` is written as `at+jwt`; that and `application/at+jwt` are accepted in any case, and no other.",
    "RFC 9068 section 2.1",
    "RFC 9068 section 4",
    "RFC 7515 section 4.1.9",
)
class TestType:
    def test_written(self, tokens):
        assert jwt.get_unverified_header(tokens["access_token"])["typ"] == "at+jwt"

    @issuer
    @pytest.mark.parametrize("kind", ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"])
    def test_accepted(self, call, kind):
        assert call(token(header(typ=kind))).status_code == HTTPStatus.OK

    @issuer
    def test_refused(self, refuses):
        refuses(token(keys.without(header(), "typ")))
        for kind in ("JWT", "jwt", "", "rt+jwt", "text/at+jwt", "at+jwt ", "dpop+jwt", None, 1, ["at+jwt"]):
            refuses(token(header(typ=kind)))


@states(
    46,
    "A refresh token is no access token and an access token no refresh token.",
    "RFC 8725 section 3.12",
)
def test_each_token_at_its_own_door(tokens, refuses, refresh):
    refuses(tokens["refresh_token"])
    assert_grant_refused(refresh(tokens["access_token"]), "token_invalid")


@states(47, "Claims that are not known are ignored, `client_id` among them.", "RFC 7519 section 4")
@issuer
def test_unknown_claims(call):
    more = {"client_id": "app", "azp": 1, "groups": [{"a": None}], "x" * 300: "", "é": "é", "nonce": "n", "amr": []}
    assert call(token(claims=keys.current_claims(**more))).status_code == HTTPStatus.OK


def deactivate(user):
    user.is_active = False
    user.save()


def deactivate_unnoticed(user):
    get_user_model().objects.update(is_active=False)


def delete(user):
    user.delete()


@states(
    48,
    "A user who is gone or inactive is refused at once by `JWTActiveUserAuthentication`, by `JWTAuthentication` "
    "where the view reads more of the user than the key, and elsewhere as fast as any revocation.",
    "RFC 8725 section 3.8",
    OWN,
)
@pytest.mark.urls("tests.support.views")
class TestUsers:
    @issuer
    @pytest.mark.parametrize("end", [deactivate_unnoticed, delete])
    @pytest.mark.parametrize("path", ["/active/", "/name/"])
    def test_without_a_session_to_end(self, user, refuses, call, path, end):
        text = token(claims=keys.current_claims(sub=str(user.pk)))
        assert call(text, path).status_code == HTTPStatus.OK
        end(user)
        refuses(text, path=path)

    @pytest.mark.parametrize("end", [deactivate, delete])
    @pytest.mark.parametrize("path", ["/plain/", "/active/", "/name/"])
    def test_with_a_session(self, user, tokens, refuses, path, end):
        end(user)
        refuses(tokens["access_token"], "token_revoked", path)


@states(49, "A `CLAIMS` hook that returns a claim which the app itself writes is an error that names it.", OWN)
@pytest.mark.parametrize("name", [*REQUIRED, "nbf", "sid", "cnf"])
def test_claims_of_a_hook(log_in, jwtauth, name):
    jwtauth(CLAIMS=lambda user, session, request: {name: "x", "role": "x"})
    with pytest.raises(ImproperlyConfigured, match=f"'{name}'"):
        log_in()


def foreign(kid="other", algorithm="ES256", name="other", **claims):
    """A token of another issuer."""
    members = publisher.claims(**claims)
    return token(header(algorithm, kid=kid), members, algorithm, signing_key(algorithm, name))


@states(
    50,
    "A trusted issuer has its own keys, audience and algorithms. An unknown one makes no connection. Unknown keys are "
    "asked for at most once in a cool-down, no redirect is followed, and a failed fetch keeps the last good set.",
    "RFC 8725 section 3.8",
    "RFC 8725bis section 3.10",
    also=("tests/http/test_service.py::test_a_flood_of_unknown_key_ids_costs_two_fetches_while_others_are_served",),
)
@pytest.mark.urls("tests.support.views")
@issuer
class TestTrustedIssuers:
    @pytest.fixture
    def server(self):
        with publisher.publisher() as server:
            server.publish(publisher.named("ES256", "other"))
            yield server
            publisher.finish_fetches()

    @pytest.fixture(autouse=True)
    def _trusted(self, jwtauth, server):
        jwtauth(TRUSTED_ISSUERS={publisher.ISS: {"JWKS_URL": server.url, "AUDIENCE": "reports"}})

    @pytest.fixture
    def status(self, call):
        """Return a function that tells how a token of another issuer is answered."""
        return lambda **claims: call(foreign(**{"aud": "reports", **claims}), "/stateless/").status_code

    def test_each_has_its_own_keys_audience_and_algorithms(self, status, refuses, server):
        server.publish(*(publisher.named(name, name) for name in ("ES256", "RS256")))
        assert status(kid="ES256") == HTTPStatus.OK
        assert status(kid="RS256", algorithm="RS256") == HTTPStatus.OK
        ours = {"key": signing_key("ES256"), "claims": publisher.claims(aud="reports")}
        for text in (
            foreign("ES256", aud=keys.AUDIENCE),
            foreign("ES256", aud="reports", iss=keys.ISSUER),
            foreign("ES256", "EdDSA", aud="reports"),
            foreign("RS256", "PS256", aud="reports"),
            token(header(), **ours),
            token(header(kid="ES256"), **ours),
        ):
            refuses(text, path="/stateless/")

    def test_one_that_is_unknown_makes_no_connection(self, status, server):
        for unknown in (f"{publisher.ISS}/", server.url, "https://unknown.example", ""):
            assert status(iss=unknown) == HTTPStatus.UNAUTHORIZED
        assert server.requests == []

    def test_unknown_keys_are_asked_for_once_in_a_cool_down(self, status, server, monkeypatch):
        assert status() == HTTPStatus.OK
        for fetches in (1, 2):
            assert {status(kid=f"unknown {number}") for number in range(20)} == {HTTPStatus.UNAUTHORIZED}
            assert len(server.requests) == fetches
            turn_clocks(monkeypatch, 31)

    def test_no_redirect_is_followed(self, status, server):
        with publisher.publisher() as elsewhere:
            elsewhere.publish(publisher.named("ES256", "other"))
            server.send(b"", "302 Found", f"Location: {elsewhere.url}\r\n")
            assert status() == HTTPStatus.SERVICE_UNAVAILABLE
            assert (len(server.requests), elsewhere.requests) == (1, [])

    def test_a_failed_fetch_keeps_the_last_good_set(self, status, server, monkeypatch):
        assert status() == HTTPStatus.OK
        for body, answer in ((b"", "500 Oops"), (b"{", "200 OK"), (b'{"keys": 1}', "200 OK")):
            server.send(body, answer)
            turn_clocks(monkeypatch, 301)
            assert status() == HTTPStatus.OK
            publisher.finish_fetches()
            assert status() == HTTPStatus.OK
        assert len(server.requests) == 4
