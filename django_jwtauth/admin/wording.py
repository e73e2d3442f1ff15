"""Texts of the admin: times, states, counts, and what a revocation does."""

import math
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..conf import get_config
from ..models import DenylistEntry, Session

LIVE, EXPIRED, REVOKED = _("live"), _("expired"), _("revoked")
"""The states of a session."""
MINUTE, WEEK = timedelta(minutes=1), timedelta(weeks=1)


def moment(at: datetime) -> SafeString:
    """Return a time relative to now, with the exact time as a tooltip."""
    now = timezone.now()
    # One unit is enough for less than a week; "1 week" would be wrong for 13 days.
    depth = 1 if abs(at - now) < WEEK else 2
    if at > now:
        text = gettext("in less than a minute") if at - now < MINUTE else gettext("in %(time)s")
        text %= {"time": timeuntil(at, now, depth=depth)}
    else:
        text = gettext("just now") if now - at < MINUTE else gettext("%(time)s ago")
        text %= {"time": timesince(at, now, depth=depth)}
    exact = timezone.localtime(at) if timezone.is_aware(at) else at
    title = f"{exact:%Y-%m-%d %H:%M:%S %Z}".rstrip()
    return format_html('<time datetime="{}" title="{}">{}</time>', exact.isoformat(), title, text)


def state_of(session: Session) -> SafeString:
    """Return whether a session is live and until when, or why and since when it is not."""
    if session.revoked_at is not None:
        reason = session.get_revoke_reason_display()
        return _badge(
            "revoked", REVOKED, reason, moment(session.revoked_at), kind=session.revoke_reason
        )
    if session.is_live(timezone.now()):
        return _badge(
            "live", LIVE, format_html(gettext("ends {when}"), when=moment(session.expires_at))
        )
    return _badge("expired", EXPIRED, moment(session.expires_at))


def use_of(session: Session) -> SafeString:
    """Return the client of a session, its address and its last refresh."""
    last = gettext("never refreshed")
    if session.generation:
        last = format_html(gettext("refreshed {when}"), when=moment(session.refreshed_at))
    return _listed(session.user_agent or gettext("unknown client"), session.ip_address, last)


def denial_of(entry: DenylistEntry) -> SafeString:
    """Return what an entry denies, its user, and since when."""
    what = entry.get_claim_display()
    if entry.user_id:
        what = gettext("%(what)s of user %(user_id)s") % {"what": what, "user_id": entry.user_id}
    return _listed(what, format_html(gettext("denied {when}"), when=moment(entry.denied_at)))


def _listed(*words: Any) -> SafeString:
    return format_html_join(", ", "{}", ((word,) for word in words if word))


def _badge(state: str, label: Any, *words: Any, kind: str = "") -> SafeString:
    badge = format_html(
        '<span class="jwtauth-state jwtauth-{} jwtauth-{}">{}</span>', state, kind or state, label
    )
    return format_html("{} {}", badge, _listed(*words))


def revocation_delay() -> str:
    """Return how long it takes until every process enforces a change of the denylist."""
    seconds = math.ceil(get_config().revoked_within.total_seconds())
    return ngettext("%(count)d second", "%(count)d seconds", seconds) % {"count": seconds}


def revocation_result(count: int) -> str:
    """Return the message after a revocation."""
    message = ngettext(
        "%(count)d session was revoked. Access tokens are refused everywhere within %(soon)s.",
        "%(count)d sessions were revoked. Access tokens are refused everywhere within %(soon)s.",
        count,
    )
    return message % {"count": count, "soon": revocation_delay()}


def revocation_notice() -> str:
    """Return what a confirmation page says a revocation does."""
    text = gettext(
        "Live sessions end at once: they cannot be refreshed, and one has to log in again. "
        "Their access tokens are refused everywhere within %(soon)s."
    )
    return text % {"soon": revocation_delay()}
