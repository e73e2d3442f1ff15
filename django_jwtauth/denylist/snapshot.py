"""The denylist of a process: a snapshot of the rows in the database, which costs a request no
query.

It is loaded in a thread and on a connection of its own. A request waits at most
``MAX_WAIT_SECONDS`` for that, so a database that hangs does not hold up requests that need no
database; and the load does not see the old view of a request's long transaction.
"""

import logging
import time
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from django.db import connections, transaction

from ..claims import Claims
from ..conf import get_config
from ..errors import DenylistUnavailableError, RevokedTokenError
from ..models import write_alias
from ..process.clock import Moment
from ..process.memory import on_settings_change
from ..process.reloading import Held, Plan, Reloader, TooOldError
from . import loading
from .source import Source, is_current, source_of

logger = logging.getLogger("django_jwtauth")

MAX_WAIT_SECONDS = 1.0
"""A request waits this long for a load."""
COOLDOWN_SECONDS = 1.0
"""From a load that failed until the next one."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is denied, as the requests of this process see it."""

    denied: Set[str]
    epoch: float
    """Access tokens issued before are denied. Seconds since 1970."""
    own: Mapping[str, Moment]
    """Denied by this process, and when; kept until a load that began later holds them too."""
    source: Source | None = None
    """Where it was read; None where all requests read the same tables."""


NOTHING_LOADED = Snapshot(frozenset(), 0, {})


class Denylist:
    """The snapshot of this process."""

    def __init__(self) -> None:
        self._reloader = Reloader(
            "The denylist",
            NOTHING_LOADED,
            _plan,
            merge=_keep_own,
            on_failure=_log_failure,
            max_wait=MAX_WAIT_SECONDS,
            cooldown=COOLDOWN_SECONDS,
        )

    def clear(self) -> None:
        """Forget everything; the next check loads."""
        self._reloader.clear()

    def check(self, claims: Claims) -> None:
        """Refuse what is denied.

        Raises ``RevokedTokenError``, or ``DenylistUnavailableError`` where that cannot be told.
        """
        held = self._reloader.held
        snapshot = held.value
        if time.monotonic() >= held.due_monotonic or time.time() >= held.due_wall:
            snapshot = self._renewed(Moment.now())
        if snapshot.source is not None:
            _check_source(snapshot.source)
        denied, own = snapshot.denied, snapshot.own
        if claims.sid in denied or claims.jti in denied or (claims.iat or 0) < snapshot.epoch:
            raise RevokedTokenError("denylist")
        if own and (claims.sid in own or claims.jti in own):
            raise RevokedTokenError("denylist")

    def add(self, ids: Iterable[str]) -> None:
        """Deny these ids in this process at once."""
        now = Moment.now()
        config = get_config()
        if config.denylist_interval is None:
            return
        # A snapshot older than this is used by no request, and a younger one has what was denied
        # before it.
        kept = max(config.denylist_interval, config.denylist_max_staleness).total_seconds()

        def change(snapshot: Snapshot) -> Snapshot:
            own = {
                key: added
                for key, added in snapshot.own.items()
                if now.monotonic - added.monotonic <= kept
            }
            return replace(snapshot, own=own | dict.fromkeys(ids, now))

        self._reloader.change(change)

    def _renewed(self, arrived: Moment) -> Snapshot:
        """Return the snapshot for a request that arrived then."""
        config = get_config()
        if config.denylist_interval is None:
            self._reloader.pin(NOTHING_LOADED)
            return NOTHING_LOADED
        ages = (
            config.denylist_interval.total_seconds(),
            config.denylist_max_staleness.total_seconds(),
        )
        held = self._reloader.held
        if held.value.source is not None and arrived.since(held.as_of) <= max(ages):
            # Requests that read other tables do not replace a snapshot that is in use.
            _check_source(held.value.source)
        try:
            return self._reloader.get(arrived, *ages)
        except TooOldError:
            raise DenylistUnavailableError from None


def _check_source(source: Source) -> None:
    """Refuse a request that reads other tables than the snapshot: it says nothing about its tokens.

    Raises ``DenylistUnavailableError``.
    """
    try:
        if is_current(source):
            return
    except Exception:
        # Raised further, it would end in an error report that shows the request's token.
        logger.exception("The database router cannot tell where the denylist is.")
    else:
        logger.error(
            "The denylist of this process was read from %r, and this request uses another "
            "database or schema. "
            "It is refused: tokens and sessions of tenants with tables of their own are not told "
            "apart.",
            source,
        )
    raise DenylistUnavailableError


def _keep_own(held: Snapshot, found: Held[Snapshot]) -> Snapshot:
    own = {key: added for key, added in held.own.items() if added >= found.as_of}
    return replace(found.value, own=own)


def _log_failure(error: Exception) -> None:
    logger.warning(
        "The denylist could not be loaded; the last one is used while it may be.", exc_info=error
    )


def _plan() -> Plan[Snapshot]:
    alias = write_alias()
    if _is_seen_here_only(connections[alias]):
        return Plan(partial(_read_here, alias), in_background=False)
    return Plan(partial(_read_apart, alias))


def _is_seen_here_only(connection: Any) -> bool:
    """Whether other connections do not see what this one does: in a ``TestCase``, or with SQLite in
    memory."""
    return _is_in_test_case(connection) or (
        connection.vendor == "sqlite" and connection.is_in_memory_db()
    )


def _is_in_test_case(connection: Any) -> bool:
    return any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def _read_here(alias: str, before: Snapshot) -> Snapshot:
    # A failed statement would otherwise end the transaction that the request runs in.
    with transaction.atomic(using=alias):
        return _read(connections[alias])


def _read_apart(alias: str, before: Snapshot) -> Snapshot:
    connection = connections[alias] = _unpooled(alias)
    try:
        return _read(connection)
    finally:
        connection.close()


def _unpooled(alias: str) -> Any:
    """Return a new connection outside of Django's pool, where requests would delay a load for as
    long as they queue."""
    connection = connections.create_connection(alias)
    settings = connection.settings_dict
    options = {name: value for name, value in settings["OPTIONS"].items() if name != "pool"}
    connection.settings_dict = {**settings, "OPTIONS": options}
    return connection


def _read(connection: Any) -> Snapshot:
    found = loading.read(connection.alias)
    return Snapshot(found.ids, found.epoch, {}, source_of(connection))


denylist = Denylist()
on_settings_change("JWTAUTH", "DATABASES", "DATABASE_ROUTERS")(denylist.clear)
