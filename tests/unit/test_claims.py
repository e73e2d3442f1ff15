import copy
import json
import pickle

import pytest

from django_jwtauth.claims import REGISTERED, Claims, ReadOnlyDict, freeze
from tests.support import keys


def make(**changes):
    return Claims(**{**keys.claims(), "aud": (keys.AUDIENCE,), **changes})


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (None, set()),
        ("", set()),
        (" ", set()),
        ("read", {"read"}),
        ("read write", {"read", "write"}),
        ("write  read write", {"read", "write"}),
    ],
)
def test_scopes_are_the_words_of_the_scope(scope, expected):
    assert make(scope=scope).scopes == frozenset(expected)


def test_registered_claims_are_the_attributes():
    assert set(Claims._fields) - {"extra"} == REGISTERED


def test_what_a_token_may_leave_out_is_none_or_empty():
    claims = make()
    assert (claims.nbf, claims.scope, claims.extra) == (None, None, {})


def test_an_attribute_cannot_be_set():
    with pytest.raises(AttributeError):
        make().sub = "2"


def test_an_attribute_cannot_be_invented():
    with pytest.raises((AttributeError, TypeError)):
        make().user_id = 1
    with pytest.raises(AttributeError):
        make().user_id  # noqa: B018


def test_claims_take_no_memory_for_attributes_of_their_own():
    for value in (make(), ReadOnlyDict()):
        assert not hasattr(value, "__dict__")


def test_the_default_of_extra_is_read_only():
    with pytest.raises(TypeError, match="read-only"):
        make().extra["role"] = "admin"


def test_equal_claims_are_equal_and_have_one_hash():
    first, second = make(extra=freeze({"roles": ["a"]})), make(extra=freeze({"roles": ["a"]}))
    assert first == second
    assert hash(first) == hash(second)
    assert first != make(sub="2")
    assert first != make()


def test_a_changed_copy_is_made_by_replace():
    assert make()._replace(sub="2") == make(sub="2")


class TestFreeze:
    @pytest.mark.parametrize("value", ["text", "", 0, 1.5, True, None])
    def test_leaves_what_is_read_only(self, value):
        assert freeze(value) is value

    def test_makes_arrays_tuples_and_objects_read_only_however_deep(self):
        frozen = freeze({"a": [1, {"b": [[2]]}], "c": {}})
        assert isinstance(frozen, ReadOnlyDict)
        assert isinstance(frozen["a"][1], ReadOnlyDict)
        assert isinstance(frozen["c"], ReadOnlyDict)
        assert frozen["a"] == (1, {"b": ((2,),)})

    def test_is_not_changed_through_what_it_was_made_of(self):
        source = {"a": [1], "b": {"c": 1}}
        frozen = freeze(source)
        expected = copy.deepcopy(source)
        source["a"].append(2)
        source["b"]["c"] = 2
        source["d"] = 1
        assert frozen == {"a": tuple(expected["a"]), "b": expected["b"]}


def test_claims_can_be_pickled_copied_and_dumped():
    claims = make(extra=freeze({"team": {"ids": [1, 2]}}))
    assert pickle.loads(pickle.dumps(claims)) == copy.deepcopy(claims) == claims  # noqa: S301
    assert claims._asdict()["extra"] == {"team": {"ids": (1, 2)}}
    assert json.loads(json.dumps(claims.extra)) == {"team": {"ids": [1, 2]}}
    with pytest.raises(TypeError, match="read-only"):
        copy.deepcopy(claims).extra["team"]["ids"] = ()


@pytest.mark.parametrize(
    "change",
    [
        lambda extra: extra.update(a=1),
        lambda extra: extra.pop("team"),
        lambda extra: extra.popitem(),
        lambda extra: extra.clear(),
        lambda extra: extra.setdefault("a", 1),
        lambda extra: extra.__delitem__("team"),
        lambda extra: extra.__ior__({"a": 1}),
    ],
)
def test_no_way_to_change_a_dict_changes_claims(change):
    extra = freeze({"team": 1})
    with pytest.raises(TypeError, match="read-only"):
        change(extra)
    assert extra == {"team": 1}
