"""The form that puts something on the denylist."""

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin.widgets import AdminSplitDateTime
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from . import sessions
from .conf import get_config
from .jose.encoding import read_id
from .models import DenylistEntry, Reason, Session, write_alias

if TYPE_CHECKING:
    DenylistEntryForm = forms.ModelForm[DenylistEntry]
else:
    DenylistEntryForm = forms.ModelForm

LONGEST_DENIAL = timedelta(days=366)


class DenyForm(DenylistEntryForm):
    """Takes what is to be denied. What was pasted is not rendered again, not even beside an error."""

    token = forms.CharField(
        label=_("Token or id"),
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "class": "vTextField"}),
        help_text=_(
            "Paste a refresh token, an access token or the id of a session (sid), and the session ends: it cannot be "
            "refreshed, and all its access tokens are denied. The jti of an access token denies this one alone."
        ),
    )
    expires_at = forms.SplitDateTimeField(
        label=_("Expires"),
        required=False,
        widget=AdminSplitDateTime,
        help_text=_("Only with a jti: when its access token expires (exp)."),
    )
    session: Session | None = None
    """The session that is to end."""

    @sensitive_variables()
    def clean(self) -> Any:
        cleaned = super().clean() or {}
        text = cleaned.pop("token", None)
        if text is None:
            return cleaned
        found_id = read_id(text)
        if found_id is None:
            self.session = sessions.find(text)
        else:
            self.session = Session.objects.using(write_alias()).filter(pk=found_id).first()
        if self.session is not None:
            self._take_session(self.session)
        elif found_id is not None:
            self._take_jti(found_id, cleaned.get("expires_at"))
        else:
            error = _(
                "This is no refresh token and no unexpired access token of this site, and no id of 22 characters. "
                "Check that all of it was pasted. One that has expired is refused without an entry."
            )
            self.add_error("token", error)
        return cleaned

    def _take_session(self, session: Session) -> None:
        self.instance.claim, self.instance.value = DenylistEntry.Claim.SID, session.pk
        if session.is_live(timezone.now()):
            return
        alias = write_alias()
        if not Session.objects.using(alias).holding_access().filter(pk=session.pk).exists():
            self.add_error("token", _("This session has ended, and so has its last access token."))
        elif DenylistEntry.objects.using(alias).filter(claim=DenylistEntry.Claim.SID, value=session.pk).exists():
            self.add_error("token", _("This session has ended, and is on the denylist already."))

    def _take_jti(self, jti: uuid.UUID, expires_at: datetime | None) -> None:
        self.instance.claim, self.instance.value = DenylistEntry.Claim.JTI, jti
        self.instance.reason = Reason.ADMIN
        now = timezone.now()
        if "expires_at" in self.errors:
            return
        if expires_at is None:
            error = _(
                "This is no session that is known here, so it is taken for the jti of an access token. "
                "Paste it once more, and say when that token expires."
            )
            self.add_error("expires_at", error)
        elif expires_at <= now:
            self.add_error("expires_at", _("A token that has expired is refused without an entry."))
        elif expires_at > now + max(LONGEST_DENIAL, get_config().access_token_lifetime):
            self.add_error("expires_at", _("This is more than a year ahead. Give the token's own expiry (exp)."))
