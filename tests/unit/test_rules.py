"""What a dict in the settings must be, for dicts of no particular setting."""

from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_jwtauth.rules.members import Problem, Rule, check_members, raise_first, suggest
from django_jwtauth.rules.values import (
    HookImportError,
    dict_of,
    duration,
    hook,
    instance_of,
    is_count,
    is_filled_list,
    is_text,
    list_of,
    none_or,
    one_or_more,
)

RULES = {
    "NAME": Rule(is_text, "Write a name.", id="x.E002"),
    "HOOK": Rule(hook("user"), "Write a callable."),
}
SECOND = timedelta(seconds=1)


def problems_of(entry, **options):
    return check_members("BOX", entry, RULES, id="x.E001", **options)


class TestCheckMembers:
    def test_a_sound_dict_has_no_problem(self):
        assert problems_of({}) == problems_of({"NAME": "n", "HOOK": dict}) == []

    def test_a_bad_value_is_told_with_its_place_and_hint(self):
        assert problems_of({"NAME": ""}) == [Problem("x.E002", "BOX['NAME'] is not usable.", "Write a name.")]

    def test_a_rule_without_an_id_has_that_of_unknown_members(self):
        assert problems_of({"HOOK": 1}) == [Problem("x.E001", "BOX['HOOK'] is not usable.", "Write a callable.")]

    def test_what_importing_a_hook_raises_is_told(self):
        (problem,) = problems_of({"HOOK": "tests.support.raises.x"})
        assert problem.message.startswith("BOX['HOOK'] cannot be imported. ")
        assert problem.hint == "Write a callable."

    def test_an_unknown_member_is_told_with_the_one_meant(self):
        assert problems_of({"name": 1}, kind="label") == [
            Problem("x.E001", "BOX has no label 'name'.", "Did you mean 'NAME'?")
        ]

    def test_unknown_members_are_told_first_and_bad_values_by_their_rules(self):
        problems = problems_of({"HOOK": 1, 5: 1, "NAME": 1})
        assert [problem.message for problem in problems] == [
            "BOX has no member 5.",
            "BOX['NAME'] is not usable.",
            "BOX['HOOK'] is not usable.",
        ]
        assert problems[0].hint == "The members are: NAME, HOOK."

    def test_a_value_is_never_told(self):
        told = str(problems_of({"NAME": ["s3cret"], "HOOK": ["s3cret"], "NAMES": "s3cret"}))
        assert "s3cret" not in told


def test_a_suggestion_is_the_closest_name_or_all_of_them():
    assert suggest("nmae", ["NAME", "HOOK"], "things") == "Did you mean 'NAME'?"
    assert suggest("x", ["NAME", "HOOK"], "things") == "The things are: NAME, HOOK."


def test_the_first_problem_is_raised_with_its_hint_and_id():
    raise_first([])
    with pytest.raises(ImproperlyConfigured, match=r"^BOX is wrong\. Write it\. \(x\.E1\)$"):
        raise_first([Problem("x.E1", "BOX is wrong.", "Write it."), Problem("x.E2", "", "")])


@pytest.mark.parametrize(
    ("accepts", "good", "bad"),
    [
        (is_text, ["a", "a b", "ä"], ["", " a", "a\n", "\0", b"a", None, ["a"]]),
        (is_count, [0, 1, 10**9], [-1, True, 1.0, "1", None]),
        (is_filled_list, [[1], (None,)], [[], (), {1}, {1: 1}, "a", None]),
        (instance_of(bool), [True, False], [0, 1, None]),
        (instance_of(str, int), ["", 1, True], [1.0, None, []]),
        (none_or(is_count), [None, 0], [-1, "None"]),
        (list_of(is_count), [[0], (1, 2)], [0, [], (), [None], [1, -1], {1}]),
        (one_or_more(is_count), [0, [0], (1, 2)], [-1, [], (), [1, -1], [[1]]]),
        (one_or_more(none_or(is_count)), [None, [None, 1]], [[], [[None]]]),
        (one_or_more(lambda value: True), [1, [1]], [[], ()]),
        (dict_of(is_count), [{}, {"a": 0}], [{"": 0}, {1: 0}, {"a": -1}, [("a", 0)], None]),
        (duration(SECOND, SECOND * 2), [SECOND, SECOND * 2], [SECOND * 0.9, SECOND * 2.1, 1, None]),
        (hook("user"), [None, dict, len, lambda *users: 1, "builtins.len"], [1, "", "a..b", "a:b"]),
        (hook("user"), [lambda user, more=1: 1], [lambda: 1, lambda user, more: 1, "os.sep"]),
    ],
)
def test_a_test_accepts_the_good_and_nothing_else(accepts, good, bad):
    assert [value for value in good if not accepts(value)] == []
    assert [value for value in bad if accepts(value)] == []


def test_a_coroutine_function_is_no_hook():
    async def asynchronous(user):
        return {}

    assert not hook("user")(asynchronous)


@pytest.mark.parametrize("path", ["no_such_package.x", "os.no_such_name", "tests.support.raises.x"])
def test_a_path_that_cannot_be_imported_raises(path):
    with pytest.raises(HookImportError, match=r"^\w+: "):
        hook("user")(path)
