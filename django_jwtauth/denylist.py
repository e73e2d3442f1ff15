"""The denylist of a process: a snapshot of the rows in the database, which costs a request no query.

It is loaded in a thread and on a connection of its own. A request waits for that at most ``LONGEST_WAIT``, so a
database that hangs holds up nobody who has no need of it; and what it reads is not the old view of a request's long
transaction.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from django.core.signals import setting_changed
from django.db import connections, transaction

from . import listing
from .claims import Claims
from .clock import NEVER, Moment
from .conf import ZERO, get_config
from .encoding import encode_id
from .errors import DenylistUnavailableError, RevokedTokenError
from .listing import NOTHING_READ, Listing
from .models import BATCH, DenylistEntry, DenylistQuerySet, write_alias

LONGEST_WAIT = 1.0
"""Seconds for which a request waits for a load."""
WAIT_AFTER_HANG = 0.25
"""The same after one was waited for in vain, until one has succeeded: enough for a database that answers again."""
PAUSE = 1.0
"""Seconds after a load has failed until the next one is begun."""
PATIENCE = 10.0
"""Seconds after which a load that hangs is left to itself and another one begun; doubled each time."""
EARLY = 0.7, 0.8
"""Between these parts of the interval a load is begun while requests go on. Where exactly is drawn by lot each time,
or processes that were started together would ask the database together for ever."""

logger = logging.getLogger("django_jwtauth")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is denied, as the requests of this process see it."""

    denied: Set[str]
    own: Mapping[str, Moment]
    """Denied by this process, and when; kept until a load that began later holds them too."""
    due: Moment
    """From then on a request begins a load."""
    listing: Listing


NOTHING_LOADED = Snapshot(frozenset(), {}, NEVER, NOTHING_READ)
NO_DENYLIST = Snapshot(frozenset(), {}, Moment(float("inf"), float("inf")), NOTHING_READ)
"""Where ``DENYLIST_INTERVAL`` is None: nothing is denied, and never is anything loaded."""


class Load:
    """One attempt to read the list."""

    def __init__(self, patience: float) -> None:
        self.begun = Moment.now()
        self.patience = patience
        """Seconds after which another one takes its place."""
        self.ended = threading.Event()
        self.in_vain = False
        """Whether a request has waited for it in vain; then no other one waits."""


class Denylist:
    """The snapshot of this process. It is loaded by the first request that asks, never at start."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything; the next check loads."""
        self._snapshot = NOTHING_LOADED
        self._load: Load | None = None
        self._failed_at = NEVER
        self._hung = False
        self._lock = threading.Lock()

    def check(self, claims: Claims) -> None:
        """Refuse what is denied.

        Raises ``RevokedTokenError``, or ``DenylistUnavailableError`` where that cannot be told.
        """
        snapshot = self._snapshot
        if time.monotonic() >= snapshot.due.monotonic or time.time() >= snapshot.due.wall:
            snapshot = self._renewed(Moment.now())
        sid, jti, denied, own = claims.sid, claims.jti, snapshot.denied, snapshot.own
        if sid in denied or jti in denied or (own and (sid in own or jti in own)):
            raise RevokedTokenError("denylist")

    def add(self, ids: Iterable[str]) -> None:
        """Deny these ids in this process at once."""
        now = Moment.now()
        config = get_config()
        if config.denylist_interval is None:
            return
        # A snapshot older than this is used by no request, and a younger one has what was denied before it.
        kept = max(config.denylist_interval, config.denylist_max_staleness).total_seconds()
        with self._lock:
            if self._snapshot.listing is NOTHING_READ and self._load is None:
                # What is read later has them. A command that ends a million sessions would keep them all in vain.
                return
            own = {key: added for key, added in self._snapshot.own.items() if now.monotonic - added.monotonic <= kept}
            self._snapshot = replace(self._snapshot, own=own | dict.fromkeys(ids, now))

    def _renewed(self, arrived: Moment) -> Snapshot:
        """Return the snapshot for a request that arrived then; have one loaded, and wait for it where it is needed."""
        config = get_config()
        if config.denylist_interval is None:
            self._snapshot = NO_DENYLIST
            return NO_DENYLIST
        interval = config.denylist_interval.total_seconds()
        if arrived.since(self._snapshot.listing.as_of) <= interval:
            self._begin_load()
            return self._snapshot
        # The load under way may have begun too long before this request. Then it is the next one that counts.
        for _ in range(2):
            load = self._begin_load() if arrived.since(self._snapshot.listing.as_of) > interval else None
            if load is None or not self._has_ended(load, arrived):
                break
        snapshot = self._snapshot
        if arrived.since(snapshot.listing.as_of) > max(interval, config.denylist_max_staleness.total_seconds()):
            raise DenylistUnavailableError
        return snapshot

    def _has_ended(self, load: Load, arrived: Moment) -> bool:
        """Wait for a load, but no longer than the request that arrived then may wait in all."""
        longest = WAIT_AFTER_HANG if self._hung else LONGEST_WAIT
        # A wall clock that is set meanwhile has taken no time.
        if load.ended.wait(longest - (time.monotonic() - arrived.monotonic)):
            return True
        # Without a first snapshot there is nothing to go on with, so everybody has to wait.
        self._hung = load.in_vain = self._snapshot.listing is not NOTHING_READ
        logger.warning("The denylist takes long to load; the last one is used while it may be.")
        return False

    def _begin_load(self) -> Load | None:
        """Begin a load unless one is under way. Return the one to wait for, or None where waiting would be in vain."""
        with self._lock:
            now = Moment.now()
            under_way = self._load
            if under_way is None and now.since(self._failed_at) < PAUSE:
                return None
            if under_way is not None and now.since(under_way.begun) <= under_way.patience:
                load = under_way
            else:
                load = self._load = Load(PATIENCE if under_way is None else 2 * under_way.patience)
        if load is not under_way:
            self._start(load)
        return None if load.in_vain else load

    def _start(self, load: Load) -> None:
        try:
            alias = write_alias()
            is_seen_here_only = _is_seen_here_only(connections[alias])
        except BaseException:
            # A router's, for example. Others must not wait for what has not begun.
            self._end(load, None)
            raise
        if is_seen_here_only:
            self._run(load, partial(_read_here, alias))
            return
        try:
            read = partial(_read_apart, alias)
            threading.Thread(target=self._run, args=(load, read), name="jwtauth-denylist", daemon=True).start()
        except RuntimeError:
            # No more threads.
            self._end(load, None)

    def _run(self, load: Load, read: Callable[[Listing], Listing]) -> None:
        found = None
        try:
            found = read(self._snapshot.listing)
        except Exception:
            logger.warning("The denylist could not be loaded; the last one is used while it may be.", exc_info=True)
        finally:
            self._end(load, found)

    def _end(self, load: Load, found: Listing | None) -> None:
        try:
            with self._lock:
                # Otherwise it was left to itself, or everything was forgotten meanwhile.
                if self._load is load:
                    self._load = None
                    if found is None:
                        self._failed_at = Moment.now()
                    else:
                        self._publish(found)
        finally:
            load.ended.set()

    def _publish(self, found: Listing) -> None:
        interval = get_config().denylist_interval or ZERO
        good_for = random.uniform(*EARLY) * interval.total_seconds()  # noqa: S311
        own = {key: added for key, added in self._snapshot.own.items() if added >= found.as_of}
        due = Moment(found.as_of.monotonic + good_for, found.as_of.wall + good_for)
        self._snapshot = Snapshot(found.denied, own, due, found)
        self._hung = False


denylist = Denylist()


def deny(entries: Sequence[DenylistEntry]) -> None:
    """Store entries, those that exist already excepted, and enforce them in this process.

    At once, because a test never commits, and once more from commit on, because a load before it would have
    forgotten them; if there is none, that is what the next load does.
    """
    alias = write_alias()
    # In one order: two of these at once then wait for each other, but never both.
    entries = sorted(entries, key=lambda entry: entry.value)
    ids = [encode_id(entry.value) for entry in entries]
    with transaction.atomic(using=alias):
        DenylistEntry.objects.using(alias).bulk_create(entries, batch_size=BATCH, ignore_conflicts=True)
        transaction.on_commit(partial(denylist.add, ids), using=alias)
    denylist.add(ids)


def allow(entries: DenylistQuerySet) -> int:
    """Delete entries and return how many there were. Every process, this one too, follows when it reads them next:
    within ``DENYLIST_INTERVAL``, or a minute where the list is long.
    """
    return entries.using(write_alias()).delete()[0]


def _is_seen_here_only(connection: Any) -> bool:
    """Whether other connections do not see what this one does: in a ``TestCase``, or with SQLite in memory."""
    in_test_case = any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)
    return in_test_case or (connection.vendor == "sqlite" and connection.is_in_memory_db())


def _read_here(alias: str, before: Listing) -> Listing:
    # A failed statement would otherwise end the transaction that the request runs in.
    with transaction.atomic(using=alias):
        return listing.read(alias, before)


def _read_apart(alias: str, before: Listing) -> Listing:
    try:
        return listing.read(alias, before)
    finally:
        connections[alias].close()


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting in {"JWTAUTH", "DATABASES", "DATABASE_ROUTERS"}:
        denylist.clear()


setting_changed.connect(_forget, dispatch_uid="django_jwtauth.denylist")
# The thread of a load is not in a forked child, and a lock that it held would never be released there.
os.register_at_fork(after_in_child=denylist.clear)
