"""The suites. Each returns the groups of works it timed, tables of what is no time, and figures for the targets."""

import json
import re
import shutil
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .harness import KEYS, Figure, Group, Lab, Worker

OURS = ("JWTAuthentication", "JWTActiveUserAuthentication", "JWTStatelessAuthentication")
STATELESS, DEFAULT = "simplejwt JWTStatelessUserAuthentication", "simplejwt JWTAuthentication"
MEGABYTE = 1_000_000


@dataclass
class Table:
    """Figures that are no times of works."""

    title: str
    columns: list[str]
    rows: list[list[Any]] = field(default_factory=list)


@dataclass
class Outcome:
    """What a suite found."""

    groups: list[Group] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)


def authenticate(lab: Lab) -> Outcome:
    """``authenticate`` alone: tokens seen before, and a new token at each call."""
    outcome = Outcome()
    for algorithm in KEYS:
        with ExitStack() as stack:
            jwtauth = lab.worker(stack, "jwtauth", algorithm=algorithm)
            simplejwt = lab.worker(stack, "simplejwt", algorithm=algorithm)
            knox = lab.worker(stack, "knox") if algorithm == "HS256" else None
            for fresh in (False, True):
                works: dict[str, tuple[Worker, str, dict[str, Any]]] = {
                    name: (jwtauth, "authenticate", {"label": name, "fresh": fresh}) for name in OURS
                }
                for name in (STATELESS, DEFAULT):
                    works[name] = simplejwt, "authenticate", {"label": name.split()[1], "fresh": fresh}
                if knox is not None and not fresh:
                    works["knox TokenAuthentication"] = (
                        knox,
                        "authenticate",
                        {"label": "TokenAuthentication", "fresh": False},
                    )
                group = lab.time(f"authenticate, {algorithm}, token {'never seen' if fresh else 'seen before'}", works)
                outcome.groups.append(group)
                if fresh:
                    outcome.figures[f"never seen {algorithm}"] = group.ratio(STATELESS, OURS[0])
                elif algorithm == "HS256":
                    outcome.figures["seen / stateless"] = group.ratio(STATELESS, OURS[0])
                    outcome.figures["seen / default"] = group.ratio(DEFAULT, OURS[0])
                    outcome.figures["active / default"] = group.ratio(DEFAULT, OURS[1])
                    outcome.figures["active queries"] = Figure(group.queries[OURS[1]])
    return outcome


def parts(lab: Lab) -> Outcome:
    """Where the time of ``authenticate`` goes, step by step."""
    table = Table("steps of authenticate, HS256, the fastest of many rounds", ["step", "us a call"])
    with ExitStack() as stack:
        steps = lab.worker(stack, "jwtauth", denylist_interval=300)("parts", rounds=10 * lab.plan.rounds)
    table.rows = [[name, seconds * 1e6] for name, seconds in steps]
    return Outcome(tables=[table])


def _views(lab: Lab, stack: ExitStack) -> dict[str, tuple[Worker, str]]:
    """Start the products; return the trivial view's path behind each authentication class."""
    workers = {name: lab.worker(stack, name) for name in ("none", "jwtauth", "simplejwt", "knox")}
    return {
        "no authentication": (workers["none"], "none"),
        **{name: (workers["jwtauth"], name) for name in OURS},
        **{name: (workers["simplejwt"], name.split()[1]) for name in (STATELESS, DEFAULT)},
        "knox TokenAuthentication": (workers["knox"], "TokenAuthentication"),
    }


def request(lab: Lab) -> Outcome:
    """A whole request through Django's WSGI handler to a trivial view."""
    with ExitStack() as stack:
        views = _views(lab, stack)
        works = {name: (worker, "who", {"label": label}) for name, (worker, label) in views.items()}
        group = lab.time("a whole request through WSGI, HS256, token seen before", works)
    return Outcome([group], figures={"request / none": group.ratio(OURS[0], "no authentication")})


def gunicorn(lab: Lab) -> Outcome:
    """The same through gunicorn, with a load generator on this machine."""
    with ExitStack() as stack:
        views, batches = _views(lab, stack), {}
        directory = Path(stack.enter_context(TemporaryDirectory()))
        served = {worker: worker("serve") for worker in dict.fromkeys(worker for worker, _ in views.values())}
        for name, (worker, label) in views.items():
            headers = directory / str(served[worker]["port"])
            headers.write_text("\n".join(served[worker]["headers"]))
            _check(headers, label)
            batches[name] = partial(_load, headers, f"/who/{label}/")
        group = Group("a whole request through gunicorn, HS256, token seen before", lab.take_turns(batches))
    return Outcome([group], [Table("load generator", ["program"], [["wrk" if shutil.which("wrk") else "http.client"]])])


def _check(headers: Path, label: str) -> None:
    """See that the view knows the first user."""
    connection = HTTPConnection(f"127.0.0.1:{headers.name}")
    connection.request("GET", f"/who/{label}/", headers={"Authorization": headers.read_text().split("\n")[0]})
    found = json.loads(connection.getresponse().read())["user_id"]
    connection.close()
    if str(found) != ("None" if label == "none" else "1"):
        raise RuntimeError(f"the view saw user {found}")


WRK = """
local requests, at = {}, 0
init = function(args)
  for line in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", nil, {["Host"] = "localhost", ["Authorization"] = line})
  end
end
request = function() at = at % #requests + 1; return requests[at] end
"""


def _load(headers: Path, path: str, seconds: int = 1) -> float:
    """Send requests over four connections for so many seconds; return the seconds a request."""
    wrk, address = shutil.which("wrk"), f"127.0.0.1:{headers.name}"
    if wrk is None:
        return _load_by_threads(headers.read_text().splitlines(), address, path, seconds)
    script = headers.with_suffix(".lua")
    script.write_text(WRK)
    command = [wrk, "-t1", "-c4", f"-d{seconds}s", "-s", str(script), f"http://{address}{path}", "--", str(headers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=True).stdout  # noqa: S603
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done)
    if rate is None or float(rate[1]) == 0 or "Non-2xx" in done or "Socket errors" in done:
        raise RuntimeError(f"the load generator met errors: {done}")
    return 1 / float(rate[1])


def _load_by_threads(headers: list[str], address: str, path: str, seconds: int) -> float:
    end, counts, failed = time.perf_counter() + seconds, [0] * 4, list[int]()

    def ask(number: int) -> None:
        connection = HTTPConnection(address)
        while time.perf_counter() < end:
            header = headers[(counts[number] * len(counts) + number) % len(headers)]
            connection.request("GET", path, headers={"Authorization": header})
            with connection.getresponse() as response:
                response.read()
                counts[number] += 1
                failed.extend([response.status] if response.status != 200 else [])
        connection.close()

    threads = [threading.Thread(target=ask, args=[number]) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed or not sum(counts):
        raise RuntimeError(f"the load generator met errors: {failed[:3]}")
    return seconds / sum(counts)


def exchange(lab: Lab) -> Outcome:
    """Obtain, refresh and revoke by their endpoints, and refresh by the function behind its endpoint."""
    outcome = Outcome()
    with ExitStack() as stack:
        workers = {name: lab.worker(stack, name) for name in ("jwtauth", "simplejwt", "knox")}
        for endpoint, direct in (("obtain", False), ("refresh", True), ("refresh", False), ("revoke", False)):
            works: dict[str, tuple[Worker, str, dict[str, Any]]] = {
                name: (worker, "exchange", {"endpoint": endpoint, "direct": direct})
                for name, worker in workers.items()
                if name != "knox" or endpoint != "refresh"
            }
            group = lab.time(f"{endpoint}, {'the function alone' if direct else 'the endpoint'}", works)
            outcome.groups.append(group)
            if direct:
                outcome.figures["refresh"] = group.ratio("simplejwt", "jwtauth")
                outcome.figures["refresh queries"] = Figure(group.queries["jwtauth"])
    return outcome


def race(lab: Lab) -> Outcome:
    """One refresh token from 16 clients at once. Needs PostgreSQL."""
    if lab.vendor == "sqlite":
        return Outcome()
    table = Table(
        "one refresh token from 16 clients at once",
        ["product", "races", "succeeded (least)", "different successors (most)", "answers 5xx"],
    )
    outcome = Outcome(tables=[table])
    for product in ("jwtauth", "simplejwt"):
        with ExitStack() as stack:
            races = lab.worker(stack, product)("race", clients=16, races=lab.plan.rounds)
        succeeded, successors = min(r["succeeded"] for r in races), max(r["successors"] for r in races)
        table.rows.append([product, len(races), succeeded, successors, sum(r["server errors"] for r in races)])
        if product == "jwtauth":
            outcome.figures |= {"race succeeded": Figure(succeeded), "race successors": Figure(successors)}
    return outcome


def growth(lab: Lab) -> Outcome:
    """What many sessions cost: bytes on disk, time to refresh, time and memory to prune."""
    disk = Table("on disk, indexes included", ["product", "sessions", "bytes a session", "bytes a refresh"])
    columns = ["product", "expired sessions", "each was refreshed", "seconds", "more memory, MB"]
    pruning = Table("prune, once", columns)
    outcome = Outcome(tables=[disk, pruning])
    for count in lab.plan.sizes:
        with ExitStack() as stack:
            workers = {name: lab.worker(stack, name) for name in ("jwtauth", "simplejwt", "knox")}
            rows = {name: [name, count, worker("fill", count=count) / count] for name, worker in workers.items()}
            disk.rows += rows.values()
            rows["knox"].append("-")
            del workers["knox"]
            for name, worker in workers.items():
                rows[name].append(worker("bytes_a_refresh"))
            options = {"endpoint": "refresh", "direct": True}
            works = {name: (worker, "exchange", options) for name, worker in workers.items()}
            outcome.groups.append(lab.time(f"refresh among {count:,} sessions, the function alone", works))
            for refreshed in (True, False):
                pruned = {name: _prune(worker, count, refreshed) for name, worker in workers.items()}
                for name, done in pruned.items():
                    times = "once" if refreshed else "never"
                    pruning.rows.append([name, count, times, done["seconds"], done["memory"] / MEGABYTE])
            done = _prune(workers["jwtauth"], count, refreshed=False, plain=True)
            pruning.rows.append(["jwtauth, by one DELETE", count, "never", done["seconds"], done["memory"] / MEGABYTE])
        note = f"{count:,} sessions"
        outcome.figures |= {
            "session bytes": Figure(rows["jwtauth"][2], note=note),
            "refresh bytes": Figure(rows["jwtauth"][3], note=note),
            "prune": Figure(pruned["simplejwt"]["seconds"] / pruned["jwtauth"]["seconds"], note=f"once, {note}"),
            "prune memory": Figure(pruned["jwtauth"]["memory"] / MEGABYTE, note=note),
        }
    return outcome


def _prune(worker: Worker, count: int, refreshed: bool, plain: bool = False) -> dict[str, float]:
    """Prune in a process that has done nothing else, so that its memory tells."""
    worker("expire", count=count, refreshed=refreshed)
    with worker.another() as other:
        done: dict[str, float] = other("prune", plain=plain)
    return done


RELOADED_EVERY_SECONDS = 3.75
"""A process that is busy reloads at three quarters of ``DENYLIST_INTERVAL``, on average."""


def many(lab: Lab) -> Outcome:
    """What it costs to list and to end very many sessions of one user."""
    table = Table("all sessions of one user", ["what", "sessions", "seconds", "CPU seconds", "more memory, MB"])
    outcome, count = Outcome(tables=[table]), min(lab.plan.sizes[-1], 100_000)
    acts = "GET sessions/", "DELETE sessions/", "password change", "password change in a transaction"
    acts += "jwtauth_revoke --user", "login over the cap"
    with ExitStack() as stack:
        worker = lab.worker(stack, "jwtauth")
        for act in acts:
            token = worker("gather", count=count)
            # In a process that has done nothing else, so that its memory tells.
            with worker.another() as other:
                done = other("act_on_many", act=act, token=token)
            table.rows.append([act, count, done["seconds"], done["cpu"], done["memory"] / MEGABYTE])
    outcome.figures |= {
        "many seconds": Figure(max(row[2] for row in table.rows), note=f"{count:,} sessions"),
        "many memory": Figure(max(row[4] for row in table.rows), note=f"{count:,} sessions"),
    }
    return outcome


def denylist(lab: Lab) -> Outcome:
    """What a denylist of that many live entries costs each process."""
    columns = [
        "entries",
        "ms",
        "CPU time of the process, ms",
        "share of a core, %",
        "bytes an entry",
        "first load, MB",
        "longest pause of another thread, ms",
        "garbage collection, ms",
    ]
    table = Table(f"denylist, read every {RELOADED_EVERY_SECONDS} s", columns)
    outcome = Outcome(tables=[table])
    with ExitStack() as stack:
        works: dict[str, tuple[Worker, str, dict[str, Any]]] = {}
        for count in lab.plan.sizes:
            worker = lab.worker(stack, "jwtauth", denylist_interval=300)
            worker("deny", count=count)
            with worker.another() as other:
                load = other("load_denylist", times=max(3, lab.plan.rounds // 3))
            median = {name: statistics.median(values) for name, values in load.items() if isinstance(values, list)}
            entry = load["bytes"] / count
            table.rows.append(
                [
                    count,
                    median["seconds"] * 1e3,
                    median["cpu"] * 1e3,
                    median["cpu"] / RELOADED_EVERY_SECONDS * 100,
                    entry,
                    load["peak"] / MEGABYTE,
                    median["pauses"] * 1e3,
                    median["collection"] * 1e3,
                ]
            )
            works[f"{count:,} entries"] = worker, "check", {}
            outcome.figures["denylist bytes"] = Figure(entry, note=f"{count:,} entries")
        group = lab.time("denylist check", works)
    outcome.groups.append(group)
    name = "100,000 entries" if "100,000 entries" in works else next(reversed(works))
    outcome.figures["denylist check"] = Figure.of([value * 1e6 for value in group.seconds[name]], name)
    return outcome


def scale(lab: Lab) -> Outcome:
    """What one PostgreSQL on this machine carries, from some processes; and how it runs the statements."""
    if lab.vendor == "sqlite":
        return Outcome()
    columns = ["work", "processes", "a second", "CPU of the server, ms", "a second and core of the server"]
    table = Table("what one PostgreSQL carries", columns)
    plans = Table("how it runs the statements", ["plan"])
    with ExitStack() as stack:
        first = lab.worker(stack, "jwtauth")
        first("fill", count=max(lab.plan.sizes))
        first("deny", count=1000)
        plans.rows = [[line] for line in first("explain")]
        for processes in (1, 2, 4, 8):
            with ExitStack() as others:
                workers = [first, *(others.enter_context(first.another()) for _ in range(processes - 1))]
                for work in ("log in", "refresh", "read the denylist"):
                    with ThreadPoolExecutor(processes) as threads:
                        drive = [
                            partial(worker, "drive", work=work, seconds=lab.plan.batch * 100, share=share, of=processes)
                            for share, worker in enumerate(workers)
                        ]
                        done = list(threads.map(lambda call: call(), drive))
                    cpu = statistics.mean(each["server"] for each in done)
                    rate = sum(each["rate"] for each in done)
                    table.rows.append([work, processes, rate, cpu * 1e3, 1 / cpu if cpu else "-"])
    return Outcome(tables=[table, plans])


def sizes(lab: Lab) -> Outcome:
    """How long the tokens are."""
    table = Table(
        "tokens, user key of one digit", ["product", "algorithm", "access token, bytes", "refresh token, bytes"]
    )
    outcome = Outcome(tables=[table])
    for product in ("jwtauth", "simplejwt", "knox"):
        for algorithm in KEYS if product != "knox" else ("HS256",):
            with ExitStack() as stack:
                lengths = lab.worker(stack, product, algorithm=algorithm)("sizes")
            table.rows.append(
                [product, algorithm if product != "knox" else "-", lengths["access"], lengths["refresh"] or "-"]
            )
            if product == "jwtauth":
                outcome.figures[f"{algorithm} bytes"] = Figure(lengths["access"])
    return outcome


SUITES: dict[str, Callable[[Lab], Outcome]] = {
    suite.__name__: suite
    for suite in (authenticate, parts, request, gunicorn, exchange, race, growth, many, denylist, scale, sizes)
}
