"""What the denylist holds, read from the database without missing a revocation that commits late.

A row's id and its times are given before its transaction commits, so reading only rows that look newer than those
seen last would lose the revocations of slow transactions. A short list is read whole. Of a long one only the rows
are read that are not yet *settled*: a row is settled once a process has seen it for ``SETTLING``, and by then every
other process has read it too, or has waited so long that it reads everything.
"""

import logging
from collections.abc import Set
from datetime import datetime
from typing import NamedTuple

from django.db import Error as DatabaseFailure

from .clock import NEVER, Moment
from .models import DenylistEntry

LONG = 5000
"""Entries from which on a list is not read whole each time."""
SETTLING = 120.0
"""Seconds from when a process has seen an entry until it marks it as settled."""
WHOLE_EVERY = SETTLING / 2
"""Seconds after which a process reads everything again: for one that has not read for so long an entry may have
come and been settled meanwhile, and what has expired or is allowed again is to be forgotten."""

logger = logging.getLogger("django_jwtauth")


class Sighting(NamedTuple):
    """Entries that were not settled when they were read, and when that reading had ended.

    By primary key and time: a restored backup, or a server that lost commits, gives the same keys once more.
    """

    rows: Set[tuple[int, datetime]]
    at: Moment


class Listing(NamedTuple):
    """What is denied, complete as of a moment just before it was read."""

    denied: Set[str]
    as_of: Moment
    whole: Moment
    """When all of it was read last."""
    sighting: Sighting


NOTHING_SEEN = Sighting(frozenset(), NEVER)
NOTHING_READ = Listing(frozenset(), NEVER, NEVER, NOTHING_SEEN)


def read(alias: str, before: Listing) -> Listing:
    """Read the denylist; ``before`` is what this process read last. Raises the database's errors."""
    begun = Moment.now()
    entries = DenylistEntry.objects.using(alias).live()
    if len(before.denied) < LONG:
        return Listing(entries.ids(), begun, begun, NOTHING_SEEN)
    unsettled = entries.filter(settled=False).ids()
    if Moment.now().since(before.whole) < WHOLE_EVERY:
        return before._replace(denied=before.denied | unsettled, as_of=begun)
    # In this order: what is settled between the two is in both.
    denied = unsettled | entries.filter(settled=True).ids()
    return Listing(denied, begun, begun, _settle(alias, before.sighting))


def _settle(alias: str, sighting: Sighting) -> Sighting:
    """Mark what was seen long enough ago; return what to mark next."""
    if Moment.now().surely_since(sighting.at) < SETTLING:
        return sighting
    entries = DenylistEntry.objects.using(alias)
    # Not by the ids: what is allowed and then denied again has the same one, and nobody may have seen it yet.
    unsettled = frozenset(entries.live().filter(settled=False).values_list("pk", "denied_at"))
    seen = Sighting(unsettled, Moment.now())
    try:
        entries.settle(key for key, _ in unsettled & sighting.rows)
    except DatabaseFailure:
        # Another process is at it, or whoever comes next will be.
        logger.debug("Denylist entries could not be marked as settled.", exc_info=True)
    return seen
