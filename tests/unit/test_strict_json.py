"""JSON objects, read so that nobody understands another one."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from django_jwtauth.jose.strict_json import MAX_CONTAINERS, MAX_DEPTH, check_nesting, read_object
from tests.support import keys

IN_A_SMALL_THREAD = """
import sys, threading
from django.conf import settings
settings.configure()
from django_jwtauth.errors import InvalidTokenError
from django_jwtauth.issuers.own import OwnIssuer
from django_jwtauth.jose.keys import KeyRing
from django_jwtauth.jose.strict_json import read_object
from django_jwtauth.tokens.access import TokenCodec

def read():
    own = OwnIssuer(iss="", ring=KeyRing(()), accepted_audiences=frozenset())
    for call in (TokenCodec(own).decode, lambda text: read_object(text.encode())):
        try:
            call(text)
        except (InvalidTokenError, ValueError):
            print("refused")

text = sys.stdin.read()
threading.stack_size(128 * 1024)
thread = threading.Thread(target=read)
thread.start()
thread.join()
"""
"""The stack is that of threads with musl, in Alpine's images."""


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


@pytest.mark.parametrize("before", ["", " " * 3 * MAX_DEPTH])
def test_it_may_be_nested_so_deep_and_no_deeper(before):
    for depth, is_read in ((MAX_DEPTH, True), (MAX_DEPTH + 1, False)):
        text = before + '{"a":' * depth + "1" + "}" * depth
        if is_read:
            assert read_object(text.encode())
        else:
            with pytest.raises(ValueError, match="nested deeper than 128"):
                read_object(text.encode())


@pytest.mark.parametrize("opening", ["[", '{"":'])
def test_deep_json_ends_no_process_whose_threads_have_small_stacks(opening):
    header = keys.segment(keys.header(keys.key("HS256")))
    claims = '{"iss":' + opening * (6000 // len(opening))
    for text in (f"{header}.{keys.segment(claims)}.AAAA", f"{keys.segment(claims)}.{header}.AAAA", claims * 100):
        done = subprocess.run(
            [sys.executable, "-c", IN_A_SMALL_THREAD], input=text, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout.split()) == (0, ["refused"] * 2), done.stderr


def test_brackets_in_strings_nest_nothing():
    for text in ("[" * 500, '"[' * 500, "\\[" * 500, '\\"[' * 500, "{" * 500 + "\\"):
        value = {text: [text], "end": text}
        assert read_object(json.dumps(value).encode()) == value


def test_there_may_be_so_many_arrays_and_objects_and_no_more():
    for most in (MAX_DEPTH, MAX_CONTAINERS):
        fits = b'{"a":[' + b",".join([b"[]"] * (most - 2)) + b"]}"
        assert len(read_object(fits, most)["a"]) == most - 2
        with pytest.raises(ValueError, match=f"over {most} arrays and objects"):
            read_object(fits.replace(b"[]", b"[],{}", 1), most)


def test_nesting_is_counted_as_the_parser_does():
    numbers = random.Random(1)  # noqa: S311
    for _ in range(500):
        depth = numbers.randrange(MAX_DEPTH - 2, MAX_DEPTH + 3)
        value = numbers.choice(["", '"', "\\", "[", "]", '"]"', '\\\\"}'])
        for _ in range(depth - 1):
            value = numbers.choice([[value], [value, "]"], {'"[': value}, {"{": "}", "\\": value}])
        text = json.dumps({"": value}).encode()
        if depth <= MAX_DEPTH:
            assert read_object(text)
        else:
            with pytest.raises(ValueError, match="nested deeper"):
                read_object(text)


@pytest.mark.parametrize(
    "text",
    [
        *(part * 40_000 for part in ('"', '\\"', "\\", "a", '"[', '"]', '[""', '"\\', "]", "[]", "{}")),
        *("[" * 129 + part * 40_000 for part in ('"', '\\"', "\\", "a", "]")),
        *("[" * 120 + "]" * 120 + part * 40_000 for part in ('"', '\\"', "\\", "a", "]")),
    ],
)
def test_counting_takes_time_in_proportion_to_the_length(text):
    began = time.perf_counter()
    with suppress(ValueError):
        check_nesting(text.encode())
    assert time.perf_counter() - began < 0.5
