"""JSON objects, read so that nobody understands another one."""

from __future__ import annotations

import pytest

from django_jwtauth.strict_json import DEEPEST, read_object


@pytest.mark.parametrize("before", ["", " ", "\n", " \t\r\n"])
@pytest.mark.parametrize("after", ["", " ", "\n", " \t\r\n"])
def test_white_space_may_stand_around_an_object(before, after):
    assert read_object(f'{before}{{"a": 1}}{after}'.encode()) == {"a": 1}


@pytest.mark.parametrize("odd", ["\f", "\v", "\xa0", "\u2028", "\ufeff", "x", "{}", "\0"])
def test_nothing_else_may(odd):
    for text in (f"{odd}{{}}", f"{{}}{odd}", f" {odd}{{}}", f"{{}} {odd}"):
        with pytest.raises(ValueError, match=r"no JSON object|Expecting value"):
            read_object(text.encode())


@pytest.mark.parametrize("text", ["", " ", "[]", "1", "null", '"{}"', "[{}]"])
def test_what_is_no_object_is_refused(text):
    with pytest.raises(ValueError, match=r"no JSON object|Expecting value"):
        read_object(text.encode())


@pytest.mark.parametrize("before", ["", " " * 3 * DEEPEST])
def test_it_may_be_nested_so_deep_and_no_deeper(before):
    for depth, is_read in ((DEEPEST, True), (DEEPEST + 1, False)):
        text = before + '{"a":' * depth + "1" + "}" * depth
        if is_read:
            assert read_object(text.encode())
        else:
            with pytest.raises(ValueError, match="nested too deep"):
                read_object(text.encode())
