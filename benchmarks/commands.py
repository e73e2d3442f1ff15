"""What the orchestrator can ask of a worker. Arguments and results are JSON."""

import gc
import io
import json
import os
import resource
import secrets
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.core.management import call_command
from django.db import connection, connections, transaction
from django.test.utils import override_settings
from django.utils import timezone
from rest_framework.test import APIRequestFactory

from .parts import measure
from .products import CHUNK, PASSWORD, PRODUCT
from .works import WORKS, Exchange, Holder, Work, call, ensure

holders: deque[Holder] = deque()
works: dict[str, Work] = {}
servers: list[subprocess.Popen[bytes]] = []


def setup(users: int) -> None:
    """Make the tables and users, each with one login."""
    call_command("migrate", verbosity=0)
    model, password = get_user_model(), make_password(PASSWORD)
    model._default_manager.bulk_create(model(username=f"user{n}", password=password) for n in range(users))
    holders.extend((user, PRODUCT.issue(user)) for user in model._default_manager.order_by("pk"))


def stop() -> None:
    """End the servers started here."""
    for server in servers:
        server.terminate()
        server.wait()


def prepare(key: str, work: str, seconds: float, **options: Any) -> float:
    """Make a work ready to be timed; return its queries a call."""
    works[key] = WORKS[work](holders, **options)
    return works[key].prepare(seconds)


def batch(key: str) -> float:
    """Time one batch; return the seconds a call."""
    return works[key].time(works[key].count)


def sizes() -> dict[str, int]:
    """Return the lengths of the first user's tokens."""
    user, tokens = holders[0]
    ensure(len(str(user.pk)) == 1, "the first user's key has more than one digit")
    return {"access": len(tokens.access), "refresh": len(tokens.refresh)}


def parts(rounds: int) -> list[tuple[str, float]]:
    """Return the steps of our ``authenticate`` and the seconds that each takes."""
    return measure([tokens.access for _, tokens in list(holders)[:500]], rounds)


def serve() -> dict[str, Any]:
    """Start gunicorn with one process and one thread; return its port and all users' Authorization headers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "benchmarks.wsgi", "--bind", f"127.0.0.1:{port}", "--workers", "1"]
    command += ["--worker-class", "gthread", "--threads", "1", "--keep-alive", "60", "--log-level", "warning"]
    servers.append(subprocess.Popen(command, stdin=subprocess.DEVNULL))  # noqa: S603
    for _ in range(100):
        time.sleep(0.1)
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return {"port": port, "headers": [f"{PRODUCT.scheme} {tokens.access}" for _, tokens in holders]}
    raise TimeoutError("gunicorn did not start")


def race(clients: int, races: int) -> list[dict[str, int]]:
    """Send one refresh token from several clients at once, several times; tell what they got."""
    return [_race(holder, clients) for holder in list(holders)[:races]]


def _race(holder: Holder, clients: int) -> dict[str, int]:
    barrier = threading.Barrier(clients)
    answers: list[tuple[int, bytes]] = []

    def ask(env: Any) -> None:
        connection.ensure_connection()
        barrier.wait()
        answers.append(call(env))
        connections.close_all()

    requests = [Exchange(deque(), "refresh").request(*holder) for _ in range(clients)]
    threads = [threading.Thread(target=ask, args=[env]) for env in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ensure(len(answers) == clients, "a client got no answer")
    successors = {PRODUCT.read(json.loads(body)).refresh for status, body in answers if status == 200}
    return {
        "succeeded": sum(status == 200 for status, _ in answers),
        "successors": len(successors),
        "server errors": sum(status >= 500 for status, _ in answers),
    }


def fill(count: int) -> int:
    """Store the rows of so many live logins; return the growth in bytes."""
    before = size()
    PRODUCT.fill([user for user, _ in holders], count, timezone.now() + timedelta(days=14))
    return size() - before


def expire(count: int, refreshed: bool) -> None:
    """Forget all logins and store so many that have expired, never refreshed or once each."""
    users, newest = [user for user, _ in holders], timezone.now() - timedelta(days=1)
    call_command("flush", interactive=False, verbosity=0)
    get_user_model()._default_manager.bulk_create(users)
    if refreshed:
        PRODUCT.fill_refreshed(users, count, newest)
    else:
        PRODUCT.fill(users, count, newest)
    size()


def size() -> int:
    """Return the bytes that the database has in use; with PostgreSQL those of the product's tables after VACUUM."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(
                "SELECT (page_count - freelist_count) * page_size"
                " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
            )
            return int(cursor.fetchone()[0])
        cursor.execute("VACUUM ANALYZE")
        total = 0
        for model in apps.get_app_config(PRODUCT.model.split(".")[0]).get_models():
            cursor.execute("SELECT pg_total_relation_size(%s)", [model._meta.db_table])
            total += cursor.fetchone()[0]
        return total


def bytes_a_refresh(logins: int = 250, before: int = 6, counted: int = 4) -> float:
    """Refresh some logins again and again, first to fill what pages have room for; return the growth in bytes."""
    found = []
    logins = min(logins, len(holders))
    asked = [holders[place] for place in range(logins)]
    for _ in range(before + counted):
        asked = [(user, PRODUCT.refresh(tokens.refresh)) for user, tokens in asked]
        found.append(size())
    for place, holder in enumerate(asked):
        holders[place] = holder
    return (found[-1] - found[-1 - counted]) / (counted * logins)


def prune(plain: bool) -> dict[str, float]:
    """Delete what has expired, which is all; return seconds and the growth of the process in bytes.

    A plain one is one statement without batches: what the database itself takes.
    """
    ensure(PRODUCT.rows.exists(), "nothing is there")
    expired = PRODUCT.rows.filter(expires_at__lt=timezone.now())
    before, seconds = _peak(), _seconds(expired.delete if plain else PRODUCT.prune)
    ensure(not PRODUCT.rows.exists(), "expired rows are left")
    return {"seconds": seconds, "memory": _peak() - before}


def gather(count: int) -> str:
    """Have so many live sessions of the first user and none denied; return the access token of one more."""
    user, _ = holders[0]
    PRODUCT.rows.exclude(user=user).delete()
    PRODUCT.fill([user], count - PRODUCT.rows.count(), timezone.now() + timedelta(days=14))
    expires = timezone.now() + timedelta(minutes=10)
    PRODUCT.rows.update(revoked_at=None, access_expires_at=expires, auth_hash=secrets.token_hex(32))
    apps.get_model("jwtauth.DenylistEntry")._default_manager.all().delete()
    token = PRODUCT.issue(user).access
    size()
    return token


def act_on_many(act: str, token: str) -> dict[str, float]:
    """Do something with all sessions of the user whose access token this is; return seconds and more memory in bytes.

    The denylist is loaded before, as in a process that has served requests.
    """
    claims, user = PRODUCT.load("sessions.verify")(token), get_user_model()._default_manager.order_by("pk").first()
    view, factory = PRODUCT.load("views.SessionListView").as_view(), APIRequestFactory()

    def request(method: str) -> None:
        answer = view(getattr(factory, method)("/", headers={"Authorization": f"Bearer {token}"})).render()
        ensure(answer.status_code in {200, 204}, "the request failed")

    def change_password() -> None:
        user.set_password("another password")
        user.save()

    def log_in_over_the_cap() -> None:
        with override_settings(JWTAUTH={**settings.JWTAUTH, "MAX_SESSIONS_PER_USER": 1000}):
            PRODUCT.issue(user)

    acts: dict[str, Callable[[], Any]] = {
        "GET sessions/": partial(request, "get"),
        "DELETE sessions/": partial(request, "delete"),
        "password change": change_password,
        "password change in a transaction": transaction.atomic(change_password),
        "login over the cap": log_in_over_the_cap,
        "jwtauth_revoke --user": partial(
            call_command, "jwtauth_revoke", user=user.username, interactive=False, stdout=io.StringIO()
        ),
    }
    ensure(claims.sub == str(user.pk), "the token is another user's")
    before, cpu = _peak(), time.process_time()
    seconds = _seconds(acts[act])
    return {"seconds": seconds, "cpu": time.process_time() - cpu, "memory": _peak() - before}


def deny(count: int) -> None:
    """Store so many live entries in the denylist."""
    model, expires = apps.get_model("jwtauth.DenylistEntry"), timezone.now() + timedelta(hours=10)
    for start in range(0, count, CHUNK):
        entries = [model(value=uuid4(), expires_at=expires) for _ in range(min(CHUNK, count - start))]
        model._default_manager.bulk_create(entries, 1000)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def load_denylist(times: int) -> dict[str, Any]:
    """Read the denylist as a process does; return time and memory."""
    read, before = partial(PRODUCT.load("listing.read"), "default"), _peak()

    def read_in_thread() -> None:
        read()
        connections.close_all()

    held = read()
    peak = _peak() - before
    pauses = [_longest_pause(read_in_thread) for _ in range(times)]
    timed = {
        "seconds": [_seconds(read) for _ in range(times)],
        "cpu": [_seconds(read, time.thread_time) for _ in range(times)],
        "collection": [_seconds(gc.collect) for _ in range(times)],
    }
    tracemalloc.start()
    held = read()
    traced, _ = tracemalloc.get_traced_memory()
    ensure(len(held) > 0, "nothing was read")
    tracemalloc.stop()
    return {"peak": peak, "pauses": pauses, "bytes": traced, **timed}


def drive(work: str, seconds: float, share: int, of: int) -> dict[str, float]:
    """Do the same again and again, with users of its own; return how often a second, and the server's CPU time.

    That is read from ``/proc``, so the server must run on this machine.
    """
    users = get_user_model()._default_manager.order_by("pk")[share::of][:50]
    mine = deque((user, PRODUCT.issue(user)) for user in users)
    read = PRODUCT.load("listing.read")

    def log_in() -> None:
        mine.append((mine[0][0], PRODUCT.issue(mine.popleft()[0])))

    def refresh() -> None:
        user, tokens = mine.popleft()
        mine.append((user, PRODUCT.refresh(tokens.refresh)))

    act = {"log in": log_in, "refresh": refresh, "read the denylist": partial(read, "default")}[work]
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        server = Path(f"/proc/{cursor.fetchone()[0]}/stat")
    cpu, count, begun = _cpu(server), 0, time.perf_counter()
    while (passed := time.perf_counter() - begun) < seconds:
        act()
        count += 1
    return {"rate": count / passed, "server": (_cpu(server) - cpu) / count}


def _cpu(stat: Path) -> float:
    """Return the seconds of CPU time that a process has used."""
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def explain() -> list[str]:
    """Return how PostgreSQL runs the statements of a refresh, of a reading of the denylist and of pruning."""
    statements: list[tuple[str, Any]] = []

    def record(execute: Callable[..., Any], sql: str, parameters: Any, *others: Any) -> Any:
        statements.append((sql, parameters))
        return execute(sql, parameters, *others)

    read = PRODUCT.load("listing.read")
    with connection.execute_wrapper(record):
        PRODUCT.refresh(holders[0][1].refresh)
        read("default")
        next(PRODUCT.load("pruning.prune")(), 0)
    plans = []
    for sql, parameters in statements:
        if sql.startswith(("SELECT", "UPDATE", "DELETE")):
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (COSTS OFF) {sql}", parameters)
                plans += [f"{sql[:6]} … {sql[sql.index('WHERE') :]}", *(row[0] for row in cursor.fetchall()), ""]
    return plans


def _seconds(act: Callable[[], Any], clock: Callable[[], float] = time.perf_counter) -> float:
    start = clock()
    act()
    return clock() - start


def _longest_pause(act: Callable[[], Any]) -> float:
    """Return the longest time for which this thread stood still while another one did it."""
    other = threading.Thread(target=act)
    other.start()
    longest, last = 0.0, time.perf_counter()
    while other.is_alive():
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    return longest


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
