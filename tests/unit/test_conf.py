import dataclasses
import sys
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_jwtauth.conf import RULES, Config, find_problems, get_config
from django_jwtauth.issuers import trusted

DEFAULTS = {
    "signing_keys": None,
    "issuer": "django-jwtauth",
    "audience": None,
    "access_token_lifetime": timedelta(minutes=10),
    "refresh_token_lifetime": timedelta(days=14),
    "session_lifetime": timedelta(days=30),
    "reuse_leeway": timedelta(seconds=10),
    "leeway": timedelta(seconds=5),
    "denylist_interval": timedelta(seconds=5),
    "denylist_max_staleness": timedelta(seconds=60),
    "token_cache_size": 4096,
    "max_sessions_per_user": 1000,
    "record_client": True,
    "claims": None,
    "trusted_issuers": {},
}
CENTURY = timedelta(days=36500)
NO_DURATIONS = [None, 600, 600.0, "10 minutes", "600", [], timedelta(seconds=-1)]
NO_LIFETIMES = [*NO_DURATIONS, timedelta(0), timedelta(milliseconds=999), timedelta.max, CENTURY + timedelta(seconds=1)]
NO_TEXTS = [None, "", " ", " id", "id ", "\n", "a\nb", "a\0", "\ud800", 1, b"id", ["id"], {}]


async def asynchronous(user, session, request):
    return {}


BAD = {
    "SIGNING_KEYS": ("jwtauth.E003", [[], (), {}, "key", {"ALGORITHM": "HS256"}, 1, True]),
    "ISSUER": ("jwtauth.E004", NO_TEXTS),
    "AUDIENCE": ("jwtauth.E005", [*NO_TEXTS[1:-2], [], (), {}, [""], ["a", None], ["a", " b"], [["a"]], {"a"}]),
    "ACCESS_TOKEN_LIFETIME": ("jwtauth.E006", NO_LIFETIMES),
    "REFRESH_TOKEN_LIFETIME": ("jwtauth.E007", NO_LIFETIMES),
    "SESSION_LIFETIME": ("jwtauth.E008", NO_LIFETIMES),
    "REUSE_LEEWAY": ("jwtauth.E009", [*NO_DURATIONS, timedelta(seconds=60, microseconds=1)]),
    "LEEWAY": ("jwtauth.E010", [*NO_DURATIONS, timedelta(minutes=5, microseconds=1)]),
    "DENYLIST_INTERVAL": ("jwtauth.E011", [*NO_DURATIONS[1:], timedelta(minutes=5, microseconds=1)]),
    "DENYLIST_MAX_STALENESS": ("jwtauth.E012", [*NO_DURATIONS, timedelta(hours=1, microseconds=1)]),
    "TOKEN_CACHE_SIZE": ("jwtauth.E013", [None, -1, 1.5, 10.0, "10", True, False, [], float("nan")]),
    "MAX_SESSIONS_PER_USER": ("jwtauth.E014", [0, -1, 1.5, "1", True, False, []]),
    "RECORD_CLIENT": ("jwtauth.E015", [None, 0, 1, "yes", "", []]),
    "CLAIMS": (
        "jwtauth.E016",
        [
            asynchronous,
            *(
                "",
                ".",
                "..",
                "tests",
                "tests.conf_hooks.claims",
                "tests.support.keys.missing",
                "tests.support.keys.ISSUER",
            ),
            *(
                ".keys.claims",
                "..keys.claims",
                "tests..keys",
                "tests.support.keys.",
                " tests.support.keys.claims",
                "tests.support.keys:claims",
            ),
            *(
                "a\0.b",
                "\ud800.a",
                1,
                {},
                {"role": "admin"},
                [],
                b"tests.support.keys.claims",
                lambda user: {},
                "tests.support.raises.x",
            ),
        ],
    ),
    "TRUSTED_ISSUERS": (
        "jwtauth.E025",
        [None, [], ["id"], "id", 1, {"": {}}, {1: {}}, {" id": {}}, {"id": None}, {"id": "url"}, {"id": []}],
    ),
}
GOOD = {
    "SIGNING_KEYS": [None],
    "ISSUER": ["id", "https://id.example.com", "Ihr Dienst", "ä"],
    "AUDIENCE": [None, "api", ["api"], ("api", "web")],
    "ACCESS_TOKEN_LIFETIME": [timedelta(seconds=1), timedelta(hours=1), CENTURY],
    "REFRESH_TOKEN_LIFETIME": [timedelta(seconds=1), timedelta(days=90), CENTURY],
    "SESSION_LIFETIME": [timedelta(seconds=1), timedelta(days=365), CENTURY],
    "REUSE_LEEWAY": [timedelta(0), timedelta(seconds=60)],
    "LEEWAY": [timedelta(0), timedelta(minutes=5)],
    "DENYLIST_INTERVAL": [None, timedelta(0), timedelta(seconds=60)],
    "DENYLIST_MAX_STALENESS": [timedelta(seconds=5), timedelta(hours=1)],
    "TOKEN_CACHE_SIZE": [0, 1, 10**6],
    "MAX_SESSIONS_PER_USER": [None, 1, 100],
    "RECORD_CLIENT": [True, False],
    "CLAIMS": [
        None,
        "tests.unit.test_sessions.hook_with_scope",
        lambda user, session, request: {},
        lambda *args: {},
        dict,
    ],
    "TRUSTED_ISSUERS": [{}, {"id": {}}, {"a": {"JWKS_URL": "https://a/jwks.json"}, "b": {}}],
}


def every(table):
    return [(name, value) for name, values in table.items() for value in values]


def ids_of(raw):
    return [problem.id for problem in find_problems(raw)]


def test_the_defaults():
    assert {field.name: getattr(Config(), field.name) for field in dataclasses.fields(Config)} == DEFAULTS


def test_every_setting_has_a_rule_and_no_rule_lacks_a_setting():
    assert set(RULES) == {field.name.upper() for field in dataclasses.fields(Config)}


def test_the_ids_of_the_rules_are_unique():
    assert len({rule.id for rule in RULES.values()}) == len(RULES)


def test_every_setting_is_tried_with_bad_and_good_values():
    assert set(BAD) == set(GOOD) == set(RULES)


def test_the_defaults_pass_their_own_rules():
    assert find_problems({name.upper(): value for name, value in DEFAULTS.items()}) == []


@pytest.mark.parametrize(("name", "value"), every({name: values for name, (_, values) in BAD.items()}))
def test_a_bad_value_is_a_problem_and_says_what_to_write(name, value):
    (problem,) = find_problems({name: value})
    assert problem.id == BAD[name][0]
    assert problem.message.startswith((f"JWTAUTH['{name}'] is not usable.", "JWTAUTH['CLAIMS'] cannot be imported. "))
    assert problem.hint.startswith("Write ")


@pytest.mark.parametrize(
    ("source", "raised"),
    [
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("from django.conf import no_such_name", "ImportError: cannot import name 'no_such_name' from 'django.conf' ("),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("", 'ImportError: Module "hooks_of_a_project" does not define a "hook" attribute/class'),
    ],
)
def test_what_importing_a_hook_raises_is_told(tmp_path, monkeypatch, source, raised):
    (tmp_path / "hooks_of_a_project.py").write_text("import used_by_hooks\n" if source else "")
    (tmp_path / "used_by_hooks.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("hooks_of_a_project", "used_by_hooks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    config = Config(trusted_issuers={"x": {"KEYS": [1], "AUDIENCE": "a", "USER": "hooks_of_a_project.hook"}})
    for problem, place in (
        (*find_problems({"CLAIMS": "hooks_of_a_project.hook"}), "['CLAIMS']"),
        (*trusted.find_problems(config), "['TRUSTED_ISSUERS']['x']['USER']"),
    ):
        assert problem.message.startswith(f"JWTAUTH{place} cannot be imported. {raised}")


def test_a_setting_that_is_no_hook_is_never_imported():
    (problem,) = find_problems({"LEEWAY": "django.utils.timezone.now"})
    assert problem.message == "JWTAUTH['LEEWAY'] is not usable."


@pytest.mark.parametrize(("name", "value"), every(GOOD))
def test_a_good_value_is_none(name, value, settings):
    settings.JWTAUTH = {name: value}
    assert find_problems({name: value}) == []
    assert getattr(get_config(), name.lower()) == value


@pytest.mark.parametrize("raw", [None, [], "ISSUER", 1, True, {"ISSUER"}, object(), [("ISSUER", "id")]])
def test_a_setting_that_is_no_dict_is_one_problem(raw):
    assert find_problems(raw) == [
        ("jwtauth.E001", "JWTAUTH is not a dict.", 'Write JWTAUTH = {"ISSUER": "…"} or leave it out.')
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ISUER", "ISSUER"),
        ("issuer", "ISSUER"),
        ("ACCESS_LIFETIME", "ACCESS_TOKEN_LIFETIME"),
        ("ACCESS_TOKEN_LIFE_TIME", "ACCESS_TOKEN_LIFETIME"),
        ("SIGNING_KEY", "SIGNING_KEYS"),
        ("DENYLIST_STALENESS", "DENYLIST_MAX_STALENESS"),
    ],
)
def test_an_unknown_setting_is_a_problem_that_names_the_one_meant(name, meant):
    assert find_problems({name: "x"}) == [
        ("jwtauth.E002", f"JWTAUTH has no setting {name!r}.", f"Did you mean '{meant}'?")
    ]


@pytest.mark.parametrize("name", ["X", "", 1, None, b"x", ("x",), 1.5, "\ud800"])
def test_an_unknown_setting_like_none_of_ours_is_answered_with_all_of_them(name):
    assert find_problems({name: "x"}) == [
        (
            "jwtauth.E002",
            f"JWTAUTH has no setting {name!r}.",
            "The settings are: SIGNING_KEYS, ISSUER, AUDIENCE, ACCESS_TOKEN_LIFETIME, REFRESH_TOKEN_LIFETIME, "
            "SESSION_LIFETIME, REUSE_LEEWAY, LEEWAY, DENYLIST_INTERVAL, DENYLIST_MAX_STALENESS, TOKEN_CACHE_SIZE, "
            "MAX_SESSIONS_PER_USER, RECORD_CLIENT, CLAIMS, TRUSTED_ISSUERS.",
        )
    ]


def test_every_problem_is_told_at_once():
    assert ids_of({"X": 1, "ISSUER": "", "LEEWAY": 5, "CLAIMS": "x"}) == [
        "jwtauth.E002",
        "jwtauth.E004",
        "jwtauth.E010",
        "jwtauth.E016",
    ]


class TestContradictions:
    def test_keys_of_ones_own_need_an_issuer_of_ones_own(self):
        keys = [{"ALGORITHM": "HS256", "SECRET": "s" * 32}]
        assert ids_of({"SIGNING_KEYS": keys}) == ["jwtauth.E017"]
        assert ids_of({"SIGNING_KEYS": keys, "ISSUER": "django-jwtauth"}) == ["jwtauth.E017"]
        assert ids_of({"SIGNING_KEYS": keys, "ISSUER": "id"}) == []

    def test_the_staleness_is_no_shorter_than_the_interval(self):
        assert ids_of({"DENYLIST_INTERVAL": timedelta(seconds=61)}) == ["jwtauth.E018"]
        assert ids_of({"DENYLIST_MAX_STALENESS": timedelta(seconds=4)}) == ["jwtauth.E018"]
        assert ids_of({"DENYLIST_MAX_STALENESS": timedelta(seconds=5)}) == []
        assert ids_of({"DENYLIST_INTERVAL": None, "DENYLIST_MAX_STALENESS": timedelta(0)}) == []

    def test_are_looked_for_only_in_usable_values(self):
        assert ids_of({"DENYLIST_INTERVAL": 5, "DENYLIST_MAX_STALENESS": timedelta(0)}) == ["jwtauth.E011"]


class TestConfig:
    def test_an_instance_is_read_only(self):
        with pytest.raises(dataclasses.FrozenInstanceError):
            Config().issuer = "other"

    @pytest.mark.parametrize(
        ("audience", "expected"), [(None, ("id",)), ("api", ("api",)), (["a", "b"], ("a", "b")), (("a",), ("a",))]
    )
    def test_audiences_is_a_tuple_however_it_is_written(self, audience, expected):
        assert Config(issuer="id", audience=audience).audiences == expected

    def test_claims_hook_is_the_callable_however_it_is_written(self):
        assert Config().claims_hook is None
        assert Config(claims=dict).claims_hook is dict
        assert Config(claims="django_jwtauth.conf.get_config").claims_hook is get_config

    def test_a_revoked_access_token_is_refused_within_the_interval_or_its_own_lifetime(self):
        hour = timedelta(hours=1)
        assert Config(denylist_interval=hour).revoked_within == hour
        assert Config(denylist_interval=None, access_token_lifetime=hour).revoked_within == hour

    def test_leeway_in_seconds_keeps_fractions(self):
        assert Config(leeway=timedelta(milliseconds=1500)).leeway_seconds == 1.5


class TestGetConfig:
    def test_is_made_once(self, settings):
        config = get_config()
        settings.USE_TZ = not settings.USE_TZ
        assert get_config() is config

    def test_follows_override_settings(self, settings):
        before = get_config().issuer
        settings.JWTAUTH = {"ISSUER": "first"}
        assert get_config().issuer == "first"
        settings.JWTAUTH = {"ISSUER": "second", "LEEWAY": timedelta(0)}
        assert (get_config().issuer, get_config().leeway) == ("second", timedelta(0))
        settings.JWTAUTH = {}
        assert get_config().issuer == before == "django-jwtauth"

    def test_works_without_the_setting(self, settings):
        del settings.JWTAUTH
        get_config.cache_clear()
        assert get_config() == Config()

    @pytest.mark.parametrize(
        ("raw", "sentence"),
        [
            ({"ISSUER": ""}, "JWTAUTH['ISSUER'] is not usable. Write a non-empty string such as "),
            ({"ISUER": "id"}, "JWTAUTH has no setting 'ISUER'. Did you mean 'ISSUER'? (jwtauth.E002)"),
            (None, "JWTAUTH is not a dict. "),
            ({"DENYLIST_MAX_STALENESS": timedelta(0)}, "JWTAUTH['DENYLIST_MAX_STALENESS'] is shorter than "),
        ],
    )
    def test_a_mistake_is_improperly_configured_every_time(self, settings, raw, sentence):
        settings.JWTAUTH = raw
        for _ in range(2):
            with pytest.raises(ImproperlyConfigured) as caught:
                get_config()
            assert str(caught.value).startswith(sentence)
        settings.JWTAUTH = {}
        assert get_config() == Config()
