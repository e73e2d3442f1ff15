"""Tokens of other issuers: what is accepted of them, and that they stay strangers to users, sessions and denylist."""

from __future__ import annotations

import dataclasses
import json
from enum import IntEnum
from http import HTTPStatus

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.db import DataError, InterfaceError, OperationalError
from django.db.models import TextChoices

from django_jwtauth import sessions, users
from django_jwtauth.claims import Claims
from django_jwtauth.conf import Config
from django_jwtauth.denylist.snapshot import denylist
from django_jwtauth.errors import InvalidTokenError, IssuerUnavailableError, TokenError
from django_jwtauth.issuers import jwks
from django_jwtauth.issuers.trusted import trusted_issuers
from django_jwtauth.jose.keys import Key
from django_jwtauth.models import DenylistEntry, Session
from django_jwtauth.tokens.access import get_codec
from tests.support import keys
from tests.support.publisher import ISS, claims, finish_fetches, named, publisher, token
from tests.support.statements import statements

KEY = named("ES256", "key")
NOTHING = object()


def user_of(claims):
    """A USER hook as a project may write it: whoever has the subject for a name."""
    return get_user_model().objects.filter(username=claims.sub).first()


def failing(claims):
    raise OperationalError


def by_name(claims):
    return get_user_model().objects.get(username=claims.sub)


@pytest.fixture
def trust(jwtauth):
    """Return a function that trusts the other issuer, with these members."""

    def trust(**members):
        entry = {"KEYS": [keys.public_entry("ES256", "other", KID="key")], "AUDIENCE": keys.AUDIENCE, **members}
        jwtauth(TRUSTED_ISSUERS={ISS: {name: value for name, value in entry.items() if value is not NOTHING}})

    return trust


@pytest.fixture
def _trusted(trust):
    trust()


def accepted(text):
    """Whether a token is accepted. Any other error than the one for what is not authentic ends the test."""
    try:
        sessions.verify(text)
    except InvalidTokenError:
        return False
    return True


def unnamed(key, **changes):
    """A token whose header names no key."""
    return keys.compact(key, keys.without(keys.header(key), "kid"), claims(**changes))


class TestSubjectClaim:
    @pytest.mark.parametrize(("value", "sub"), [("7", "7"), (7, "7"), (-1, "-1"), ("é", "é"), (2**70, str(2**70))])
    @pytest.mark.parametrize("name", ["user_id", "sub", "https://other.example.com/id"])
    def test_it_names_the_subject_as_text_or_a_whole_number(self, trust, name, value, sub):
        trust(SUBJECT_CLAIM=name)
        assert sessions.verify(token(KEY, **{"sub": "another", name: value})).sub == sub

    @pytest.mark.parametrize("value", [None, "", True, False, 1.0, 1.5, [], ["7"], {}, {"id": "7"}])
    def test_anything_else_names_nobody(self, trust, value):
        trust(SUBJECT_CLAIM="user_id")
        assert not accepted(keys.compact(KEY, keys.header(KEY), claims(user_id=value)))
        assert not accepted(token(KEY))

    @pytest.mark.parametrize("members", [{}, {"SUBJECT_CLAIM": None}])
    def test_without_it_the_subject_is_text(self, trust, members):
        trust(**members)
        assert accepted(token(KEY, sub="7"))
        assert not accepted(token(KEY, sub=7))

    @pytest.mark.django_db
    def test_a_hook_sees_the_subject(self, trust, client):
        get_user_model().objects.create_user(username="7", password="x")
        trust(SUBJECT_CLAIM="user_id", USER="tests.http.test_foreign.user_of")
        answer = client.get("/api/me/", headers={"Authorization": f"Bearer {token(KEY, user_id=7)}"})
        assert answer.json()["username"] == "7"


@pytest.mark.usefixtures("_trusted")
class TestClaims:
    def test_the_least_that_is_accepted(self):
        verified = sessions.verify(token(KEY))
        assert verified == Claims(
            iss=ISS, sub="1", aud=(keys.AUDIENCE,), exp=keys.NOW * 2, iat=None, jti=None, sid=None
        )
        assert (verified.scope, verified.scopes, dict(verified.extra)) == (None, frozenset(), {})

    @pytest.mark.parametrize("name", ["iss", "sub", "exp", "aud"])
    def test_no_claim_of_these_may_be_missing(self, name):
        assert not accepted(token(KEY, **{name: None}))

    @pytest.mark.parametrize("name", ["jti", "sid"])
    @pytest.mark.parametrize("value", ["x", "", "onrtac:8b1…", "9f1c2d7e-0000-0000-0000-000000000000", "A" * 22])
    def test_ids_are_any_text(self, name, value):
        assert getattr(sessions.verify(token(KEY, **{name: value})), name) == value

    @pytest.mark.parametrize("name", ["jti", "sid"])
    @pytest.mark.parametrize("value", ["1", "true", "null", "[]", "{}"])
    def test_an_id_that_is_no_text_is_refused(self, name, value):
        text = keys.compact(KEY, keys.header(KEY), f'{{"{name}": {value}, {json.dumps(claims())[1:]}')
        assert not accepted(text)

    @pytest.mark.parametrize("name", ["sub", "aud", "exp", "iat", "nbf"])
    @pytest.mark.parametrize("value", ['""', "true", "null", "{}", '[""]', "1e400", "[1]"])
    def test_a_claim_of_another_type_is_refused(self, name, value):
        members = json.dumps(keys.without(claims(), name))
        assert not accepted(keys.compact(KEY, keys.header(KEY), f'{{"{name}": {value}, {members[1:]}'))

    @pytest.mark.parametrize("name", ["iat", "nbf"])
    def test_a_token_of_the_future_is_refused_where_it_says_so(self, name):
        assert accepted(token(KEY, **{name: 1_000_000_000}))
        assert not accepted(token(KEY, **{name: keys.NOW * 2}))

    def test_an_expired_token_says_so(self):
        with pytest.raises(TokenError) as caught:
            sessions.verify(token(KEY, exp=1_000_000_000))
        assert caught.value.code == "token_expired"

    @pytest.mark.parametrize("aud", ["other", "NOTES", [], ["other"], "django-jwtauth", ["https://id.example.com"]])
    def test_another_audience_is_refused(self, aud):
        assert not accepted(token(KEY, aud=aud))

    def test_one_audience_of_several_is_enough(self):
        assert sessions.verify(token(KEY, aud=["other", keys.AUDIENCE])).aud == ("other", keys.AUDIENCE)

    def test_a_token_bound_to_a_key_is_refused(self):
        assert not accepted(token(KEY, cnf={"jkt": "x"}))

    @pytest.mark.parametrize(
        ("members", "expected"),
        [
            ({"scope": "read write"}, "read write"),
            ({"scope": ["read", "write"]}, "read write"),
            ({"scp": "read write"}, "read write"),
            ({"scp": ["read", "write"]}, "read write"),
            ({"scp": []}, ""),
            ({"scope": ""}, ""),
            ({"scope": "read", "scp": "write"}, "read"),
            ({"scope": "", "scp": "write"}, ""),
        ],
    )
    def test_scopes_are_read_however_they_are_written(self, members, expected):
        verified = sessions.verify(token(KEY, **members))
        assert verified.scope == expected
        assert verified.scopes == set(expected.split())

    @pytest.mark.parametrize("name", ["scope", "scp"])
    @pytest.mark.parametrize(
        "value",
        [1, True, {}, {"read": 1}, [1], [None], [""], ["read write"], [" read"], ["read "], ["read", " "], [["read"]]],
    )
    def test_scopes_of_another_type_are_refused(self, name, value):
        assert not accepted(token(KEY, **{name: value}))

    def test_other_claims_are_kept(self):
        extra = sessions.verify(token(KEY, roles=["admin"], azp="web", scp="read")).extra
        assert extra == {"roles": ("admin",), "azp": "web", "scp": "read"}


class TestHeader:
    @pytest.mark.parametrize(
        ("typ", "good", "bad"),
        [
            (NOTHING, ["at+jwt", "AT+JWT", "application/at+jwt"], ["JWT", "", "jwt", "id+jwt", 1, None, NOTHING]),
            ("at+jwt", ["at+jwt"], ["JWT", NOTHING]),
            ("JWT", ["JWT", "jwt", "application/jwt"], ["at+jwt", "", None, 1, ["JWT"], NOTHING]),
            (None, [NOTHING], ["JWT", "at+jwt", "", None]),
            ([None, "JWT"], [NOTHING, "JWT"], ["at+jwt", None, ""]),
            (["at+jwt", "JWT"], ["at+jwt", "JWT"], [NOTHING]),
            ("application/x", ["application/x", "x"], ["application/application/x", "y"]),
        ],
    )
    def test_the_type_is_what_was_agreed_on(self, trust, typ, good, bad):
        trust(TYP=typ)
        for kinds, expected in ((good, True), (bad, False)):
            for kind in kinds:
                header = keys.without(keys.header(KEY), "typ") if kind is NOTHING else keys.header(KEY, typ=kind)
                assert accepted(keys.compact(KEY, header, claims())) is expected, kind

    @pytest.mark.usefixtures("_trusted")
    def test_a_token_without_key_id_is_accepted_where_one_key_fits(self):
        assert accepted(unnamed(KEY))
        assert not accepted(token(KEY, {"kid": "other"}))
        assert not accepted(unnamed(named("ES256", "key", "a third")))
        assert not accepted(unnamed(named("ES384", "key")))

    @pytest.mark.usefixtures("_trusted")
    @pytest.mark.parametrize("kid", [None, "", 1, True, [], ["key"], {}])
    def test_a_key_id_that_is_no_text_is_none_of_a_key(self, kid):
        assert not accepted(token(KEY, {"kid": kid}))

    def test_a_token_without_key_id_is_accepted_by_its_algorithm(self, trust):
        first, second = named("ES256", "a"), named("HS256", "b")
        entries = [keys.public_entry("ES256", "other", KID="a"), keys.entry("HS256", "other", KID="b")]
        trust(KEYS=entries)
        assert [accepted(unnamed(key)) for key in (first, second)] == [True, True]
        trust(KEYS=[*entries, keys.public_entry("ES256", "newer", KID="c")])
        assert [accepted(unnamed(key)) for key in (first, second)] == [False, True]
        assert accepted(token(first))

    def test_a_token_of_ours_without_key_id_is_refused(self, jwtauth):
        jwtauth(ISSUER=keys.ISSUER, SIGNING_KEYS=[keys.entry("ES256", "other", KID="key")])
        ours = keys.current_claims(aud=keys.ISSUER)
        assert get_codec().decode(keys.compact(KEY, keys.header(KEY), ours))
        assert not accepted(keys.compact(KEY, keys.without(keys.header(KEY), "kid"), ours))

    def test_a_token_without_key_id_is_accepted_under_a_fetched_key(self, trust):
        jwk = keys.without(KEY.public_jwk(), "kid")
        with publisher() as server:
            server.send(json.dumps({"keys": [jwk]}).encode())
            trust(KEYS=NOTHING, JWKS_URL=server.url)
            assert accepted(unnamed(KEY))
            assert not accepted(unnamed(named("ES256", "key", "a third")))

    @pytest.mark.usefixtures("_trusted")
    @pytest.mark.parametrize("alg", ["none", "HS256", "ES384", "RS256", None])
    def test_another_algorithm_than_the_one_of_the_key_is_refused(self, alg):
        assert not accepted(token(KEY, {"alg": alg}))

    def test_our_own_tokens_keep_their_type_whatever_others_write(self, trust, user):
        trust(TYP=["JWT", None])
        pair = sessions.start(user)
        assert accepted(pair.access_token)
        own = get_codec().own.ring
        members = {**keys.claims(), "iss": "django-jwtauth", "aud": "django-jwtauth", "iat": 1, "exp": keys.NOW * 2}
        assert accepted(keys.compact(own.keys[0], keys.header(own.keys[0]), members))
        assert not accepted(keys.compact(own.keys[0], keys.header(own.keys[0], typ="JWT"), members))
        for name in ("jti", "sid", "iat", "aud"):
            assert not accepted(keys.compact(own.keys[0], keys.header(own.keys[0]), keys.without(members, name)))


class Use(TextChoices):
    ACCESS = "access"


class Version(IntEnum):
    ONE = 1


class TestRequiredClaims:
    @pytest.mark.parametrize(
        ("required", "members", "expected"),
        [
            ({"token_use": "access"}, {"token_use": "access"}, True),
            ({"token_use": "access"}, {"token_use": "id"}, False),
            ({"token_use": "access"}, {"token_use": "ACCESS"}, False),
            ({"token_use": "access"}, {}, False),
            ({"token_use": "access"}, {"token_use": ["id", "access"]}, True),
            ({"token_use": "access"}, {"token_use": []}, False),
            ({"token_use": "access"}, {"token_use": {"access": 1}}, False),
            ({"token_use": "access"}, {"token_use": [["access"]]}, False),
            ({"client_id": ["web", "app"]}, {"client_id": "app"}, True),
            ({"client_id": ["web", "app"]}, {"client_id": "other"}, False),
            ({"client_id": ["web"], "token_use": "access"}, {"client_id": "web"}, False),
            ({"client_id": ["web"], "token_use": "access"}, {"client_id": "web", "token_use": "access"}, True),
            ({"verified": True}, {"verified": True}, True),
            ({"verified": True}, {"verified": 1}, False),
            ({"verified": True}, {"verified": "true"}, False),
            ({"verified": False}, {"verified": 0}, False),
            ({"ver": 1}, {"ver": 1}, True),
            ({"ver": 1}, {"ver": True}, False),
            ({"ver": 1}, {"ver": "1"}, False),
            ({"ver": ["1.0", 1]}, {"ver": 1.0}, False),
            ({"token_use": Use.ACCESS, "ver": [Version.ONE]}, {"token_use": "access", "ver": 1}, True),
            ({"token_use": Use.ACCESS}, {"token_use": "id"}, False),
            ({"ver": Version.ONE}, {"ver": True}, False),
            ({"scope": "read"}, {"scope": "read"}, True),
            ({"scope": "read"}, {"scope": "read write"}, False),
        ],
    )
    def test_each_has_the_value_or_one_of_the_values(self, trust, required, members, expected):
        for audience in (keys.AUDIENCE, None):
            trust(REQUIRED_CLAIMS=required, AUDIENCE=audience)
            assert accepted(token(KEY, **members)) is expected

    def test_the_audience_may_be_missing_only_where_it_is_not_asked_for(self, trust):
        trust(REQUIRED_CLAIMS={"client_id": "web"})
        assert not accepted(token(KEY, aud=None, client_id="web"))
        trust(REQUIRED_CLAIMS={"client_id": "web"}, AUDIENCE=None)
        assert sessions.verify(token(KEY, aud=None, client_id="web")).aud == ()
        assert sessions.verify(token(KEY, aud="whoever", client_id="web")).aud == ("whoever",)


class TestKeys:
    OTHER = "https://another.example.com"

    def test_a_token_of_one_issuer_under_the_key_of_another_is_refused_even_where_their_ids_collide(self, jwtauth):
        stranger = named("ES256", "key", "stranger")
        entries = {
            ISS: {"KEYS": [keys.public_entry("ES256", "other", KID="key")], "AUDIENCE": keys.AUDIENCE},
            self.OTHER: {"KEYS": [keys.public_entry("ES256", "stranger", KID="key")], "AUDIENCE": keys.AUDIENCE},
        }
        jwtauth(TRUSTED_ISSUERS=entries)
        assert accepted(token(KEY))
        assert accepted(token(stranger, iss=self.OTHER))
        assert not accepted(token(stranger))
        assert not accepted(token(KEY, iss=self.OTHER))

    def test_another_issuer_signs_nothing_of_ours_and_we_nothing_of_it(self, trust, user, jwtauth):
        own = {"ALGORITHM": "ES256", "PRIVATE_KEY": keys.private_pem("ES256"), "KID": "key"}
        trust()
        jwtauth(SIGNING_KEYS=[own], ISSUER=keys.ISSUER, AUDIENCE=keys.AUDIENCE)
        ours = Key.from_dict(own)
        members = keys.claims(iat=1, exp=keys.NOW * 2)
        assert accepted(keys.compact(ours, keys.header(ours), members))
        assert not accepted(keys.compact(KEY, keys.header(KEY), members))
        assert accepted(token(KEY))
        assert not accepted(token(ours))

    @pytest.mark.usefixtures("_trusted")
    @pytest.mark.parametrize("iss", [f"{ISS}/", ISS.upper(), "", "https://unknown.example.com", 1, [ISS], {ISS: 1}])
    def test_an_issuer_that_is_not_trusted_is_refused(self, iss):
        assert not accepted(token(KEY, iss=iss))

    def test_a_secret_shared_with_another_issuer_is_accepted_where_it_is_written(self, trust):
        trust(KEYS=[keys.entry("HS256", "other", KID="key")])
        assert accepted(token(named("HS256", "key")))

    @pytest.mark.usefixtures("_trusted")
    def test_a_token_seen_before_is_not_verified_again(self, monkeypatch):
        text = token(KEY)
        verified = sessions.verify(text)
        monkeypatch.setattr(type(KEY.implementation), "verify", None)
        assert sessions.verify(text) is verified

    def test_a_token_seen_before_is_refused_where_its_key_is_gone(self, trust):
        trust()
        text = token(KEY)
        codec = get_codec()
        codec.decode(text)
        keys.replace_keys(codec.issuers[ISS])
        with pytest.raises(InvalidTokenError):
            codec.decode(text)
        keys.replace_keys(codec.issuers[ISS], KEY)
        assert codec.decode(text)

    def test_a_token_seen_before_is_refused_where_its_issuer_is_gone(self, trust, jwtauth):
        trust()
        text = token(KEY)
        assert accepted(text)
        jwtauth(TRUSTED_ISSUERS={})
        assert not accepted(text)

    def test_a_codec_trusts_nobody_by_default(self):
        with pytest.raises(InvalidTokenError):
            keys.codec().decode(token(KEY))


def expire(monkeypatch):
    """Let every set that was fetched be too old at once."""
    monkeypatch.setattr(jwks, "REFETCH_AGE", 0)
    monkeypatch.setattr(jwks, "COOL_DOWN", 0)
    for issuer in trusted_issuers().values():
        reloader = issuer.ring._reloader
        reloader.cooldown = 0
        reloader.held = dataclasses.replace(reloader.held, due_monotonic=0.0)


class TestFetched:
    """The keys come from a server over HTTP."""

    @pytest.fixture
    def server(self):
        with publisher() as server:
            server.publish(KEY)
            yield server
            finish_fetches()

    @pytest.fixture
    def _trusted(self, trust, server):
        trust(KEYS=NOTHING, JWKS_URL=server.url)

    @pytest.mark.usefixtures("_trusted")
    def test_a_token_is_accepted_and_the_set_fetched_once(self, server):
        for number in range(20):
            assert accepted(token(KEY, sub=str(number)))
        assert len(server.requests) == 1

    @pytest.mark.usefixtures("_trusted")
    def test_tokens_of_nobody_and_of_others_fetch_nothing(self, server):
        for iss in ("https://unknown.example.com", None, "django-jwtauth"):
            assert not accepted(token(KEY, iss=iss))
        assert not accepted(token(KEY, {"typ": "JWT"}))
        assert not accepted(token(KEY)[:-1] + "!")
        assert sessions.find(token(KEY)) is None
        assert server.requests == []

    @pytest.mark.usefixtures("_trusted")
    def test_a_token_seen_before_is_refused_once_its_key_is_no_longer_published(self, server, monkeypatch):
        text = token(KEY)
        assert accepted(text)
        server.publish(named("ES256", "next", "next"))
        assert accepted(text)
        expire(monkeypatch)
        assert not accepted(text)

    @pytest.mark.usefixtures("_trusted")
    def test_a_token_seen_before_is_refused_where_another_key_has_taken_the_id(self, server, monkeypatch):
        text = token(KEY)
        assert accepted(text)
        impostor = named("ES256", "key", "next")
        server.publish(impostor)
        expire(monkeypatch)
        assert not accepted(text)
        assert accepted(token(impostor))

    @pytest.mark.usefixtures("_trusted")
    def test_an_issuer_that_is_down_is_outlived(self, server, monkeypatch):
        assert accepted(token(KEY))
        server.stop()
        expire(monkeypatch)
        assert accepted(token(KEY, sub="2"))
        assert accepted(token(KEY, sub="2"))

    @pytest.mark.usefixtures("_trusted")
    def test_without_a_set_nothing_is_said_about_a_token(self, server, client):
        server.send(b"", "503 Service Unavailable")
        with pytest.raises(IssuerUnavailableError):
            sessions.verify(token(KEY))

    def test_only_listed_algorithms_are_used(self, trust, server):
        rsa = named("RS256", "rsa")
        server.publish(KEY, rsa)
        trust(KEYS=NOTHING, JWKS_URL=server.url, ALGORITHMS=["RS256"])
        assert accepted(token(rsa))
        assert not accepted(token(KEY))

    def test_a_secret_that_is_published_signs_nothing(self, trust, server):
        secret = named("HS256", "hmac")
        jwk = {"kty": "oct", "kid": "hmac", "alg": "HS256", "k": keys.segment(keys.secret("HS256", "other"))}
        server.send(f'{{"keys": [{json.dumps(jwk)}, {json.dumps(KEY.public_jwk())}]}}'.encode())
        trust(KEYS=NOTHING, JWKS_URL=server.url)
        assert accepted(token(KEY))
        assert not accepted(token(secret))


@pytest.mark.urls("tests.support.views")
class TestUsers:
    @pytest.fixture
    def get(self, client):
        def get(path, text=None, **extra):
            return client.get(path, HTTP_AUTHORIZATION=f"Bearer {text or token(KEY, sub='alice')}", **extra)

        return get

    @pytest.fixture
    def alice(self, user):
        return user

    @pytest.mark.usefixtures("_trusted", "db")
    def test_the_stateless_class_accepts_them_without_a_query(self, get):
        with statements() as executed:
            answer = get("/stateless/", token(KEY, sub="alice", sid="their session"))
        assert answer.json() == {"pk": "alice", "sid": "their session"}
        assert executed == []

    @pytest.mark.usefixtures("_trusted")
    def test_issuer_and_subject_are_who_it_is(self):
        (first, second), (ours,) = (
            [users.TokenUser(sessions.verify(token(KEY, jti=jti))) for jti in "ab"],
            [users.TokenUser(Claims(iss="django-jwtauth", sub="1", aud=(), exp=1, iat=1, jti="j", sid="s"))],
        )
        assert first == second
        assert first != ours

    @pytest.mark.usefixtures("_trusted")
    @pytest.mark.parametrize("path", ["/plain/", "/active/", "/session-first/"])
    def test_the_classes_with_users_refuse_them_whatever_their_subject_is(self, get, alice, path):
        for sub in ("alice", str(alice.pk)):
            answer = get(path, token(KEY, sub=sub))
            assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.UNAUTHORIZED, "token_invalid")

    @pytest.mark.parametrize("path", ["/plain/", "/active/"])
    @pytest.mark.parametrize("hook", [user_of, "tests.http.test_foreign.user_of", by_name])
    def test_user_maps_them_to_users_of_ours(self, get, trust, alice, path, hook):
        trust(USER=hook)
        assert get(path).json()["pk"] == alice.pk
        answer = get(path, token(KEY, sub=str(alice.pk)))
        assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.UNAUTHORIZED, "token_invalid")

    @pytest.mark.parametrize("path", ["/plain/", "/active/"])
    def test_a_user_who_is_inactive_is_refused_as_any_other(self, get, trust, alice, path):
        trust(USER=user_of)
        get_user_model().objects.update(is_active=False)
        answer = get(path)
        assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.UNAUTHORIZED, "token_invalid")

    @pytest.mark.parametrize("path", ["/plain/", "/active/"])
    def test_nobody_in_particular_is_refused(self, get, trust, db, path):
        trust(USER=lambda claims: AnonymousUser())
        assert get(path).status_code == HTTPStatus.UNAUTHORIZED

    @pytest.mark.parametrize("path", ["/plain/", "/active/"])
    @pytest.mark.parametrize("error", [OperationalError, InterfaceError])
    def test_a_database_that_fails_is_503(self, get, trust, db, path, error):
        def fail(claims):
            raise error

        trust(USER=fail)
        answer = get(path)
        assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "database_unavailable")
        assert answer["Retry-After"] == "5"

    @pytest.mark.parametrize("path", ["/plain/", "/active/"])
    @pytest.mark.parametrize("sub", ["a\0", "\ud800", "abc"])
    @pytest.mark.parametrize("field", ["username", "pk"])
    def test_a_subject_that_no_row_can_have_is_nobody(self, get, trust, db, path, sub, field):
        trust(USER=lambda claims: get_user_model().objects.get(**{field: claims.sub}))
        answer = get(path, token(KEY, sub=sub))
        assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.UNAUTHORIZED, "token_invalid")

    @pytest.mark.parametrize("path", ["/plain/", "/active/"])
    @pytest.mark.parametrize("error", [ValueError, ValidationError, DataError])
    def test_an_error_of_the_hook_that_is_answered_by_401_is_logged(self, get, trust, db, path, error, caplog):
        def fail(claims):
            raise error("of the hook")

        trust(USER=fail)
        assert get(path).status_code == HTTPStatus.UNAUTHORIZED
        (record,) = (record for record in caplog.records if record.name == "django_jwtauth")
        assert (record.levelname, record.exc_info[0]) == ("ERROR", error)
        assert record.getMessage() == f"USER of the trusted issuer {ISS!r} failed; the token is refused."

    @pytest.mark.parametrize("path", ["/plain/", "/active/"])
    @pytest.mark.parametrize("hook", [lambda claims: None, lambda claims: get_user_model().objects.get(pk=None)])
    def test_that_the_hook_finds_nobody_is_not(self, get, trust, db, path, hook, caplog):
        trust(USER=hook)
        assert get(path).status_code == HTTPStatus.UNAUTHORIZED
        assert [record for record in caplog.records if record.name == "django_jwtauth"] == []

    @pytest.mark.parametrize("path", ["/plain/", "/active/"])
    def test_a_mistake_in_the_hook_is_not_hidden(self, get, trust, db, path):
        def fail(claims):
            raise RuntimeError("a mistake")

        trust(USER=fail)
        with pytest.raises(RuntimeError, match="a mistake"):
            get(path)

    def test_get_user_is_for_other_frameworks_too(self, trust, alice):
        trust(USER=user_of)
        assert users.get_user(sessions.verify(token(KEY, sub="alice"))) == alice
        with pytest.raises(LookupError, match="token_invalid"):
            users.get_user(sessions.verify(token(KEY, sub="bob")), lambda error, request: LookupError(error.code))

    @pytest.mark.usefixtures("_trusted", "db")
    @pytest.mark.parametrize(
        ("members", "status"),
        [
            ({}, HTTPStatus.FORBIDDEN),
            ({"scope": "notes:read"}, HTTPStatus.FORBIDDEN),
            ({"scope": "notes:read notes:write"}, HTTPStatus.OK),
            ({"scp": ["notes:write", "notes:read"]}, HTTPStatus.OK),
        ],
    )
    def test_scopes_are_theirs(self, trust, get, alice, members, status):
        trust(USER=user_of)
        assert get("/scoped/", token(KEY, sub="alice", **members)).status_code == status

    def test_keys_that_cannot_be_had_are_503_with_retry_after(self, get, trust, db):
        with publisher() as server:
            server.send(b"", "500 Oops")
            trust(KEYS=NOTHING, JWKS_URL=server.url)
            answer = get("/stateless/")
            finish_fetches()
        assert (answer.status_code, answer.json()["code"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "issuer_unavailable")
        assert answer["Retry-After"] == "5"
        assert not answer.has_header("WWW-Authenticate")


class TestSessions:
    """Sessions and denylist are of our own tokens."""

    @pytest.fixture(autouse=True)
    def _trust_with_users(self, trust):
        trust(USER=user_of)

    def text(self, **members):
        return token(KEY, sub="alice", **members)

    @pytest.mark.parametrize("scope", [None, "sessions", "sessions read"])
    @pytest.mark.parametrize("sid", [None, "ours", "x"])
    def test_the_session_endpoints_are_closed_to_them(self, pair, bearer, scope, sid):
        sid = pair.session.sid if sid == "ours" else sid
        client = bearer(self.text(scope=scope, sid=sid))
        for answer in (
            client.get("/auth/sessions/"),
            client.delete("/auth/sessions/"),
            client.delete("/auth/sessions/?others=true"),
            client.delete(f"/auth/sessions/{pair.session.sid}/"),
        ):
            assert answer.status_code == HTTPStatus.FORBIDDEN
        assert Session.objects.live().count() == 1

    @pytest.mark.parametrize("sid", ["ours", "x", None])
    def test_to_log_one_out_changes_nothing(self, pair, client, sid):
        text = self.text(sid=pair.session.sid if sid == "ours" else sid)
        answer = client.post("/auth/token/revoke/", {"token": text})
        assert (answer.status_code, answer.json()) == (HTTPStatus.OK, {})
        assert Session.objects.live().count() == 1
        assert not DenylistEntry.objects.exists()
        assert accepted(text)

    def test_it_is_no_refresh_token(self, client, db):
        answer = client.post("/auth/token/refresh/", {"refresh_token": self.text()})
        assert answer.json()["code"] == "token_invalid"

    def test_the_denylist_does_not_concern_them(self, pair):
        text = self.text(sid=pair.session.sid, jti=sessions.verify(pair.access_token).jti)
        sessions.revoke(pair.session)
        assert accepted(text)

    def test_they_are_verified_where_the_denylist_cannot_be_loaded(self, monkeypatch):
        def fail(*arguments):
            raise OperationalError

        monkeypatch.setattr("django_jwtauth.denylist.loading.read", fail)
        assert accepted(self.text())

    def test_the_denylist_takes_claims_without_ids(self, pair):
        sessions.revoke(pair.session)
        denylist.check(Claims(iss=ISS, sub="1", aud=(), exp=1, iat=None, jti=None, sid=None))


class TestNoDenylist:
    """``DENYLIST_INTERVAL`` None."""

    @pytest.fixture(autouse=True)
    def _no_denylist(self, jwtauth):
        jwtauth(DENYLIST_INTERVAL=None)

    def test_a_revoked_token_is_accepted_without_a_query(self, pair):
        assert sessions.revoke(pair.session)
        with statements() as executed:
            for _ in range(3):
                assert accepted(pair.access_token)
        assert executed == []

    def test_revoking_still_tells_those_that_have_one(self, pair, jwtauth):
        sessions.revoke(pair.session)
        assert DenylistEntry.objects.count() == 1
        jwtauth(DENYLIST_INTERVAL=Config().denylist_interval)
        with pytest.raises(TokenError):
            sessions.verify(pair.access_token)

    def test_refreshing_is_refused_at_once(self, pair):
        sessions.revoke(pair.session)
        with pytest.raises(TokenError):
            sessions.refresh(pair.refresh_token)

    def test_a_database_that_fails_does_not_matter(self, pair, monkeypatch):
        monkeypatch.setattr("django_jwtauth.denylist.loading.read", None)
        assert accepted(pair.access_token)
