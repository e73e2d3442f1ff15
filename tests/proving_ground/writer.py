"""A process beside the site that logs in and revokes. It takes orders as lines of JSON, and answers in lines of JSON.

``python -m tests.proving_ground.writer THREADS`` runs it; each thread has a connection to the database of its own.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from unittest import mock

import django

from tests.proving_ground import clock  # noqa: F401

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.proving_ground.settings")
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.db import OperationalError, connections, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from django_jwtauth import sessions  # noqa: E402
from django_jwtauth.jose.encoding import decode_id  # noqa: E402
from django_jwtauth.models import Session, write_alias  # noqa: E402


def make_superuser(name: str, password: str) -> None:
    """Make somebody who may do everything in the admin."""
    get_user_model().objects.create_superuser(name, password=password)


def log_in(count: int, of: str = "", ago: float = 0) -> list[list[str]]:
    """Start sessions, each of a user of its own or all of one new user with this name, as if so many seconds ago.

    Returns ids, access tokens and refresh tokens.
    """
    logins = []
    then = timezone.now() - timedelta(seconds=ago)
    with mock.patch.object(timezone, "now", return_value=then) if ago else transaction.atomic(using=write_alias()):
        for number in range(count):
            if number == 0 or not of:
                user = get_user_model().objects.create_user(of or f"user-{os.urandom(8).hex()}")
            pair = sessions.start(user)
            logins.append([pair.session.sid, pair.access_token, pair.refresh_token])
    return logins


def revoke(sids: list[str], hold: float = 0, roll_back: bool = False, how: str = "revoke") -> dict[str, Any]:
    """Revoke sessions in a transaction that stays open for ``hold`` seconds; tell between which moments it ended."""
    alias = write_alias()
    found = list(Session.objects.using(alias).select_related("user").filter(pk__in=map(decode_id, sids)))
    while True:
        try:
            with transaction.atomic(using=alias):
                for session in found:
                    WAYS[how](session)
                time.sleep(hold)
                transaction.set_rollback(roll_back, using=alias)
                begun = time.monotonic()
            return {"sids": sids, "begun": begun, "done": time.monotonic(), "rolled_back": roll_back}
        except OperationalError:
            # Under REPEATABLE READ the database tells the loser of a race to try again; nowhere else.
            if "isolation_level" not in connections[alias].settings_dict["OPTIONS"]:
                raise


def change_password(session: Session) -> None:
    session.user.set_password(os.urandom(8).hex())
    session.user.save()


WAYS: dict[str, Callable[[Session], Any]] = {
    "revoke": lambda session: sessions.revoke(session, "admin"),
    "revoke_all": lambda session: sessions.revoke_all(session.user, "admin"),
    "password": change_password,
    "deletion": lambda session: session.user.delete(),
}
ORDERS: dict[str, Callable[..., Any]] = {"log_in": log_in, "make_superuser": make_superuser, "revoke": revoke}


def main(threads: int) -> None:
    """Follow orders until there are no more."""
    writing = threading.Lock()

    def follow(number: int, name: str, arguments: dict[str, Any]) -> None:
        try:
            answer = {"number": number, "result": ORDERS[name](**arguments)}
        except Exception:
            answer = {"number": number, "error": traceback.format_exc()}
            connections.close_all()
        with writing:
            print(json.dumps(answer), flush=True)

    with ThreadPoolExecutor(threads) as pool:
        for line in sys.stdin:
            pool.submit(follow, *json.loads(line))


if __name__ == "__main__":
    main(int(sys.argv[1]))
