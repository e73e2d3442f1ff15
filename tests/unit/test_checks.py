import re
import tempfile
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import pytest
from django.apps import apps
from django.contrib.admin import ModelAdmin, site
from django.contrib.auth.models import Group
from django.core.checks import ERROR, WARNING, run_checks
from django.db import connections
from django.urls import include, path
from django.views.decorators.cache import never_cache
from rest_framework.authentication import BaseAuthentication, BasicAuthentication, SessionAuthentication
from rest_framework.decorators import action, api_view, authentication_classes, permission_classes
from rest_framework.permissions import AllowAny, IsAuthenticated
from rest_framework.routers import APIRootView
from rest_framework.views import APIView
from rest_framework.viewsets import ViewSet

import django_jwtauth
from django_jwtauth.admin import UserSessionsMixin
from django_jwtauth.authentication import JWTAuthentication, JWTStatelessAuthentication
from django_jwtauth.checks import CAMELIZE, KEEP_NAMES
from django_jwtauth.conf import RULES
from django_jwtauth.issuers.trusted import MEMBERS
from django_jwtauth.views import TokenObtainView
from tests.support import keys

PACKAGE = Path(django_jwtauth.__file__).parent
ROOT = Path(__file__).parents[2]
ID = re.compile(r"jwtauth\.[EW]\d{3}")

SECOND_KEY = {"ALGORITHM": "HS256", "SECRET": "s" * 32, "KID": "second"}
SHORT_KEY = {"ALGORITHM": "HS256", "SECRET": "short"}
LIFETIME_HINT = "Write a timedelta from a second to 36500 days, such as timedelta({})."
FIVE_MINUTES_HINT = "Write a timedelta from 0 to 5 minutes, such as timedelta(seconds=5)."
SIZE_HINT = "Sign with ES256 or EdDSA rather than with a long RSA key, or shorten ISSUER, AUDIENCE and KID."


URL = "https://other.example.com/.well-known/jwks.json"
SOUND = {"JWKS_URL": URL, "AUDIENCE": "notes"}


def trusting(entry):
    return {"ISSUER": keys.ISSUER, "TRUSTED_ISSUERS": {"https://other.example.com": entry}}


def with_keys(*entries):
    return {"ISSUER": keys.ISSUER, "SIGNING_KEYS": list(entries)}


def unusable(name):
    return f"JWTAUTH['{name}'] is not usable."


SETTINGS = {
    "jwtauth.E001": ([], "JWTAUTH is not a dict.", 'Write JWTAUTH = {"ISSUER": "…"} or leave it out.'),
    "jwtauth.E002": ({"ISUER": "id"}, "JWTAUTH has no setting 'ISUER'.", "Did you mean 'ISSUER'?"),
    "jwtauth.E003": (
        {"SIGNING_KEYS": []},
        unusable("SIGNING_KEYS"),
        'Write a non-empty list of keys such as [{"ALGORITHM": "ES256", "PRIVATE_KEY": Path("key.pem")}]. '
        "`manage.py jwtauth_generate_key` makes one.",
    ),
    "jwtauth.E004": (
        {"ISSUER": ""},
        unusable("ISSUER"),
        'Write a non-empty string such as "https://id.example.com".',
    ),
    "jwtauth.E005": (
        {"AUDIENCE": []},
        unusable("AUDIENCE"),
        "Write a non-empty string, a non-empty list of them, or None for the issuer.",
    ),
    "jwtauth.E006": (
        {"ACCESS_TOKEN_LIFETIME": 600},
        unusable("ACCESS_TOKEN_LIFETIME"),
        LIFETIME_HINT.format("minutes=10"),
    ),
    "jwtauth.E007": (
        {"REFRESH_TOKEN_LIFETIME": 600},
        unusable("REFRESH_TOKEN_LIFETIME"),
        LIFETIME_HINT.format("days=14"),
    ),
    "jwtauth.E008": (
        {"SESSION_LIFETIME": timedelta.max},
        unusable("SESSION_LIFETIME"),
        LIFETIME_HINT.format("days=30"),
    ),
    "jwtauth.E009": (
        {"REUSE_LEEWAY": timedelta(seconds=61)},
        unusable("REUSE_LEEWAY"),
        "Write a timedelta from 0 to 60 seconds, such as timedelta(seconds=10). A longer one hides theft.",
    ),
    "jwtauth.E010": ({"LEEWAY": 5}, unusable("LEEWAY"), FIVE_MINUTES_HINT),
    "jwtauth.E011": (
        {"DENYLIST_INTERVAL": 5},
        unusable("DENYLIST_INTERVAL"),
        "Write a timedelta from 0 to 5 minutes, such as timedelta(seconds=5), or None where there is no denylist.",
    ),
    "jwtauth.E012": (
        {"DENYLIST_MAX_STALENESS": timedelta(hours=2)},
        unusable("DENYLIST_MAX_STALENESS"),
        "Write a timedelta of at most an hour, not shorter than DENYLIST_INTERVAL, such as timedelta(seconds=60).",
    ),
    "jwtauth.E013": (
        {"TOKEN_CACHE_SIZE": -1},
        unusable("TOKEN_CACHE_SIZE"),
        "Write a whole number such as 4096, or 0 to remember no token.",
    ),
    "jwtauth.E014": (
        {"MAX_SESSIONS_PER_USER": 0},
        unusable("MAX_SESSIONS_PER_USER"),
        "Write a whole number from 1 to 10000, or None for no limit.",
    ),
    "jwtauth.E015": ({"RECORD_CLIENT": 1}, unusable("RECORD_CLIENT"), "Write True or False."),
    "jwtauth.E016": (
        {"CLAIMS": "accounts.tokens.claims"},
        "JWTAUTH['CLAIMS'] cannot be imported. ModuleNotFoundError: No module named 'accounts'",
        'Write a callable or its dotted path such as "accounts.tokens.claims"; '
        "it takes (user, session, request) and returns a dict.",
    ),
    "jwtauth.E017": (
        {"SIGNING_KEYS": [SECOND_KEY]},
        "JWTAUTH has SIGNING_KEYS but no ISSUER of its own.",
        'Write "ISSUER": the name or URL of this service. Two services that share a key and an issuer '
        "accept each other's tokens.",
    ),
    "jwtauth.E018": (
        {"DENYLIST_MAX_STALENESS": timedelta(seconds=1)},
        "JWTAUTH['DENYLIST_MAX_STALENESS'] is shorter than DENYLIST_INTERVAL.",
        "Write a timedelta of at most an hour, not shorter than DENYLIST_INTERVAL, such as timedelta(seconds=60).",
    ),
    "jwtauth.E020": (
        with_keys(SHORT_KEY),
        "JWTAUTH['SIGNING_KEYS'][0] cannot be used.",
        "SECRET has 5 bytes and HS256 needs 32 (RFC 7518 section 3.2). "
        "Write 32 random bytes, such as those of secrets.token_bytes(32), kept outside the code.",
    ),
    "jwtauth.E021": (
        with_keys(SECOND_KEY, SECOND_KEY),
        "JWTAUTH['SIGNING_KEYS'][1] has the KID of JWTAUTH['SIGNING_KEYS'][0].",
        "Give each key a KID of its own.",
    ),
    "jwtauth.E022": (
        with_keys(keys.public_entry("ES256")),
        "JWTAUTH['SIGNING_KEYS'] has no key that can sign.",
        "Write a key with PRIVATE_KEY or SECRET. `manage.py jwtauth_generate_key` makes one.",
    ),
    "jwtauth.E023": (
        {"ISSUER": "i" * 3000},
        "An access token would not be read even without claims of your own. "
        "The token has 8280 characters and may have 8192. Use fewer claims.",
        SIZE_HINT,
    ),
    "jwtauth.E025": (
        {"TRUSTED_ISSUERS": ["https://other.example.com"]},
        unusable("TRUSTED_ISSUERS"),
        'Write a dict of issuers such as {"https://id.example.com": {"JWKS_URL": '
        '"https://id.example.com/.well-known/jwks.json", "AUDIENCE": "notes"}}, or {} to trust none.',
    ),
    "jwtauth.E026": (
        trusting({**SOUND, "JWKS_URL": "http://other.example.com/jwks.json"}),
        "JWTAUTH['TRUSTED_ISSUERS']['https://other.example.com']['JWKS_URL'] is not usable.",
        'Write an https URL without credentials, such as "https://id.example.com/.well-known/jwks.json"; '
        "http is for 127.0.0.1 and localhost. Where the issuer has no TLS, as in a private network, give it TLS "
        "or write its public keys as KEYS instead.",
    ),
    "jwtauth.E027": (
        trusting({"JWKS_URL": URL}),
        "JWTAUTH['TRUSTED_ISSUERS']['https://other.example.com'] has no AUDIENCE.",
        'Write what the issuer puts into "aud" for this service: a string, or a list of which one is enough; '
        "or None, and then REQUIRED_CLAIMS.",
    ),
    "jwtauth.E028": (
        trusting({"KEYS": [keys.public_entry("ES256"), SHORT_KEY], "AUDIENCE": "notes"}),
        "JWTAUTH['TRUSTED_ISSUERS'] has a key that cannot be used.",
        "TRUSTED_ISSUERS['https://other.example.com']: KEYS[1]: SECRET has 5 bytes and HS256 needs 32 (RFC 7518 "
        "section 3.2). Write 32 random bytes, such as those of secrets.token_bytes(32), kept outside the code.",
    ),
    "jwtauth.W003": (
        {"ISSUER": "i" * 700, "AUDIENCE": "a"},
        "An access token has 1215 bytes even without claims of your own; 1024 are enough.",
        SIZE_HINT,
    ),
    "jwtauth.W005": (
        trusting({**SOUND, "TYP": "JWT"}),
        "JWTAUTH['TRUSTED_ISSUERS']['https://other.example.com'] accepts tokens that are not marked as access tokens.",
        "An ID token whose audience is the same would be taken for an access token (RFC 8725 section 3.12). "
        "Have the issuer write the header typ at+jwt and leave TYP out, or write REQUIRED_CLAIMS that only "
        'its access tokens have, such as {"token_use": "access"}.',
    ),
    "jwtauth.W006": (
        {"DENYLIST_INTERVAL": None},
        "The denylist is not read: access tokens are accepted until they expire, revoked or not.",
        "Leave DENYLIST_INTERVAL out, or silence this where the database is not the one of the issuer.",
    ),
}


def found(deploy=False):
    """What Django's own registry reports of this app, in the order of the ids."""
    messages = run_checks(include_deployment_checks=deploy)
    return sorted((message for message in messages if message.id.startswith("jwtauth.")), key=lambda item: item.id)


@pytest.fixture(autouse=True)
def _issuer(settings):
    settings.JWTAUTH = {"ISSUER": keys.ISSUER}
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://"}}
    settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": 0}


@pytest.mark.parametrize("identifier", SETTINGS)
def test_a_mistake_in_the_settings_is_told_with_what_to_write(identifier, settings):
    settings.JWTAUTH, text, hint = SETTINGS[identifier]
    (message,) = found()
    assert (message.id, message.msg, message.hint) == (identifier, text, hint)
    assert message.level == (ERROR if identifier.startswith("jwtauth.E") else WARNING)


def test_every_rule_of_a_setting_is_tried():
    assert {rule.id for rule in RULES.values()} <= set(SETTINGS)


@pytest.mark.parametrize("deploy", [False, True])
def test_a_sound_project_hears_nothing(deploy):
    assert found(deploy) == []


def test_a_project_without_settings_hears_nothing(settings):
    del settings.JWTAUTH
    assert found() == []


def test_several_mistakes_are_told_together(settings):
    settings.JWTAUTH = {"ISUER": "id", "LEEWAY": 5}
    settings.SIMPLE_JWT = {}
    assert [message.id for message in found()] == ["jwtauth.E002", "jwtauth.E010", "jwtauth.W001"]


class TestKeys:
    def test_every_key_that_cannot_be_used_is_told_with_its_place(self, settings):
        settings.JWTAUTH = with_keys(SHORT_KEY, SECOND_KEY, {"ALGORITHM": "none"}, "key")
        assert [(message.id, message.msg) for message in found()] == [
            ("jwtauth.E020", f"JWTAUTH['SIGNING_KEYS'][{place}] cannot be used.") for place in (0, 2, 3)
        ]

    @pytest.mark.parametrize("algorithm", keys.FAST)
    def test_a_good_key_is_not_told(self, settings, algorithm):
        settings.JWTAUTH = with_keys(keys.public_entry("RS256"), keys.entry(algorithm), SECOND_KEY)
        assert found() == []


class TestFiles:
    @pytest.fixture
    def folder(self):
        # pytest's own folders are closed to other users.
        with tempfile.TemporaryDirectory() as name:
            Path(name).chmod(0o755)
            yield Path(name).resolve()

    @pytest.fixture
    def path(self, folder):
        path = folder / "key.pem"
        path.write_text(keys.private_pem("ES256"))
        return path

    @pytest.mark.parametrize("mode", [0o700, 0o770, 0o754])
    def test_one_in_a_folder_that_others_cannot_enter_is_none(self, settings, folder, path, mode):
        path.chmod(0o666)
        folder.chmod(mode)
        settings.JWTAUTH = with_keys(keys.entry("ES256", PRIVATE_KEY=path))
        assert found() == []

    @pytest.fixture
    def mounted(self, folder, path):
        """A secret as the kubelet mounts it: the file is a link into a folder that is swapped as a whole."""
        version = folder / "..2026_11_29_08_00_00.1"
        version.mkdir()
        path.rename(version / "key.pem")
        (folder / "..data").symlink_to(version.name)
        path.symlink_to("..data/key.pem")
        return path

    def test_neither_is_the_default_of_a_kubernetes_secret_volume(self, settings, mounted):
        mounted.resolve().chmod(0o644)
        settings.JWTAUTH = with_keys(keys.entry("ES256", PRIVATE_KEY=mounted))
        assert found() == []

    def test_a_key_in_such_a_volume_that_others_can_replace_is_a_warning(self, settings, mounted):
        mounted.resolve().chmod(0o646)
        settings.JWTAUTH = with_keys(keys.entry("ES256", PRIVATE_KEY=mounted))
        assert [message.id for message in found()] == ["jwtauth.W007"]

    @pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o666, 0o444])
    def test_a_private_key_that_every_user_can_read_or_replace_is_a_warning(self, settings, path, mode):
        path.chmod(mode)
        settings.JWTAUTH = with_keys(SECOND_KEY, keys.entry("ES256", PRIVATE_KEY=path))
        (message,) = found()
        assert (message.level, message.id) == (WARNING, "jwtauth.W007")
        assert message.msg == (
            f"JWTAUTH['SIGNING_KEYS'][1]: every user of this machine can read or replace the file {path}."
        )
        assert message.hint == f"Give it to the user whom the site runs as: chown, and chmod 600 {path}"

    @pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
    def test_one_that_only_its_owner_and_group_can_read_is_none(self, settings, path, mode):
        path.chmod(mode)
        settings.JWTAUTH = with_keys(keys.entry("ES256", PRIVATE_KEY=path))
        assert found() == []

    def test_neither_is_a_public_key(self, settings, path):
        path.write_text(keys.public_pem("ES256"))
        path.chmod(0o666)
        settings.JWTAUTH = with_keys(SECOND_KEY, {"ALGORITHM": "ES256", "PUBLIC_KEY": path})
        assert found() == []

    def test_a_mistake_is_told_before_it(self, settings, path):
        path.chmod(0o644)
        settings.JWTAUTH = with_keys(keys.entry("ES256", PRIVATE_KEY=path), SHORT_KEY)
        assert [message.id for message in found()] == ["jwtauth.E020"]

    @pytest.mark.parametrize(
        ("kind", "reason"), [("missing", "No such file or directory"), ("folder", "Is a directory")]
    )
    def test_one_that_cannot_be_read_is_an_error_with_its_place(self, settings, tmp_path, kind, reason):
        path = tmp_path if kind == "folder" else tmp_path / "missing.pem"
        settings.JWTAUTH = with_keys(SECOND_KEY, keys.entry("ES256", PRIVATE_KEY=path))
        (message,) = found()
        assert (message.id, message.msg) == ("jwtauth.E020", "JWTAUTH['SIGNING_KEYS'][1] cannot be used.")
        assert message.hint == (f"PRIVATE_KEY: the file {path} cannot be read ({reason}). Write a path to a PEM file.")


class TestTokenSize:
    def size_of(self, issuer):
        return {"ISSUER": "i" * issuer, "AUDIENCE": "a"}

    def test_a_token_of_1024_bytes_is_not_told_and_a_longer_one_is(self, settings):
        told = {}
        for issuer in range(500, 600):
            settings.JWTAUTH = self.size_of(issuer)
            told[issuer] = [message.msg for message in found()]
        first = min(issuer for issuer, messages in told.items() if messages)
        assert all(bool(messages) == (issuer >= first) for issuer, messages in told.items())
        assert told[first] == ["An access token has 1026 bytes even without claims of your own; 1024 are enough."]

    def test_is_not_told_where_another_check_says_what_is_wrong(self, settings):
        settings.JWTAUTH = {**with_keys(keys.public_entry("ES256")), "ISSUER": "i" * 9000}
        assert [message.id for message in found()] == ["jwtauth.E022"]


class TestTrustedIssuers:
    BAD: ClassVar = {
        "JWKS_URL": [
            *(None, "", 1, [URL], "jwks.json", "//other.example.com/jwks.json", "ftp://other.example.com/jwks.json"),
            *(
                "file:///etc/passwd",
                "http://other.example.com/",
                "https://",
                "https:///jwks",
                "https://a b/",
                "https://ä/",
            ),
            *("https://user:password@other.example.com/", "https://other.example.com/#keys", "https://a:99999/"),
            *(
                "http://localhost.example.com/",
                "http://10.0.0.1/",
                "https://a:0/",
                "https://a\n.example/",
                "https://[::/",
            ),
            *("http://128.0.0.1/", "http://127.0.0.1@a.example/", "https://a\\b/", "https://a:x/"),
        ],
        "KEYS": [None, [], (), {}, "key", 1],
        "AUDIENCE": ["", [], [""], 1, {}, ["a", None]],
        "ALGORITHMS": [None, [], "RS256", ["HS256"], ["none"], ["RS256", "HS256"], [None], [["RS256"]], 1],
        "TYP": ["", 1, [], ["JWT", ""], True, {"JWT"}],
        "REQUIRED_CLAIMS": [None, [], "token_use", {"": "a"}, {1: "a"}, {"a": None}, {"a": []}, {"a": 1.5}, {"a": {}}],
        "SUBJECT_CLAIM": ["", " ", " sub", 1, [], {}, "iss", "aud", "exp", "scope", "jti"],
        "USER": [
            "",
            "accounts.tokens.user",
            1,
            lambda: None,
            lambda claims, request: None,
            "tests.support.keys.ISSUER",
        ],
    }
    GOOD: ClassVar = {
        "JWKS_URL": [
            *(
                URL,
                "https://other.example.com",
                "https://other.example.com:8443/a/b?c=d",
                "http://127.0.0.1:8000/jwks.json",
            ),
            *(
                "http://localhost/jwks.json",
                "http://[::1]:80/jwks.json",
                "http://127.1.2.3/",
                "HTTPS://OTHER.example.com/",
            ),
        ],
        "KEYS": [[keys.public_entry("ES256")], (keys.entry("HS256"),)],
        "AUDIENCE": ["notes", ["notes", "api"], ("notes",)],
        "ALGORITHMS": [["RS256"], ("RS256", "ES256"), list(keys.ASYMMETRIC)],
        "TYP": ["JWT", None, ["at+jwt", "JWT"], [None, "JWT"], "application/at+jwt"],
        "REQUIRED_CLAIMS": [{}, {"token_use": "access", "client_id": ["a", "b"]}, {"ver": 1, "verified": True}],
        "SUBJECT_CLAIM": [None, "sub", "user_id", "https://other.example.com/id"],
        "USER": [None, lambda claims: None, "tests.http.test_foreign.user_of", print],
    }

    @pytest.mark.parametrize(
        ("entries", "positions"),
        [
            ([keys.public_entry("ES256")], []),
            ([keys.public_entry("ES256"), keys.public_entry("ES384")], []),
            ([keys.public_entry("ES256"), keys.public_entry("ES256", "second")], [0, 1]),
            ([keys.public_entry("ES256"), keys.public_entry("ES256", "second", KID="a")], [0]),
            ([keys.public_entry("ES256", KID="b"), keys.public_entry("ES256", "second", KID="a")], []),
            (
                [keys.public_entry("ES256", KID=keys.key("ES256").kid), keys.public_entry("ES256", "second", KID="a")],
                [],
            ),
            (
                [
                    {"ALGORITHM": "ES256", "PUBLIC_KEY": {**keys.key("ES256").public_jwk(), "kid": "b"}},
                    keys.public_entry("ES256", "second", KID="a"),
                ],
                [],
            ),
        ],
    )
    def test_keys_that_no_token_can_choose_are_a_warning(self, settings, entries, positions):
        settings.JWTAUTH = trusting({**keys.without(SOUND, "JWKS_URL"), "KEYS": entries})
        messages = found()
        assert [(message.level, message.id) for message in messages] == [(WARNING, "jwtauth.W013")] * len(positions)
        assert [message.msg for message in messages] == [
            f"JWTAUTH['TRUSTED_ISSUERS']['https://other.example.com']['KEYS'][{position}] has no KID, "
            "and another key has its algorithm."
            for position in positions
        ]

    def test_every_member_is_tried(self):
        assert set(self.BAD) == set(self.GOOD) == set(MEMBERS)

    @pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
    def test_a_bad_member_is_told_with_its_place(self, settings, name, value):
        settings.JWTAUTH = trusting({**SOUND, name: value})
        (message,) = found()
        assert message.id == "jwtauth.E026"
        place = f"JWTAUTH['TRUSTED_ISSUERS']['https://other.example.com']['{name}']"
        assert message.msg.startswith((f"{place} is not usable.", f"{place} cannot be imported. "))
        assert message.hint == MEMBERS[name].hint
        assert message.hint.startswith("Write ")

    @pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
    def test_a_good_member_is_not_told(self, settings, name, value):
        entry = {**SOUND, "REQUIRED_CLAIMS": {"a": "b"}, name: value}
        if name == "KEYS":
            del entry["JWKS_URL"]
        if name == "REQUIRED_CLAIMS":
            entry["TYP"] = "at+jwt"
        settings.JWTAUTH = trusting(entry)
        assert found() == []

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("JWK_URL", "Did you mean 'JWKS_URL'?"),
            ("audience", "Did you mean 'AUDIENCE'?"),
            (
                1,
                "The members are: JWKS_URL, KEYS, AUDIENCE, ALGORITHMS, TYP, REQUIRED_CLAIMS, SUBJECT_CLAIM, USER.",
            ),
        ],
    )
    def test_an_unknown_member_is_told_with_the_one_meant(self, settings, name, hint):
        settings.JWTAUTH = trusting({**SOUND, name: "x"})
        (message,) = found()
        assert (message.id, message.hint) == ("jwtauth.E026", hint)
        assert message.msg == f"JWTAUTH['TRUSTED_ISSUERS']['https://other.example.com'] has no member {name!r}."

    @pytest.mark.parametrize(
        ("entry", "wrong", "hint"),
        [
            ({**SOUND, "KEYS": [keys.public_entry("ES256")]}, "has both or neither of JWKS_URL and KEYS.", "KEYS"),
            ({"AUDIENCE": "notes"}, "has both or neither of JWKS_URL and KEYS.", "Write one of the two."),
            (
                {"KEYS": [keys.public_entry("ES256")], "ALGORITHMS": ["ES256"], "AUDIENCE": "notes"},
                "has ALGORITHMS beside KEYS.",
                "Leave ALGORITHMS out",
            ),
            (
                {**SOUND, "AUDIENCE": None},
                "takes tokens for everybody: AUDIENCE is None and there are no REQUIRED_CLAIMS.",
                "Write REQUIRED_CLAIMS",
            ),
            (
                {**SOUND, "AUDIENCE": None, "REQUIRED_CLAIMS": {}},
                "takes tokens for everybody: AUDIENCE is None and there are no REQUIRED_CLAIMS.",
                "Write REQUIRED_CLAIMS",
            ),
        ],
    )
    def test_a_contradiction_is_told(self, settings, entry, wrong, hint):
        settings.JWTAUTH = trusting(entry)
        (message,) = found()
        assert (message.id, message.level) == ("jwtauth.E027", ERROR)
        assert message.msg == f"JWTAUTH['TRUSTED_ISSUERS']['https://other.example.com'] {wrong}"
        assert hint in message.hint

    def test_ones_own_issuer_is_not_another_one(self, settings):
        settings.JWTAUTH = {"ISSUER": keys.ISSUER, "TRUSTED_ISSUERS": {keys.ISSUER: SOUND}}
        (message,) = found()
        assert message.id == "jwtauth.E027"
        assert message.msg == f"JWTAUTH['TRUSTED_ISSUERS'][{keys.ISSUER!r}] is this service's own ISSUER."
        assert message.hint == "Leave it out: its own tokens are accepted already."

    def test_no_audience_is_sound_where_other_claims_are_required(self, settings):
        settings.JWTAUTH = trusting({**SOUND, "AUDIENCE": None, "REQUIRED_CLAIMS": {"client_id": "web"}})
        assert found() == []

    def test_a_private_key_of_another_issuer_is_an_error(self, settings):
        settings.JWTAUTH = trusting({"KEYS": [keys.entry("ES256")], "AUDIENCE": "notes"})
        (message,) = found()
        assert message.id == "jwtauth.E028"
        assert message.hint.endswith("KEYS[0]: This is a private key. Write the PUBLIC_KEY of it, which is enough.")

    def test_two_keys_of_one_id_are_an_error(self, settings):
        entries = [keys.public_entry("ES256", KID="k"), keys.public_entry("EdDSA", KID="k")]
        settings.JWTAUTH = trusting({"KEYS": entries, "AUDIENCE": "notes"})
        (message,) = found()
        assert (message.id, "same KID" in message.hint) == ("jwtauth.E028", True)

    @pytest.mark.parametrize("typ", ["JWT", None, ["at+jwt", "JWT"]])
    def test_another_type_is_a_warning_unless_claims_are_required(self, settings, typ):
        settings.JWTAUTH = trusting({**SOUND, "TYP": typ})
        assert [message.id for message in found()] == ["jwtauth.W005"]
        settings.JWTAUTH = trusting({**SOUND, "TYP": typ, "REQUIRED_CLAIMS": {"token_use": "access"}})
        assert found() == []

    def test_are_not_told_where_the_settings_cannot_be_read(self, settings):
        settings.JWTAUTH = {**trusting({}), "LEEWAY": 5}
        assert [message.id for message in found()] == ["jwtauth.E010"]


class TestDenylist:
    @pytest.fixture
    def _no_database(self, monkeypatch):
        monkeypatch.setitem(connections.settings["default"], "ENGINE", "django.db.backends.dummy")

    @pytest.mark.usefixtures("_no_database")
    def test_a_denylist_without_a_database_is_an_error(self):
        (message,) = found()
        assert (message.level, message.id) == (ERROR, "jwtauth.E029")
        assert message.msg == "There is no database to read the denylist from."
        assert message.hint == (
            'Write "DENYLIST_INTERVAL": None into JWTAUTH if this service only verifies tokens. It then '
            "accepts an access token until it expires, revoked or not. Otherwise write DATABASES."
        )

    @pytest.mark.usefixtures("_no_database")
    def test_neither_database_nor_denylist_is_sound(self, settings):
        settings.JWTAUTH = {"ISSUER": keys.ISSUER, "DENYLIST_INTERVAL": None}
        assert found() == []


class UsersElsewhere:
    def db_for_write(self, model, **hints):
        return "users" if model._meta.app_label == "auth" else None


def test_users_and_sessions_in_different_databases_are_an_error(settings):
    settings.DATABASE_ROUTERS = [UsersElsewhere()]
    (message,) = found()
    assert (message.level, message.id) == (ERROR, "jwtauth.E019")
    assert message.msg == "The user model and the tables of jwtauth are in different databases."
    assert message.hint == "Route the app label 'jwtauth' to the database of the user model in DATABASE_ROUTERS."


SHARED = ["django_jwtauth", "django.contrib.auth"]
ENGINE = "django_tenants.postgresql_backend"


class TestOneDatabase:
    @pytest.fixture
    def router(self, settings):
        router = SimpleNamespace(db_for_write=lambda model, **hints: "default")
        settings.DATABASE_ROUTERS = [router]
        return router

    @pytest.mark.parametrize(
        ("engine", "names", "is_wrong"),
        [
            ("", {}, False),
            ("", {"TENANT_APPS": ["notes"]}, False),
            ("", {"TENANT_APPS": ["django_jwtauth"]}, True),
            ("", {"TENANT_APPS": ("django_jwtauth.apps.JWTAuthConfig",), "SHARED_APPS": SHARED}, True),
            ("", {"TENANT_APPS": ["django.contrib.auth"], "SHARED_APPS": SHARED}, True),
            (ENGINE, {}, True),
            (ENGINE, {"SHARED_APPS": SHARED}, False),
            (ENGINE, {"SHARED_APPS": SHARED[:1]}, True),
            (ENGINE, {"SHARED_APPS": SHARED[1:]}, True),
            (ENGINE, {"SHARED_APPS": SHARED, "TENANT_APPS": ["django_jwtauth"]}, True),
            (ENGINE, {"TENANT_TYPES": {"public": {"APPS": SHARED}, "shop": {"APPS": ["notes"]}}}, False),
            (ENGINE, {"TENANT_TYPES": {"public": {"APPS": SHARED}, "shop": {"APPS": SHARED}}}, True),
            (ENGINE, {"TENANT_TYPES": {"main": {"APPS": SHARED}}, "PUBLIC_SCHEMA_NAME": "main"}, False),
        ],
    )
    def test_a_schema_for_each_tenant_is_an_error(self, settings, monkeypatch, engine, names, is_wrong):
        if engine:
            default = {**connections.settings["default"], "ENGINE": engine}
            monkeypatch.setitem(connections.settings, "default", default)
        for name, value in names.items():
            setattr(settings, name, value)
        messages = found()
        assert [(message.level, message.id) for message in messages] == [(ERROR, "jwtauth.E037")] * is_wrong
        for message in messages:
            assert message.msg == "Each tenant has tables of its own for sessions or users."
            assert "SHARED_APPS" in message.hint

    def test_a_router_whose_answer_changes_is_an_error(self, router, monkeypatch):
        monkeypatch.setitem(connections.settings, "other", connections.settings["default"])
        aliases = iter(["default", "other"] * 100)
        monkeypatch.setattr(router, "db_for_write", lambda model, **hints: next(aliases))
        (message,) = found()
        assert (message.level, message.id) == (ERROR, "jwtauth.E038")
        assert message.msg == "The database router names 'default', 'other' for the tables of jwtauth."

    def test_so_is_one_that_answers_by_thread(self, router, monkeypatch):
        here = threading.current_thread()
        monkeypatch.setattr(
            router,
            "db_for_write",
            lambda model, **hints: "default" if threading.current_thread() is here else "other",
        )
        assert [message.id for message in found()] == ["jwtauth.E038"]

    def test_so_is_one_that_raises_outside_of_a_request(self, router):
        def raise_(model, **hints):
            raise LookupError("no tenant")

        router.db_for_write = raise_
        (message,) = found()
        assert message.msg == "The database router raises LookupError outside of a request for the tables of jwtauth."

    def test_so_is_one_that_names_an_unknown_database(self, router):
        router.db_for_write = lambda model, **hints: "missing"
        (message,) = found()
        assert message.msg == "The database router names 'missing' for the tables of jwtauth."

    def test_a_router_that_always_answers_the_same_is_sound(self, router):
        assert found() == []

    def test_a_database_without_autocommit_is_an_error(self, monkeypatch):
        default = {**connections.settings["default"], "AUTOCOMMIT": False}
        monkeypatch.setitem(connections.settings, "default", default)
        (message,) = found()
        assert (message.level, message.id) == (ERROR, "jwtauth.E039")
        assert message.msg == "DATABASES['default']['AUTOCOMMIT'] is False: sessions and revocations are not committed."


@pytest.mark.parametrize("name", ["JWT_AUTH", "SIMPLE_JWT", "JWT_AUTHENTICATION", "DJANGO_JWTAUTH"])
def test_a_setting_of_another_package_or_a_misspelt_one_is_a_warning(settings, name):
    setattr(settings, name, {})
    (message,) = found()
    assert (message.level, message.id) == (WARNING, "jwtauth.W001")
    assert message.msg == f"The setting {name} is not read by django_jwtauth."
    assert message.hint == "Write JWTAUTH = {…}; remove the other one when nothing else reads it."


class TestThrottles:
    @pytest.mark.parametrize("proxies", ["1", -1, 1.0, True, [1]])
    def test_a_number_of_proxies_that_is_none_is_an_error(self, settings, proxies):
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "NUM_PROXIES": proxies}
        (message,) = found()
        assert (message.level, message.id) == (ERROR, "jwtauth.E030")
        assert message.msg == "REST_FRAMEWORK['NUM_PROXIES'] is not usable."
        assert message.hint == (
            "Write how many proxies are in front of the site, a whole number such as 1, or leave it out."
        )

    @pytest.mark.parametrize("rate", ["5/fortnight", "5", "", "five/min", 5, "5/"])
    def test_a_rate_that_is_none_is_an_error(self, settings, rate):
        settings.REST_FRAMEWORK = {**settings.REST_FRAMEWORK, "DEFAULT_THROTTLE_RATES": {"jwtauth_login": rate}}
        (message,) = found()
        assert (message.level, message.id) == (ERROR, "jwtauth.E031")
        assert message.msg == "REST_FRAMEWORK['DEFAULT_THROTTLE_RATES']['jwtauth_login'] is not usable."
        assert message.hint == "Write a rate such as '20/hour', or None to switch it off."

    @pytest.mark.parametrize("proxies", [None, 0, 3])
    def test_sound_ones_are_not_told(self, settings, proxies):
        rates = {"jwtauth_login": None, "jwtauth_refresh": "5/min", "user": "nonsense of others"}
        settings.REST_FRAMEWORK = {"NUM_PROXIES": proxies, "DEFAULT_THROTTLE_RATES": rates}
        assert found() == []


def test_the_mixin_for_users_on_another_model_is_an_error():
    class GroupAdmin(UserSessionsMixin, ModelAdmin):
        pass

    (message,) = GroupAdmin(Group, site).check()
    assert (message.level, message.id, message.obj) == (ERROR, "jwtauth.E032", GroupAdmin)
    assert message.msg == "UserSessionsMixin is used in the ModelAdmin of a model that is not the user model."
    assert message.hint == "Use it where auth.User is registered, or a proxy or child of it."


@pytest.mark.parametrize("label", ["auth.User", "people.Person"])
def test_the_mixin_for_users_on_users_is_none(label):
    class UserAdmin(UserSessionsMixin, ModelAdmin):
        pass

    assert UserAdmin(apps.get_model(label), site).check() == []


class TestSchemaHooks:
    @pytest.mark.parametrize("hooks", [[CAMELIZE], [KEEP_NAMES, CAMELIZE]])
    def test_a_schema_that_renames_our_fields_is_a_warning(self, settings, hooks):
        settings.SPECTACULAR_SETTINGS = {"POSTPROCESSING_HOOKS": hooks}
        (message,) = found()
        assert (message.level, message.id) == (WARNING, "jwtauth.W011")
        assert message.msg == "The OpenAPI schema says camelCase where the endpoints of jwtauth say snake_case."
        assert message.hint == (
            "Write 'django_jwtauth.openapi.keep_field_names' behind "
            "'drf_spectacular.contrib.djangorestframework_camel_case.camelize_serializer_fields' "
            "into SPECTACULAR_SETTINGS['POSTPROCESSING_HOOKS']."
        )

    @pytest.mark.parametrize("hooks", [{}, {"POSTPROCESSING_HOOKS": [CAMELIZE, KEEP_NAMES]}])
    def test_one_that_keeps_them_is_none(self, settings, hooks):
        settings.SPECTACULAR_SETTINGS = hooks
        assert found() == []


class TestDeployment:
    @pytest.mark.parametrize("raw", [{}, {"ISSUER": "django-jwtauth"}])
    def test_the_default_issuer_is_a_warning(self, settings, raw):
        settings.JWTAUTH = raw
        (message,) = found(deploy=True)
        assert (message.level, message.id) == (WARNING, "jwtauth.W002")
        assert message.msg == "JWTAUTH['ISSUER'] is the default, 'django-jwtauth'."
        assert message.hint == (
            'Write "ISSUER": the name or URL of this service. Two services that share a secret and an issuer '
            "accept each other's tokens."
        )

    @pytest.mark.parametrize("backend", ["locmem.LocMemCache", "dummy.DummyCache"])
    def test_a_cache_that_is_not_shared_is_a_warning(self, settings, backend):
        settings.CACHES = {"default": {"BACKEND": f"django.core.cache.backends.{backend}"}}
        (message,) = found(deploy=True)
        assert (message.level, message.id) == (WARNING, "jwtauth.W004")
        assert message.msg == "Failed logins are not counted across processes, because the default cache is not shared."
        assert message.hint == (
            "Write a shared cache into CACHES, such as django.core.cache.backends.redis.RedisCache, "
            "or silence this where a server in front of the site limits attempts."
        )

    @pytest.mark.parametrize("backend", ["db.DatabaseCache", "filebased.FileBasedCache"])
    def test_a_shared_cache_is_none(self, settings, backend):
        settings.CACHES = {"default": {"BACKEND": f"django.core.cache.backends.{backend}", "LOCATION": "x"}}
        assert found(deploy=True) == []

    @pytest.mark.parametrize("proxies", [{}, {"NUM_PROXIES": None}])
    def test_a_number_of_proxies_that_is_not_set_is_a_warning(self, settings, proxies):
        settings.REST_FRAMEWORK = proxies
        (message,) = found(deploy=True)
        assert (message.level, message.id) == (WARNING, "jwtauth.W010")
        assert message.msg == "REST_FRAMEWORK['NUM_PROXIES'] is not set."
        assert message.hint == (
            "Write how many proxies are in front of the site, or 0 if there is none. Behind a proxy that is not "
            "counted all clients share one address: in sessions, in the audit log and in throttles."
        )

    def test_none_of_these_is_told_before_deployment(self, settings):
        settings.JWTAUTH, settings.REST_FRAMEWORK = {}, {}
        settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
        assert found(deploy=False) == []

    def test_the_issuer_is_not_told_where_the_settings_cannot_be_read(self, settings):
        settings.JWTAUTH = {"LEEWAY": 5}
        assert [message.id for message in found(deploy=True)] == ["jwtauth.E010"]


@pytest.mark.parametrize("fallback", ["", None, 7, b""])
@pytest.mark.parametrize("changes", [{}, {"SIGNING_KEYS": [SECOND_KEY, "SECRET_KEY"]}])
def test_a_fallback_that_anybody_can_guess_is_an_error(settings, fallback, changes):
    settings.JWTAUTH = {"ISSUER": keys.ISSUER, **changes}
    settings.SECRET_KEY_FALLBACKS = [fallback]
    (message,) = found()
    assert (message.id, message.msg) == ("jwtauth.E024", "No key can be derived from SECRET_KEY.")
    assert message.hint == (
        "SECRET_KEY_FALLBACKS holds an empty or ill-typed key, under which anybody could sign. Remove it."
    )


def test_no_secret_key_at_all_is_an_error_and_no_exception(settings):
    settings.SECRET_KEY = ""
    (message,) = found()
    assert (message.id, message.hint) == ("jwtauth.E024", "The SECRET_KEY setting must not be empty.")


@pytest.mark.parametrize("twin", [str, str.encode])
def test_a_fallback_that_is_the_key_itself_is_none(settings, twin):
    settings.SECRET_KEY_FALLBACKS = [twin(settings.SECRET_KEY), "\ud800"]
    assert found() == []


class TestIds:
    @pytest.fixture
    def in_code(self):
        return Counter(identifier for path in PACKAGE.rglob("*.py") for identifier in ID.findall(path.read_text()))

    def test_each_is_used_for_one_mistake(self, in_code):
        assert [identifier for identifier, count in in_code.items() if count > 1] == []

    def test_each_is_tried_here(self, in_code):
        assert set(in_code) == set(ID.findall(Path(__file__).read_text()))

    def test_each_is_documented_and_nothing_else_is(self, in_code):
        pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
        documented = {identifier for page in pages for identifier in ID.findall(page.read_text())}
        assert documented == set(in_code)


class Closed(APIView):
    permission_classes = (IsAuthenticated,)


class Open(APIView):
    permission_classes = (AllowAny,)


class Accepting(Closed):
    authentication_classes = (JWTStatelessAuthentication,)


class OfTheProject(BaseAuthentication):
    """It may pass on to ours; nobody knows."""


class Foreign(Closed):
    authentication_classes = (OfTheProject,)


class Unauthenticated(Closed):
    authentication_classes = ()


class ByRequest(Closed):
    def get_authenticators(self):
        return [JWTAuthentication()]


class PermittedByRequest(APIView):
    def get_permissions(self):
        return [IsAuthenticated()]


class Mine(TokenObtainView):
    """A project's own login."""


class Set(ViewSet):
    permission_classes = (IsAuthenticated,)

    def list(self, request): ...

    @action(detail=False, authentication_classes=[JWTAuthentication])
    def other(self, request): ...


@api_view(["GET"])
@authentication_classes([SessionAuthentication])
@permission_classes([IsAuthenticated])
def by_decorator(request): ...


def plain(request): ...


def routed(**only):
    return [path("set/", Set.as_view({"get": name}, **options)) for name, options in only.items()]


OURS = path("auth/", include("django_jwtauth.urls"))


class TestViews:
    @pytest.fixture
    def told(self, settings, monkeypatch):
        """Return a function that tells whether these URLs are a warning in a project that forgot our class."""
        settings.REST_FRAMEWORK = {"NUM_PROXIES": 0}
        # The REST framework reads its setting once, at import.
        monkeypatch.setattr(APIView, "authentication_classes", [SessionAuthentication, BasicAuthentication])

        def told(*patterns):
            settings.ROOT_URLCONF = ModuleType("urls")
            settings.ROOT_URLCONF.urlpatterns = patterns
            return [(message.level, message.id) for message in found()] == [(WARNING, "jwtauth.W014")]

        return told

    @pytest.mark.parametrize(
        "patterns",
        [
            [OURS, path("a/", Closed.as_view())],
            [path("v1/", include([OURS, path("in/", include([path("a/", Closed.as_view())]))]))],
            [OURS, path("a/", Open.as_view()), path("b/", Closed.as_view()), path("c/", plain)],
            [OURS, path("a/", by_decorator)],
            [OURS, *routed(list={})],
            [OURS, path("a/", Accepting.as_view(authentication_classes=[SessionAuthentication]))],
            [path("log-in/", Mine.as_view()), path("a/", never_cache(Closed.as_view()))],
        ],
    )
    def test_tokens_that_no_view_accepts_are_a_warning(self, told, patterns):
        assert told(*patterns)
        (message,) = found()
        assert message.msg.startswith("No view accepts the access tokens of this site. One that refuses them is tests.")

    @pytest.mark.parametrize(
        "patterns",
        [
            [],
            [OURS],
            [path("a/", Closed.as_view())],
            [OURS, path("a/", Open.as_view()), path("b/", plain)],
            [OURS, path("a/", Closed.as_view()), path("b/", Accepting.as_view())],
            [OURS, path("a/", Closed.as_view()), path("b/", Foreign.as_view())],
            [OURS, path("a/", Closed.as_view()), path("b/", ByRequest.as_view())],
            [
                OURS,
                path("a/", Closed.as_view()),
                path("b/", Closed.as_view(authentication_classes=[JWTAuthentication])),
            ],
            [OURS, *routed(list={}, other=Set.other.kwargs)],
            [OURS, path("a/", PermittedByRequest.as_view())],
            [OURS, path("a/", Unauthenticated.as_view())],
            [OURS, path("a/", Closed.as_view(permission_classes=[AllowAny]))],
            [OURS, path("a/", APIRootView.as_view(permission_classes=[IsAuthenticated]))],
        ],
    )
    def test_nothing_is_told_where_one_may_accept_them_or_none_needs_to(self, told, patterns):
        assert not told(*patterns)
        assert found() == []

    @pytest.mark.parametrize(
        "name", ["django_jwtauth.authentication.JWTActiveUserAuthentication", f"{__name__}.OfTheProject"]
    )
    def test_nothing_is_told_where_the_default_may_accept_them(self, told, settings, name):
        settings.REST_FRAMEWORK = {"NUM_PROXIES": 0, "DEFAULT_AUTHENTICATION_CLASSES": [name]}
        assert not told(OURS, path("a/", Accepting.as_view(authentication_classes=[SessionAuthentication])))

    def test_a_site_without_urls_is_not_asked_for_them(self, settings):
        del settings.ROOT_URLCONF
        assert found() == []
