"""The two tables: sessions, and the denylist of what could still be accepted but must not be."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import connections, models, router
from django.db.models.constants import OnConflict
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .conf import get_config
from .jose.encoding import encode_id, new_id

Row = TypeVar("Row", bound=models.Model)

NONCE_BYTES = 16
MAX_GENERATION = 2**31 - 1
"""Refreshes of one session: the greatest number that the column holds in every database."""
MAX_AUTH_HASH_LENGTH = 128
"""Characters of a session auth hash that are stored as they are."""
MAX_USER_ID_LENGTH = 255
"""Characters of a user's primary key that an entry of the denylist notes."""


class Reason(models.TextChoices):
    """Why a session ended or a token was denied."""

    LOGOUT = "logout", _("logged out")
    REUSE = "reuse", _("refresh token used twice")
    PASSWORD = "password", _("password changed")
    INACTIVE = "inactive", _("user deactivated")
    DELETED = "deleted", _("user deleted")
    ADMIN = "admin", _("by an administrator")
    LIMIT = "limit", _("too many sessions")


def new_nonce() -> bytes:
    """Return the random bytes that make a session's refresh tokens underivable from the secret key
    alone."""
    return os.urandom(NONCE_BYTES)


def write_alias() -> str:
    """Return the database that is written to: a replica may not know of a revocation yet."""
    return router.db_for_write(Session)


def skew_margin() -> timedelta:
    """Return how long an entry outlives its token, for readers whose clocks run behind.

    Without time zones the hour that daylight saving repeats is added.
    """
    return get_config().leeway + timedelta(hours=1 if settings.USE_TZ else 2)


class PrimaryQuerySet(models.QuerySet[Row]):
    """Rows that can be pinned to the primary database."""

    def primary(self) -> Self:
        """Return the rows in the database that is written to; a replica may lag behind."""
        return self.using(write_alias())


class SessionQuerySet(PrimaryQuerySet["Session"]):
    """Sessions by state."""

    def live(self) -> Self:
        """Those that can be refreshed."""
        return self.filter(revoked_at=None, expires_at__gt=timezone.now())

    def expired(self) -> Self:
        """Those past their end, revoked or not, of which no token can be accepted any more."""
        past = timezone.now() - skew_margin()
        # An access token outlives its session where the lifetimes were shortened since it was
        # handed out.
        return self.filter(expires_at__lt=past, access_expires_at__lt=past)

    def holding_access(self) -> Self:
        """Those that can be refreshed or have an access token that a clock may accept which is
        wrong by an hour."""
        past = timezone.now() - skew_margin()
        return self.filter(
            models.Q(revoked_at=None, expires_at__gt=past) | models.Q(access_expires_at__gt=past)
        )

    def locked(self) -> Self:
        """Lock rows as they are read, in the order of their ids: two calls wait for each other, but
        never both."""
        if not connections[self.db].features.has_select_for_update:
            # SQLite refuses a transaction that reads first and writes after somebody else has. Any
            # write locks all.
            Session.objects.using(self.db).filter(pk=UUID(int=0)).update(generation=0)
        return self.order_by("pk").select_for_update()


class Session(models.Model):
    """One login: a family of refresh tokens and the access tokens that came with them.

    No token is in the row. A refresh token is derived from ``id``, ``generation``, ``nonce``,
    ``ISSUER`` and a key from ``SECRET_KEY``, so neither the database nor the secret alone makes
    one.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.CASCADE,
        related_name="jwtauth_sessions",
        verbose_name=_("user"),
    )
    nonce = models.BinaryField(max_length=NONCE_BYTES, default=new_nonce, editable=False)
    generation = models.PositiveIntegerField(
        _("generation"), default=0, help_text=_("How often it was refreshed.")
    )
    auth_hash = models.CharField(max_length=MAX_AUTH_HASH_LENGTH, editable=False)
    access_expires_at = models.DateTimeField(
        _("last access until"), help_text=_("The latest expiry of any access token handed out.")
    )
    created_at = models.DateTimeField(_("logged in"), default=timezone.now)
    refreshed_at = models.DateTimeField(
        _("refreshed"), help_text=_("By the clock of the database.")
    )
    expires_at = models.DateTimeField(
        _("expires"),
        db_index=True,
        help_text=_("The session ends then unless it is refreshed before."),
    )
    ends_at = models.DateTimeField(
        _("ends"), help_text=_("No refresh extends the session past this.")
    )
    revoked_at = models.DateTimeField(_("revoked"), null=True)
    revoke_reason = models.CharField(_("reason"), max_length=32, choices=Reason, blank=True)
    ip_address = models.GenericIPAddressField(_("address"), null=True)
    user_agent = models.CharField(_("client"), max_length=64, blank=True)

    objects = SessionQuerySet.as_manager()

    class Meta:
        verbose_name = _("API session")
        verbose_name_plural = _("API sessions")

    def __str__(self) -> str:
        return self.sid

    @property
    def sid(self) -> str:
        """The ``sid`` claim of its access tokens."""
        return encode_id(self.id)

    def is_live(self, at: datetime) -> bool:
        """Whether it could be refreshed at that moment."""
        return self.revoked_at is None and self.expires_at > at


class DenylistQuerySet(PrimaryQuerySet["DenylistEntry"]):
    """Denylist entries by state."""

    def live(self) -> Self:
        """Those that may still hit a token, on this clock or on one that runs behind."""
        return self.filter(expires_at__gte=timezone.now() - skew_margin())

    def expired(self) -> Self:
        """Those that can hit nothing any more."""
        return self.filter(expires_at__lt=timezone.now() - skew_margin())

    def add_sessions(self, sessions: SessionQuerySet, reason: str, user_id: str) -> int:
        """Deny sessions of one user by one ``INSERT … SELECT``. Returns how many were not denied
        before."""
        operations = connections[self.db].ops
        values = {
            "claim": models.Value(DenylistEntry.Claim.SID, models.CharField()),
            "value": models.F("pk"),
            "expires_at": models.F("access_expires_at"),
            "denied_at": models.Value(timezone.now(), models.DateTimeField()),
            "reason": models.Value(reason, models.CharField()),
            "user_id": models.Value(user_id, models.CharField()),
        }
        # Under names that are no fields of a session.
        rows = sessions.order_by("pk").annotate(
            **{f"entry_{name}": value for name, value in values.items()}
        )
        query = rows.values_list(*(f"entry_{name}" for name in values)).query
        select, parameters = query.get_compiler(self.db).as_sql()
        fields: list[Any] = [self.model._meta.get_field(name) for name in values]
        columns = ", ".join(operations.quote_name(field.column) for field in fields)
        table = operations.quote_name(self.model._meta.db_table)
        insert = operations.insert_statement(on_conflict=OnConflict.IGNORE)
        suffix = operations.on_conflict_suffix_sql(fields, OnConflict.IGNORE, (), ())
        with connections[self.db].cursor() as cursor:
            cursor.execute(f"{insert} {table} ({columns}) {select} {suffix}", parameters)
            return int(cursor.rowcount)


class DenylistEntry(models.Model):
    """An access token, all access tokens of a session, or all that were issued before an epoch,
    denied.

    There is no foreign key: deleting a user or a session must not lift a revocation.
    """

    class Claim(models.TextChoices):
        """What the entry is compared with."""

        JTI = "jti", _("one access token")
        SID = "sid", _("a session")
        IAT = "iat", _("everything issued before")

    claim = models.CharField(_("denies"), max_length=3, choices=Claim, default=Claim.SID)
    value = models.UUIDField(_("id"))
    """The claim ``jti`` or ``sid``; of an epoch the integer of the UUID is ``iat``, in seconds
    since 1970."""
    expires_at = models.DateTimeField(
        _("expires"), db_index=True, help_text=_("Nothing that it denies is valid after this.")
    )
    denied_at = models.DateTimeField(_("denied"), default=timezone.now)
    reason = models.CharField(_("reason"), max_length=32, choices=Reason)
    user_id = models.CharField(_("user id"), max_length=MAX_USER_ID_LENGTH, blank=True)

    objects = DenylistQuerySet.as_manager()

    class Meta:
        verbose_name = _("denylist entry")
        verbose_name_plural = _("denylist entries")
        constraints = (
            models.UniqueConstraint(fields=["claim", "value"], name="jwtauth_denied_once"),
        )

    def __str__(self) -> str:
        if self.claim == self.Claim.IAT:
            return f"{datetime.fromtimestamp(self.value.int, UTC):%Y-%m-%d %H:%M:%S} UTC"
        return encode_id(self.value)
