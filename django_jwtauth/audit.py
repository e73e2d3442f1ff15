"""The audit trail: what happens to sessions, each time one log record with fields. No field is ever
a token."""

import logging
from typing import Any

from django.dispatch import Signal
from django.http import HttpRequest

from . import client_info
from .conf import get_config
from .models import Session
from .signals import (
    refresh_token_retried,
    refresh_token_reused,
    session_refreshed,
    session_revoked,
    session_started,
)

logger = logging.getLogger("django_jwtauth")

EVENTS: dict[Signal, tuple[int, str, str]] = {
    session_started: (logging.INFO, "session_started", "Session %(sid)s was started."),
    session_refreshed: (logging.DEBUG, "session_refreshed", "Session %(sid)s was refreshed."),
    session_revoked: (logging.INFO, "session_revoked", "Session %(sid)s was revoked: %(reason)s."),
    refresh_token_reused: (
        logging.WARNING,
        "refresh_token_reused",
        "Session %(sid)s was ended: a used refresh token came back.",
    ),
    refresh_token_retried: (
        logging.WARNING,
        "refresh_token_retried",
        "Session %(sid)s: another client sent the refresh token again that was just used.",
    ),
}
"""Level, name and message of each."""


def connect() -> None:
    """Listen to what happens."""
    for signal in EVENTS:
        signal.connect(record, dispatch_uid="django_jwtauth.audit")


def record(
    signal: Signal,
    session: Session,
    request: HttpRequest | None = None,
    reason: str = "",
    **kwargs: Any,
) -> None:
    """Log an event with fields: ``event``, ``sid``, ``user_id``, ``reason``, ``actor_id``,
    ``ip_address``, ``client``.

    ``user_id`` is whose session it is. ``actor_id`` is who made the request, None where nobody was
    authenticated or where there was no request; so are ``ip_address`` and ``client``, and where
    ``RECORD_CLIENT`` is off.
    """
    _log(*EVENTS[signal], session, request, reason)


def record_retry(session: Session, request: HttpRequest | None) -> None:
    """Log that the client which had used a refresh token sent it again within ``REUSE_LEEWAY``."""
    message = "Session %(sid)s: the refresh token that was just used was sent again."
    _log(logging.INFO, "refresh_token_retried", message, session, request)


def _log(
    level: int,
    event: str,
    message: str,
    session: Session,
    request: HttpRequest | None,
    reason: str = "",
) -> None:
    if not logger.isEnabledFor(level):
        return
    whose = {"sid": session.sid, "user_id": str(session.user_id)}
    fields = {"event": event, **whose, "reason": str(reason), **_requester(request)}
    logger.log(level, message, fields, extra=fields)


def record_count(count: int, reason: str, request: HttpRequest | None) -> None:
    """Log in one record, with the field ``count``, that so many sessions were revoked for which no
    signal is sent."""
    fields = {
        "event": "sessions_revoked",
        "count": count,
        "reason": str(reason),
        **_requester(request),
    }
    logger.info("%(count)d more sessions were revoked: %(reason)s.", fields, extra=fields)


def _requester(request: HttpRequest | None) -> dict[str, str | None]:
    actor: Any = getattr(request, "user", None)
    is_recorded = request is not None and get_config().record_client
    return {
        "actor_id": str(actor.pk) if actor and actor.is_authenticated else None,
        "ip_address": client_info.address(request) if request is not None and is_recorded else None,
        "client": client_info.label(request) if request is not None and is_recorded else None,
    }
