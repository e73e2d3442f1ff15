"""The product in five functions: start, verify, refresh, revoke, revoke_all.

A session is one login. Its access tokens are JWTs, verified without the database. Its refresh
token rotates; one that is reused after its successor was used ends the session.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.signals import user_logged_in
from django.db import IntegrityError, OperationalError, connections, models, transaction
from django.db.models.functions import Greatest
from django.dispatch import Signal
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from . import audit, client_info, users
from .claims import Claims
from .conf import RULES, get_config
from .db import user_rows
from .db.batches import BATCH, chunks
from .db.clock import DatabaseNow, utc_offset
from .db.compiled import Place, fetch, update
from .db.retry import ROUNDS, in_transaction, lost_a_race
from .denylist import deny, deny_issued_before, deny_sessions
from .denylist.snapshot import denylist
from .errors import (
    CredentialsError,
    ExpiredTokenError,
    InvalidTokenError,
    ReusedTokenError,
    RevokedTokenError,
    TokenError,
    UnavailableError,
)
from .jose.encoding import decode_id
from .models import (
    MAX_GENERATION,
    MAX_USER_ID_LENGTH,
    DenylistEntry,
    Reason,
    Session,
    SessionQuerySet,
    skew_margin,
    write_alias,
)
from .pruning import prune_now_and_then
from .signals import (
    refresh_token_retried,
    refresh_token_reused,
    session_refreshed,
    session_revoked,
    session_started,
)
from .tokens import refresh as refresh_tokens
from .tokens.access import get_codec
from .tokens.pair import TokenPair, issue_pair
from .tokens.refresh import PresentedToken

LIFETIME = RULES["SESSION_LIFETIME"]
MAX_CLOCK_SKEW = timedelta(minutes=1)
"""Between two processes, and between a process and the database."""
MAX_RETRY_GAP = timedelta(minutes=1, seconds=1)
"""From a rotation to the last ``iat`` of its access tokens: the longest ``REUSE_LEEWAY``, as a
retry moves no time, and the second to which ``iat`` is rounded down."""
MAX_SIGNALLED_SESSIONS = 1000
"""Sessions ended by one call for which ``session_revoked`` is sent."""
MAX_BATCH_ROWS = 40 * BATCH
"""Sessions ended in one transaction."""
ALL = models.Q()
COUNTED_COLUMNS = ("pk", "user_id", "revoked_at", "has_expired")
"""What is read of a session that is ended but not told of."""

logger = logging.getLogger("django_jwtauth")


@sensitive_variables()
def start(
    user: Any, request: HttpRequest | None = None, *, lifetime: timedelta | None = None
) -> TokenPair:
    """Log a user in: store a session and return its first tokens.

    The caller has checked the credentials. ``lifetime`` replaces ``SESSION_LIFETIME`` for this
    session. Sends ``user_logged_in`` and, after commit, ``session_started``. Raises
    ``CredentialsError`` for a user who is inactive or was deleted meanwhile; inside a transaction
    the latter raises the database's ``IntegrityError``. Raises ``TypeError`` for anything but a
    user, and ``ValueError`` for a lifetime that ``SESSION_LIFETIME`` could not have.
    """
    users.user_key(user)
    if not (lifetime is None or LIFETIME.accepts(lifetime)):
        raise ValueError(f"This is no lifetime of a session. {LIFETIME.hint}")
    if not users.is_usable(user):
        raise CredentialsError
    config = get_config()
    now = timezone.now()
    ends_at = now + (config.session_lifetime if lifetime is None else lifetime)
    session = Session(
        user=user,
        auth_hash="" if users.was_overtaken(user) else next(users.auth_hashes(user)),
        created_at=now,
        refreshed_at=now,
        expires_at=min(now + config.refresh_token_lifetime, ends_at),
        ends_at=ends_at,
        **_client_fields(request),
    )
    pair = issue_pair(session, user, request, now)
    session.created_at = session.refreshed_at = DatabaseNow()
    try:
        session.save(using=write_alias(), force_insert=True)
    except IntegrityError as error:
        if connections[write_alias()].in_atomic_block or _is_stored(session.user_id):
            raise
        raise CredentialsError from error
    session.created_at = session.refreshed_at = now
    if config.max_sessions_per_user is not None:
        _end_oldest(session, config.max_sessions_per_user, request)
    user_logged_in.send_robust(sender=user.__class__, request=request, user=user)
    _after_commit(session_started, session=session, request=request)
    return pair


def verify(access_token: str) -> Claims:
    """Return the claims of an access token that is authentic, current and not revoked.

    Each process queries the denylist once per ``DENYLIST_INTERVAL``, whatever the number of calls;
    it covers our own tokens only. Raises ``TokenError``; ``DenylistUnavailableError`` without a
    recent denylist; ``IssuerUnavailableError`` without recent keys of a trusted issuer.
    """
    codec = get_codec()
    claims = codec.verify(access_token, time.time())
    if claims.iss == codec.own.iss:
        denylist.check(claims)
    return claims


@sensitive_variables()
def refresh(refresh_token: str | PresentedToken, request: HttpRequest | None = None) -> TokenPair:
    """Rotate a refresh token: return the next one and a new access token.

    See RFC 6749 section 6 and RFC 9700 section 4.14. The previous refresh token may be sent again
    for ``REUSE_LEEWAY``, the grace period, and gets the same new one, so that a lost response or
    two tabs do not end a session. An older one ends the session. Call this outside of
    transactions: a rollback would undo the end of a session. Raises ``TokenError``, or
    ``UnavailableError`` after losing too many races.
    """
    presented = refresh_tokens.read(refresh_token)
    for _ in range(ROUNDS):
        session = _session_with_user(presented.session_id)
        if session is None or not refresh_tokens.is_genuine(presented, bytes(session.nonce)):
            raise InvalidTokenError
        _check_refreshable(session, request)
        if presented.generation > session.generation:
            logger.warning(
                "Session %s was presented a refresh token of its future; is a backup restored?",
                session.sid,
            )
            raise InvalidTokenError
        if presented.generation < session.generation and not _is_retry(
            session, presented.generation
        ):
            _end_reused(session, request)
            raise ReusedTokenError
        if presented.generation == MAX_GENERATION:
            raise ExpiredTokenError
        is_retry = presented.generation < session.generation
        pair = _rotate(session, presented.generation, request)
        if pair is not None:
            _after_commit(session_refreshed, session=session, request=request)
            if is_retry:
                _tell_retry(session, request)
            prune_now_and_then()
            return pair
    raise UnavailableError


def revoke(
    session: Session, reason: str = Reason.LOGOUT, request: HttpRequest | None = None
) -> bool:
    """End a session: its refresh token at once, its access tokens within ``DENYLIST_INTERVAL`` in
    every process.

    Returns whether this call ended it. Sends ``session_revoked`` after commit; ``request`` tells
    who ended it. Raises ``TypeError`` for anything but a ``Session``.
    """
    _expect_session(session)

    def write() -> bool:
        # One row needs no lock before: its update takes it, and the count tells whether this call
        # ended it.
        now = timezone.now()
        ended = _mark([session.pk], reason, now) > 0
        if not _deny([session], reason):
            # The row was deleted meanwhile, or nothing but this one knows of an access token.
            deny([_denylist_entry(session, reason)])
        if ended:
            _tell([session], now, reason, request)
        return ended

    return in_transaction(write_alias(), write)


def revoke_all(
    user: Any,
    reason: str = Reason.LOGOUT,
    except_for: Session | None = None,
    request: HttpRequest | None = None,
) -> int:
    """End all sessions of a user, or all but one. Returns how many were live.

    Raises ``TypeError`` for anything but a user and a ``Session``, ``ValueError`` for a user who is
    not stored.
    """
    sessions = Session.objects.filter(user_id=users.user_key(user))
    if except_for is not None:
        _expect_session(except_for)
        sessions = sessions.exclude(pk=except_for.pk)
    return revoke_each(sessions, reason, request)


def revoke_each(sessions: SessionQuerySet, reason: str, request: HttpRequest | None = None) -> int:
    """End all sessions of a queryset, and deny access tokens that ended ones still hold. Returns
    how many were live.

    Outside of a transaction every ``MAX_BATCH_ROWS`` of them are committed. ``session_revoked`` is
    sent for the first ``MAX_SIGNALLED_SESSIONS``; the rest are counted in the audit log.
    """
    return sum(revoke_in_batches(sessions, reason, request))


def revoke_everybody_in_batches(reason: str, request: HttpRequest | None = None) -> Iterator[int]:
    """End all sessions that began before now, of all users; yields as ``revoke_in_batches`` does.

    Their access tokens are denied by an epoch: one denylist entry for all that were issued until a
    minute ago, those of sessions that a restored backup does not know included, and an ordinary one
    for each session that may hold a later one. A login from now on goes on, unless the clock of the
    database was set back.
    """
    found = Session.objects.primary().aggregate(
        now=models.Max(DatabaseNow()),
        begun=models.Max("created_at"),
        access=models.Max("access_expires_at"),
    )
    now = found["now"] or timezone.now()
    expires_at = max(found["access"] or now, now + get_config().access_token_lifetime)
    # Between other processes and the database it may be a minute more than in this one.
    skew = MAX_CLOCK_SKEW + abs(now - timezone.now())
    deny_issued_before(int((now - skew).timestamp()), expires_at, reason)
    # Without time zones the clock may be behind by the hour that is repeated when DST ends.
    repeated = timedelta(hours=0 if settings.USE_TZ else 1)
    # Those of a process whose clock is ahead have a later ``iat``.
    recent = models.Q(refreshed_at__gt=now - 2 * skew - MAX_RETRY_GAP - repeated)
    # Sessions seem to begin later than now where the clock of the database was set back.
    until = max(found["begun"] or now, now)
    yield from revoke_in_batches(
        Session.objects.filter(created_at__lte=until), reason, request, recent
    )


def revoke_in_batches(
    sessions: SessionQuerySet,
    reason: str,
    request: HttpRequest | None = None,
    denied: models.Q = ALL,
) -> Iterator[int]:
    """Do what ``revoke_each`` does, and yield after each batch how many live sessions it ended.

    ``denied``: which of the sessions get a denylist entry of their own.
    """

    def write(rows: Any, most: int) -> tuple[list[Any], int]:
        held = list(rows.locked()[:most])
        now = timezone.now()
        unrevoked = [session for session in held if session.revoked_at is None]
        _mark([session.pk for session in unrevoked], reason, now)
        _deny(held, reason, denied)
        # Those that had expired are marked as well, for a process whose clock is behind, but
        # nothing of them ended.
        live = [session for session in unrevoked if not session.has_expired]
        _tell(live, now, reason, request)
        return held, len(live)

    # Computed by the database: to parse a time of each row takes seconds for many rows.
    has_expired = models.ExpressionWrapper(
        models.Q(expires_at__lte=timezone.now()), models.BooleanField()
    )
    concerned = models.Q(revoked_at=None) | models.Q(
        access_expires_at__gt=timezone.now() - skew_margin()
    )
    rows = sessions.primary().filter(concerned).annotate(has_expired=has_expired)
    held, live = in_transaction(write_alias(), partial(write, rows, MAX_SIGNALLED_SESSIONS))
    yield live
    size = MAX_SIGNALLED_SESSIONS
    while len(held) == size:
        size = MAX_BATCH_ROWS
        rest = rows.filter(pk__gt=held[-1].pk).values_list(*COUNTED_COLUMNS, named=True)
        held, live = in_transaction(write_alias(), partial(write, rest, size))
        yield live


@sensitive_variables()
def find(token: str) -> Session | None:
    """Return the session of a genuine refresh token, of any generation, or of a live access token
    of ours."""
    if not isinstance(token, str):
        return None
    try:
        if token.startswith(refresh_tokens.PREFIX):
            session = by_refresh_token(token)
            return session if session.expires_at > timezone.now() else None
        claims = get_codec().verify_own(token, time.time())
    except TokenError:
        return None
    return Session.objects.primary().filter(pk=decode_id(str(claims.sid))).first()


@sensitive_variables()
def by_refresh_token(refresh_token: str | PresentedToken) -> Session:
    """Return the session of a genuine refresh token, of any generation; it may have ended. Raises
    ``TokenError``."""
    presented = refresh_tokens.read(refresh_token)
    session = Session.objects.primary().filter(pk=presented.session_id).first()
    if session is None or not refresh_tokens.is_genuine(presented, bytes(session.nonce)):
        raise InvalidTokenError
    return session


def _expect_session(session: object) -> None:
    if not isinstance(session, Session):
        raise TypeError(f"Expected a Session, got {session.__class__.__qualname__}.")


def _is_stored(user_id: Any) -> bool:
    return get_user_model()._base_manager.using(write_alias()).filter(pk=user_id).exists()


def _mark(keys: Sequence[UUID], reason: str, now: datetime) -> int:
    """Mark sessions as revoked. Returns how many were not."""
    unrevoked = Session.objects.primary().filter(revoked_at=None)
    return sum(
        unrevoked.filter(pk__in=some).update(revoked_at=now, revoke_reason=reason)
        for some in chunks(keys)
    )


def _deny(held: Sequence[Any], reason: str, denied: models.Q = ALL) -> int:
    """Deny what marked sessions still hold. Returns how many entries are new, or 0 where that is
    not known.

    Read after their rows are locked, or the access token of a refresh in flight would be missed.
    """
    rows = Session.objects.primary().holding_access().filter(denied)
    keys = [session.pk for session in held]
    if len({session.user_id for session in held}) == 1:
        return deny_sessions(rows, keys, reason, _user_id(held[0]))
    columns = rows.only("user_id", "access_expires_at")
    for some in chunks(keys):
        deny([_denylist_entry(session, reason) for session in columns.filter(pk__in=some)])
    return 0


def _tell(ended: Sequence[Any], now: datetime, reason: str, request: HttpRequest | None) -> None:
    """Report ended sessions after commit: a signal for each instance, a count of the rest."""

    def tell_each() -> None:
        for session in ended:
            vars(session).update(revoked_at=now, revoke_reason=reason)
            session_revoked.send_robust(
                sender=Session, session=session, reason=reason, request=request
            )

    tell_count = partial(audit.record_count, len(ended), reason, request)
    if ended:
        is_whole = isinstance(ended[0], Session)
        transaction.on_commit(tell_each if is_whole else tell_count, using=write_alias())


def _denylist_entry(session: Session, reason: str) -> DenylistEntry:
    expires_at, user_id = session.access_expires_at, _user_id(session)
    return DenylistEntry(value=session.pk, expires_at=expires_at, reason=reason, user_id=user_id)


def _user_id(session: Any) -> str:
    return str(session.user_id)[:MAX_USER_ID_LENGTH]


def _session_with_user(session_id: Any) -> Session | None:
    """Read a session, its user and the database's clock in one statement."""
    alias, model = write_alias(), get_user_model()
    if not user_rows.are_all_visible(model):
        # A manager that hides users (soft deletion, tenants) hides them here too.
        found = Session.objects.primary().filter(
            pk=session_id, user__in=model._default_manager.all()
        )
        return found.select_related("user").annotate(database_now=DatabaseNow()).first()
    own, theirs = user_rows.fields_of(Session), user_rows.fields_of(model)

    def build() -> models.QuerySet[Any, Any]:
        found = Session.objects.primary().filter(pk=Place("pk", Session._meta.pk))
        found = found.annotate(database_now=DatabaseNow())
        return found.values_list(*own, *(f"user__{name}" for name in theirs), "database_now")

    for row in fetch(alias, (Session, model, utc_offset(connections[alias])), build, pk=session_id):
        session = Session.from_db(alias, own, row[: len(own)])
        session.user = model.from_db(alias, theirs, row[len(own) : -1])
        vars(session)["database_now"] = row[-1]
        return session
    return None


def _check_refreshable(session: Session, request: HttpRequest | None) -> None:
    if session.revoked_at is not None:
        raise RevokedTokenError
    if not session.is_live(timezone.now()):
        raise ExpiredTokenError
    if not users.is_usable(session.user):
        revoke(session, Reason.INACTIVE, request)
        raise RevokedTokenError
    if session.auth_hash not in users.auth_hashes(session.user):
        revoke(session, Reason.PASSWORD, request)
        raise RevokedTokenError


def _is_retry(session: Any, presented_generation: int) -> bool:
    """Whether the previous refresh token came back within ``REUSE_LEEWAY``, its grace period."""
    # Negative if this SELECT began before that UPDATE, or after a small clock step back.
    since = abs(session.database_now - session.refreshed_at)
    return bool(
        presented_generation + 1 == session.generation and since < get_config().reuse_leeway
    )


def _tell_retry(session: Session, request: HttpRequest | None) -> None:
    now = _client_fields(request)
    before = {name: getattr(session, name) for name in now}
    if any(before.values()) and before != now:
        _after_commit(refresh_token_retried, session=session, request=request)
    else:
        transaction.on_commit(partial(audit.record_retry, session, request), using=write_alias())


def _end_reused(session: Session, request: HttpRequest | None) -> None:
    if revoke(session, Reason.REUSE, request):
        _after_commit(refresh_token_reused, session=session, request=request)


def _rotate(
    session: Session, presented_generation: int, request: HttpRequest | None
) -> TokenPair | None:
    """Return the next token pair; for a retry, one with the current refresh token.

    Returns None if another write came first.
    """
    now = timezone.now()
    read = {
        "pk": session.pk,
        "now": now,
        "generation_read": session.generation,
        "hash_read": session.auth_hash,
    }
    changes: dict[str, Any] = {}
    if presented_generation == session.generation:
        changes = _client_fields(request) | {
            "generation": session.generation + 1,
            "expires_at": min(now + get_config().refresh_token_lifetime, session.ends_at),
            "auth_hash": next(users.auth_hashes(session.user)),
        }
        vars(session).update(changes, refreshed_at=now)
    pair = issue_pair(session, session.user, request, now)
    changes["access_expires_at"] = session.access_expires_at
    try:
        return pair if _compare_and_swap(tuple(changes), read | changes) else None
    except OperationalError as error:
        if connections[write_alias()].in_atomic_block or not lost_a_race(error):
            raise
        return None


def _compare_and_swap(changed: tuple[str, ...], values: dict[str, Any]) -> int:
    """Update a session by compare-and-swap: if it is live and as it was read. Returns 1 or 0."""
    alias, fields = write_alias(), {field.attname: field for field in Session._meta.concrete_fields}

    def build() -> tuple[SessionQuerySet, dict[str, Any]]:
        current = Session.objects.primary().filter(
            pk=Place("pk", fields["id"]),
            revoked_at=None,
            expires_at__gt=Place("now", fields["expires_at"]),
            generation=Place("generation_read", fields["generation"]),
            # Or a hash that Django upgrades at this moment would be replaced by the old one.
            auth_hash=Place("hash_read", fields["auth_hash"]),
        )
        changes: dict[str, Any] = {name: Place(name, fields[name]) for name in changed}
        changes["access_expires_at"] = Greatest("access_expires_at", changes["access_expires_at"])
        if "generation" in changes:
            changes["refreshed_at"] = DatabaseNow()
        return current, changes

    return update(alias, (changed, utc_offset(connections[alias])), build, **values)


def _client_fields(request: HttpRequest | None) -> dict[str, Any]:
    if request is None or not get_config().record_client:
        return {}
    return {"ip_address": client_info.address(request), "user_agent": client_info.label(request)}


def _end_oldest(begun: Session, cap: int, request: HttpRequest | None) -> None:
    """End the oldest sessions over the cap, one batch at most, so that no login takes long."""
    alias, fields = write_alias(), {field.attname: field for field in Session._meta.concrete_fields}

    def build() -> models.QuerySet[Any, Any]:
        live = Session.objects.primary().filter(
            user_id=Place("user_id", fields["user_id"]),
            revoked_at=None,
            expires_at__gt=Place("now", fields["expires_at"]),
        )
        # Sessions from the future are the oldest: the database's clock was set back.
        set_back = models.Case(
            models.When(created_at__gt=DatabaseNow() + MAX_CLOCK_SKEW, then=1), default=0
        )
        return live.order_by(set_back, "-created_at", "pk").values_list("pk")[cap : cap + BATCH]

    key = "oldest", cap, utc_offset(connections[alias])
    excess = [pk for (pk,) in fetch(alias, key, build, user_id=begun.user_id, now=timezone.now())]
    if excess:
        revoke_each(Session.objects.filter(pk__in=excess), Reason.LIMIT, request)


def _after_commit(signal: Signal, **arguments: Any) -> None:
    transaction.on_commit(
        partial(signal.send_robust, sender=Session, **arguments), using=write_alias()
    )
