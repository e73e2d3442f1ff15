"""Hostile input is refused at little cost. ``python -m tests.hostile_input`` tells how little."""

from __future__ import annotations

import pytest

from django_jwtauth import refresh_tokens
from tests import keys
from tests.hostile_input import cost, distinct_kids, hostile_tokens, kept_after, refused


@pytest.mark.parametrize("algorithm", ["HS256", "ES256"])
def test_no_token_takes_half_a_megabyte_and_none_of_a_megabyte_is_copied(algorithm: str) -> None:
    codec = keys.codec(keys.key(algorithm))
    for name, text in hostile_tokens(keys.key(algorithm)).items():
        read = refresh_tokens.read if text.startswith(refresh_tokens.PREFIX) else codec.decode
        _, memory = cost(lambda read=read, text=text: refused(read, text), calls=1)
        assert memory < (10 if name.startswith("1 MB") else 500), name


def test_tokens_that_name_keys_by_the_thousand_leave_nothing_in_memory() -> None:
    key = keys.key("HS256")
    codec = keys.codec(key, cache_size=4096)
    kept, _ = kept_after(codec, distinct_kids(key, 3000))
    assert kept < 30
