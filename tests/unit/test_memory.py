"""What is remembered of a token changes how long a verdict takes, never the verdict."""

from __future__ import annotations

import gc
import random
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from django_jwtauth.denylist.snapshot import Denylist
from django_jwtauth.errors import JWTAuthError
from django_jwtauth.issuers.claim_rules import check_current
from django_jwtauth.jose.encoding import encode_id, new_id
from django_jwtauth.process.memory import cached_by_settings, on_settings_change
from django_jwtauth.tokens.access import TokenCodec
from tests.support import keys
from tests.support.fuzzing import examples

RINGS = [[keys.key(*one) for one in ring] for ring in (
    [("HS256",), ("ES256",)],
    [("ES256",), ("HS256",)],
    [("ES256",), ("EdDSA",)],
    [("ES256", "second"), ("HS256", "second")],
    [("EdDSA",)],
)]  # fmt: skip


class World:
    """What a verdict depends on: keys, the clock, settings, the denylist."""

    def __init__(self, choose: random.Random) -> None:
        self.choose = choose
        self.ring = RINGS[0]
        self.now = float(keys.NOW)
        self.denylist = Denylist()
        self.tokens: list[str] = ["", "a.b.c"]
        self.configure()

    def change(self) -> None:
        self.choose.choice(
            [*3 * [self.issue], *3 * [self.pass_time], *2 * [self.tamper, self.rotate, self.revoke], self.configure]
        )()

    def issue(self) -> None:
        if self.ring:
            changes = {
                "exp": int(self.now) + self.choose.choice([-10, 0, 3, 60, 600]),
                "iat": int(self.now) + self.choose.choice([-10, 0, 60]),
                "aud": self.choose.choice([keys.AUDIENCE, "others", [keys.AUDIENCE, "others"]]),
                "jti": encode_id(new_id()),
                "sid": encode_id(new_id()),
            }
            self.tokens.append(keys.codec(*self.ring).encode(keys.claims(**changes)))

    def tamper(self) -> None:
        token = self.choose.choice(self.tokens)
        at = self.choose.randrange(len(token) + 1)
        self.tokens.append(token[:at] + self.choose.choice(["A", "", "=", "."]) + token[at + 1 :])

    def pass_time(self) -> None:
        self.now += self.choose.choice([-60, 0.5, 3, 10, 300])

    def rotate(self) -> None:
        self.ring = [] if self.choose.random() < 0.2 else self.choose.choice(RINGS)
        for codec in (self.remembering, self.small):
            keys.replace_keys(codec.own, *self.ring)

    def revoke(self) -> None:
        try:
            claims = keys.codec(*self.ring).decode(self.choose.choice(self.tokens))
        except JWTAuthError:
            return
        self.deny({self.choose.choice([claims.sid, claims.jti])})

    def deny(self, ids: set[str]) -> None:
        reloader = self.denylist._reloader
        reloader.pin(replace(reloader.held.value, denied=reloader.held.value.denied | ids))

    def configure(self) -> None:
        """Change the settings, by which every process gets a new codec."""
        self.leeway = self.choose.choice([0.0, 5.0, 120.0])
        self.audiences = frozenset(self.choose.choice([[keys.AUDIENCE], ["others"], ["nobody"]]))
        self.remembering, self.small = (
            keys.codec(*self.ring, audiences=self.audiences, cache_size=size, leeway=self.leeway) for size in (4096, 8)
        )

    def verdict(self, token: str) -> Any:
        """Return what is said of a token where nothing is remembered."""
        try:
            claims = keys.codec(*self.ring).decode(token)
            check_current(claims, self.audiences, self.now, self.leeway)
            self.denylist.check(claims)
        except JWTAuthError as error:
            return error.code
        return claims

    def verdict_of(self, codec: TokenCodec, token: str) -> Any:
        """Return what a codec says that remembers."""
        try:
            claims = codec.verify(token, self.now)
            self.denylist.check(claims)
        except JWTAuthError as error:
            return error.code
        return claims


def test_the_verdict_is_the_same_with_and_without_it_for_every_token_at_every_moment(jwtauth: Any) -> None:
    seen: set[str] = set()

    @examples(12)
    @given(st.randoms(use_true_random=True))
    def check(choose: random.Random) -> None:
        world = World(choose)
        world.deny(set())
        for _ in range(120):
            world.change()
            for token in world.tokens:
                expected = world.verdict(token)
                assert world.verdict_of(world.remembering, token) == expected
                assert world.verdict_of(world.small, token) == expected
                seen.add(expected if isinstance(expected, str) else "accepted")
        assert len(world.remembering._cache) >= len(world.small._cache)

    check()
    assert {"accepted", "token_invalid", "token_expired", "token_revoked"} <= seen


@pytest.mark.parametrize("algorithm", keys.FAST)
def test_a_remembered_token_takes_at_most_600_bytes_beside_its_text(algorithm: str) -> None:
    codec = keys.codec(keys.key(algorithm), cache_size=8192)
    ids = [{"jti": encode_id(new_id()), "sid": encode_id(new_id()), "sub": str(n)} for n in range(2000)]
    tokens = [codec.encode(keys.claims(**one)) for one in ids]
    codec.decode(tokens.pop())
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for token in tokens:
            codec.decode(token)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(tokens) <= 600


def test_a_flood_of_valid_tokens_fills_it_to_its_bound_and_no_further() -> None:
    codec = keys.codec(keys.key("HS256"), cache_size=100)
    for number in range(1000):
        codec.decode(codec.encode(keys.claims(sub=str(number))))
        assert len(codec._cache) <= 100


def test_a_flood_of_refused_tokens_is_not_remembered() -> None:
    codec = keys.codec(keys.key("HS256"), cache_size=100)
    other = keys.codec(keys.key("HS256", "second"))
    for number in range(300):
        for token in (f"{number}.b.c", other.encode(keys.claims(sub=str(number)))):
            with pytest.raises(JWTAuthError):
                codec.decode(token)
    assert len(codec._cache) == len(codec._headers) == 0


class TestForgetting:
    def test_is_cached_until_one_of_its_settings_changes(self, settings: Any) -> None:
        @cached_by_settings("TIME_ZONE", "USE_TZ")
        def read() -> object:
            return object()

        seen = [read()]
        settings.LANGUAGE_CODE = "de"
        assert read() is seen[0]
        for name, value in (("TIME_ZONE", "Asia/Tokyo"), ("USE_TZ", False)):
            setattr(settings, name, value)
            assert read() not in seen
            seen.append(read())
            assert read() is seen[-1]

    def test_an_overridden_setting_is_forgotten_again(self) -> None:
        @cached_by_settings("TIME_ZONE")
        def read() -> Any:
            return settings.TIME_ZONE

        before = read()
        with override_settings(TIME_ZONE="Asia/Tokyo"):
            assert read() == "Asia/Tokyo" != before
        assert read() == before

    @pytest.mark.parametrize(("options", "calls"), [({}, [1, 2, 1]), ({"maxsize": 2}, [1, 2])])
    def test_remembers_one_value_or_as_many_as_it_is_told(self, options: dict[str, int], calls: list[int]) -> None:
        made = []

        @cached_by_settings("TIME_ZONE", **options)
        def read(number: int) -> int:
            made.append(number)
            return number

        assert [read(1), read(1), read(2), read(1)] == [1, 1, 2, 1]
        assert made == calls

    def test_an_error_is_raised_every_time(self) -> None:
        @cached_by_settings("TIME_ZONE")
        def read() -> None:
            raise LookupError

        for _ in range(2):
            with pytest.raises(LookupError):
                read()

    def test_a_function_is_called_when_one_of_its_settings_changes(self, settings: Any) -> None:
        calls = []

        @on_settings_change("TIME_ZONE")
        def forget() -> None:
            calls.append(settings.TIME_ZONE)

        del forget
        gc.collect()
        settings.USE_TZ = not settings.USE_TZ
        settings.TIME_ZONE = "Asia/Tokyo"
        assert calls == ["Asia/Tokyo"]
