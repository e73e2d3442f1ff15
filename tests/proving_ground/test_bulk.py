"""Many sessions revoked by one act: in the admin, and from the command line."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus

import pytest

from tests.proving_ground.conftest import FULL, WORKERS, Record, Site
from tests.proving_ground.harness import Revoked, noticing, watching
from tests.support.browser import Browser
from tests.support.servers import Connection, manage

pytestmark = pytest.mark.processes

COUNT = 10_000 if FULL else 700
"""More than are revoked in one transaction."""
SAMPLE = 50
"""Every so many sessions one is asked about early too, so that the worst delay shows."""
PASSWORD = "correct horse battery staple"


def revoke_in_admin(site: Site, port: int, username: str) -> None:
    """Select all sessions of a user in the admin, across its pages, and revoke them."""
    root = f"root-{os.urandom(4).hex()}"
    with site.write(1) as writer:
        writer.make_superuser(root, PASSWORD)
    with closing(Connection(port, timeout=300)) as connection:
        browser = Browser(connection)
        browser.log_in(root, PASSWORD)
        page = f"/admin/jwtauth/session/?q={username}"
        shown = browser.get(page)
        [first, *_] = re.findall(r'name="_selected_action" value="([^"]+)"', shown)
        selected = {"select_across": "1", "_selected_action": first}
        question = browser.post(page, shown, action="revoke_selected", **selected)
        assert question.status == HTTPStatus.OK, question.body
        answer = browser.post(page, question.body.decode())
        assert answer.status == HTTPStatus.FOUND, answer.body
        assert f"{COUNT} sessions were revoked" in browser.get("/admin/jwtauth/session/")


def revoke_by_command(site: Site, port: int, username: str) -> None:
    """Run ``jwtauth_revoke``."""
    told = manage(site.url, "jwtauth_revoke", "--user", username, "--no-input", timeout=300)
    assert f"Revoked {COUNT} sessions." in told


@pytest.mark.parametrize("atomic", ["0", "1"] if FULL else ["0"], ids=lambda atomic: f"ATOMIC_REQUESTS {atomic}")
@pytest.mark.parametrize("revoke_all_of", [revoke_in_admin, revoke_by_command])
def test_what_is_revoked_in_bulk_is_refused_in_time(
    site: Callable[..., Site], record: Record, revoke_all_of: Callable[[Site, int, str], None], atomic: str
) -> None:
    used, username = site(), f"many-{os.urandom(4).hex()}"
    noticed: list[str] = []
    with used.serve(ATOMIC_REQUESTS=atomic) as server:
        with used.write(1) as writer:
            tokens = {login.sid: login.access_token for login in writer.log_in(COUNT, of=username)}
            [bystander] = writer.log_in(1)
        with watching([server], WORKERS, used.interval) as watch:

            def follow(revoked: Revoked) -> None:
                for number, sid in enumerate(revoked.sids):
                    watch.revoked(tokens[sid], revoked, early=0 if number % SAMPLE else 2)
                noticed.extend(revoked.sids)

            with watch.traffic(bystander.access_token):
                with noticing(used.url, follow):
                    revoke_all_of(used, server.port, username)
                time.sleep(used.interval)
        assert sorted(noticed) == sorted(tokens)
        how = "in the admin" if revoke_all_of is revoke_in_admin else "by jwtauth_revoke"
        record(f"{COUNT:,} sessions {how}{', ATOMIC_REQUESTS' * int(atomic)}", watch.figures)
