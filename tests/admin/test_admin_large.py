"""The admin over tables that are too large to be counted, on PostgreSQL.

``JWTAUTH_ADMIN_ROWS=1000000 python -m pytest -s tests/admin/test_admin_large.py`` takes a million of each, and
the time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest

from django_jwtauth.admin.base import MAX_PAGES
from tests.support.processes import Meet, processes
from tests.support.servers import execute, manage, postgres_database

pytestmark = pytest.mark.processes

ROWS = int(os.environ.get("JWTAUTH_ADMIN_ROWS") or 51_000)
MOST_STATEMENTS = 14
MOST_SECONDS = 1.0
SESSIONS, DENYLIST = "/admin/jwtauth/session/", "/admin/jwtauth/denylistentry/"
LAST = min(ROWS // 100, MAX_PAGES)

FILL = (
    """INSERT INTO auth_user (username, password, first_name, last_name, email, is_staff, is_superuser, is_active,
        date_joined)
    SELECT 'user-' || n, '!', '', '', '', false, false, true, now() FROM generate_series(1, {rows} / 100) n""",
    """INSERT INTO jwtauth_session (id, user_id, nonce, generation, auth_hash, access_expires_at, created_at,
        refreshed_at, expires_at, ends_at, revoked_at, revoke_reason, ip_address, user_agent)
    SELECT gen_random_uuid(), 1 + n % ({rows} / 100), decode(md5(n::text), 'hex'), n % 9, md5(n::text) || md5(n::text),
        at + interval '10 min', at, at, at + interval '14 days', at + interval '30 days',
        CASE WHEN n % 5 = 0 THEN at END,
        CASE WHEN n % 5 > 0 THEN '' WHEN n % 1000 = 0 THEN 'reuse' ELSE 'logout' END,
        ('10.' || n % 200 || '.' || n / 200 % 250 || '.' || n % 250)::inet, 'Firefox on Linux'
    FROM generate_series(1, {rows}) n, LATERAL (SELECT now() - (random() + n * 0) * interval '28 days' AS at) moment""",
    """INSERT INTO jwtauth_denylistentry (claim, value, expires_at, denied_at, reason, user_id)
    SELECT 'sid', gen_random_uuid(), now() + interval '10 min', now() - random() * interval '10 min',
        CASE WHEN n % 1000 = 0 THEN 'reuse' ELSE 'logout' END, (1 + n % ({rows} / 100))::text
    FROM generate_series(1, {rows}) n""",
    "ANALYZE",
)

VIEWS: dict[str, tuple[str, dict[str, Any]]] = {
    "sessions": (SESSIONS, {}),
    "the last page": (SESSIONS, {"p": LAST}),
    "by last use": (SESSIONS, {"o": "3"}),
    "live ones": (SESSIONS, {"state": "live"}),
    "expired ones": (SESSIONS, {"state": "expired"}),
    "revoked ones": (SESSIONS, {"state": "revoked"}),
    "stolen ones": (SESSIONS, {"reason": "reuse"}),
    "of one user": (SESSIONS, {"user": "7"}),
    "of a week": (SESSIONS, {"created_at__gte": "{week}"}),
    "a user looked for": (SESSIONS, {"q": "user-77"}),
    "a session looked for": (SESSIONS, {"q": "{session}"}),
    "an address looked for": (SESSIONS, {"q": "10.7.20."}),
    "nothing found": (SESSIONS, {"q": "nobody"}),
    "one session": (SESSIONS + "{session}/change/", {}),
    "denylist": (DENYLIST, {}),
    "its last page": (DENYLIST, {"p": LAST}),
    "stolen ones denied": (DENYLIST, {"reason": "reuse"}),
    "of a user denied": (DENYLIST, {"q": "77"}),
    "adding": (DENYLIST + "add/", {}),
    "the user": ("/admin/auth/user/7/change/", {}),
    "the user's button": ("/admin/auth/user/7/revoke-sessions/", {}),
}


def measure(meet: Meet) -> dict[str, tuple[int, float]]:
    """Return how many statements and seconds each page takes."""
    from datetime import timedelta

    from django.contrib.auth import get_user_model
    from django.test import Client
    from django.test.utils import setup_test_environment
    from django.utils import timezone

    from django_jwtauth.models import Session
    from tests.support.statements import statements

    setup_test_environment()
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("root"))
    week = (timezone.now() - timedelta(days=7)).isoformat()
    names = {"session": str(Session.objects.order_by("pk")[0].pk), "week": week}
    measured = {}
    for title, (path, parameters) in VIEWS.items():
        url, query = path.format(**names), {key: str(value).format(**names) for key, value in parameters.items()}
        runs = []
        for _ in range(2):
            begun = time.perf_counter()
            with statements() as executed:
                assert client.get(url, query).status_code == HTTPStatus.OK, title
            runs.append((len(executed), time.perf_counter() - begun))
        # Others use the machine, too.
        measured[title] = min(runs)
    return measured


@pytest.fixture(scope="module")
def measured() -> Iterator[dict[str, tuple[int, float]]]:
    with postgres_database() as url:
        manage(url, "migrate")
        for statement in FILL:
            execute(url, statement.format(rows=ROWS))
        with processes(url) as running:
            yield running.call(measure)


def test_every_page_takes_few_statements_and_little_time(measured: dict[str, tuple[int, float]]) -> None:
    print(f"\n{ROWS} sessions and {ROWS} entries")
    for title, (count, seconds) in measured.items():
        print(f"{title:24}{count:4} statements{seconds:8.3f} s")
    assert [title for title, (count, _) in measured.items() if count > MOST_STATEMENTS] == []
    assert [title for title, (_, seconds) in measured.items() if seconds > MOST_SECONDS] == []
