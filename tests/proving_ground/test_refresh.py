"""Revocations that meet refreshes: none succeeds afterwards, and what was handed out before is refused in time."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from typing import NamedTuple

import pytest

from tests.proving_ground.conftest import FULL, WORKERS, Record, Site
from tests.proving_ground.harness import Login, Revoked, Watch, Writer, watching
from tests.support.servers import REPEATABLE_READ, Connection

pytestmark = pytest.mark.processes

COUNT = 200 if FULL else 24
CLIENTS = 8 if FULL else 4
"""Clients that refresh at the same time, each a session of its own."""
LONGEST_LIFE = 0.5
"""Seconds until the revocation of a session is asked for, and seconds that its transaction stays open."""


class Refreshed(NamedTuple):
    """One answer to a refresh token."""

    sent: float
    status: int
    code: str
    access_token: str


def keep_refreshing(connection: Connection, token: str) -> Iterator[Refreshed]:
    """Use each refresh token twice, as after an answer that was lost, until it is refused."""
    while True:
        for _ in range(2):
            sent = time.monotonic()
            answer = connection.request("POST", "/auth/token/refresh/", {"refresh_token": token})
            if answer.status != HTTPStatus.OK:
                yield Refreshed(sent, answer.status, answer.json["code"], "")
                return
            yield Refreshed(sent, answer.status, "", answer.json["access_token"])
        token = answer.json["refresh_token"]


def refresh_until_revoked(port: int, writer: Writer, watch: Watch, login: Login) -> tuple[Revoked, list[Refreshed]]:
    """Refresh a session while it is revoked, and have all of its access tokens watched from then on."""
    connection = Connection(port)
    how = {"hold": random.uniform(0, LONGEST_LIFE), "how": random.choice(["revoke", "revoke_all", "password"])}  # noqa: S311
    due, revocation = time.monotonic() + random.uniform(0, LONGEST_LIFE), None  # noqa: S311
    answers: list[Refreshed] = []
    for answer in keep_refreshing(connection, login.refresh_token):
        answers.append(answer)
        if revocation is None and time.monotonic() >= due:
            revocation = writer.revoke([login.sid], then=lambda revoked: None, **how)
        # Or a session that is not revoked would be refreshed for ever.
        assert answer.status != HTTPStatus.OK or revocation is None or not was_over(revocation, answer.sent)
    connection.close()
    assert revocation is not None, answers[-1]
    revoked = revocation.result()
    for token in {login.access_token, *(answer.access_token for answer in answers[:-1])}:
        watch.revoked(token, revoked)
    return revoked, answers


def was_over(revocation: Future[Revoked], at: float) -> bool:
    """Whether a revocation had been committed at that moment."""
    return revocation.done() and revocation.result().done < at


@pytest.mark.parametrize("repeatable_read", [False, True], ids=["READ COMMITTED", "REPEATABLE READ"])
def test_no_refresh_succeeds_after_a_commit_and_no_token_from_before_lives_past_the_bound(
    site: Callable[..., Site], record: Record, database: str, repeatable_read: bool
) -> None:
    used = site(REPEATABLE_READ[database] if repeatable_read else "")
    with used.serve() as server, used.write(CLIENTS) as writer, ThreadPoolExecutor(CLIENTS) as pool:
        with watching([server], WORKERS, used.interval) as watch:
            bystander, *logins = writer.log_in(1 + COUNT)
            with watch.traffic(bystander.access_token):
                lives = list(pool.map(lambda login: refresh_until_revoked(server.port, writer, watch, login), logins))
        assert "Traceback" not in server.log
    for revoked, answers in lives:
        assert [answer.sent for answer in answers[:-1] if answer.sent > revoked.done] == []
        assert (answers[-1].status, answers[-1].code) == (HTTPStatus.UNAUTHORIZED, "token_revoked")
    assert sum(len(answers) for _, answers in lives) > 4 * COUNT, "the sessions ended too early to meet a refresh"
    record(f"revocations race refreshes, {'REPEATABLE READ' if repeatable_read else 'READ COMMITTED'}", watch.figures)
