"""What the app promises to cost, and which figure of the suites tells whether it does."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .harness import Figure


class Target(NamedTuple):
    """A promise. ``floor``: the figure must not be lower; otherwise it must not be higher."""

    figure: str
    meaning: str
    floor: bool
    sqlite: float
    postgresql: float


AT_LEAST, AT_MOST = True, False
PEER = "djangorestframework-simplejwt"

TARGETS = [
    Target(
        "seen / stateless",
        f"authenticate, token seen before: times as fast as {PEER}'s stateless class",
        AT_LEAST,
        20,
        20,
    ),
    Target("seen / default", f"the same against {PEER}'s default class, which loads the user", AT_LEAST, 150, 280),
    Target(
        "never seen HS256", f"authenticate, token never seen: times as fast as {PEER}'s stateless class", AT_LEAST, 3, 3
    ),
    Target("never seen RS256", "the same with RS256", AT_LEAST, 1.9, 1.9),
    Target("never seen ES256", "the same with ES256", AT_LEAST, 1.3, 1.3),
    Target("never seen EdDSA", "the same with EdDSA", AT_LEAST, 1.2, 1.2),
    Target("active / default", f"JWTActiveUserAuthentication: times as fast as {PEER}'s default class", AT_LEAST, 5, 3),
    Target("active queries", "JWTActiveUserAuthentication: queries a call", AT_MOST, 1, 1),
    Target("request / none", "a whole request: its time over that of one without authentication", AT_MOST, 1.10, 1.10),
    Target("refresh", f"refresh with rotation: times as fast as {PEER}", AT_LEAST, 6, 4),
    Target("refresh queries", "refresh with rotation: statements", AT_MOST, 2.05, 2.05),
    Target("race successors", "one refresh token, 16 clients at once: different successors", AT_MOST, 1, 1),
    Target("race succeeded", "the same: how many of the 16 get it", AT_LEAST, 16, 16),
    Target("prune", f"prune expired rows: times as fast as {PEER}", AT_LEAST, 10, 5),
    Target("prune memory", "prune: more memory, MB", AT_MOST, 50, 50),
    Target("many seconds", "100,000 sessions of one user, list or end them: seconds", AT_MOST, 5, 5),
    Target("many memory", "the same: more memory, MB", AT_MOST, 50, 50),
    Target("session bytes", "on disk: bytes a session, indexes included", AT_MOST, 550, 450),
    Target("refresh bytes", "on disk: bytes a refresh", AT_MOST, 0, 0),
    Target("HS256 bytes", "access token, user key of one digit, HS256: bytes", AT_MOST, 315, 315),
    Target("ES256 bytes", "the same with ES256", AT_MOST, 360, 360),
    Target("EdDSA bytes", "the same with EdDSA", AT_MOST, 360, 360),
    Target("denylist check", "denylist check at 100,000 entries: microseconds", AT_MOST, 1, 1),
    Target("denylist bytes", "denylist: bytes of memory an entry", AT_MOST, 150, 150),
]


def compare(figures: Mapping[str, Figure], vendor: str) -> Iterator[tuple[Target, float, Figure, str]]:
    """Yield each target whose figure was measured, its number, the figure and a verdict."""
    for target in TARGETS:
        figure = figures.get(target.figure)
        if figure is not None:
            number = target.sqlite if vendor == "sqlite" else target.postgresql
            met = figure.value >= number if target.floor else figure.value <= number
            close = abs(figure.value - number) <= figure.spread * figure.value
            yield target, number, figure, "met" if met else "within the spread" if close else "FALLS SHORT"
