"""The denylist admin, and the form that adds an entry."""

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import DELETION
from django.contrib.admin.widgets import AdminSplitDateTime
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables

from .. import sessions
from ..conf import get_config
from ..denylist import allow, deny
from ..jose.encoding import read_id
from ..models import DenylistEntry, Reason, Session, write_alias
from .base import (
    ReadOnlyAdmin,
    ReasonFilter,
    batches,
    is_confirmed,
    log,
)
from .wording import denial_of, moment, revocation_delay, revocation_result

if TYPE_CHECKING:
    DenylistEntryForm = forms.ModelForm[DenylistEntry]
else:
    DenylistEntryForm = forms.ModelForm


MAX_DENIAL_DAYS = 366


class DenyForm(DenylistEntryForm):
    """Takes a token or id to deny, and never renders it again, not even beside an error."""

    token = forms.CharField(
        label=_("Token or id"),
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "class": "vTextField"}),
        help_text=_(
            "Paste a refresh token, an access token or the id of a session (sid), and the session "
            "ends: it cannot be "
            "refreshed, and all its access tokens are denied. The jti of an access token denies "
            "this one alone."
        ),
    )
    expires_at = forms.SplitDateTimeField(
        label=_("Expires"),
        required=False,
        widget=AdminSplitDateTime,
        help_text=_("Only with a jti: when its access token expires (exp)."),
    )
    session: Session | None = None
    """The session to revoke."""

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
            self.session = Session.objects.primary().filter(pk=found_id).first()
        if self.session is not None:
            self._take_session(self.session)
        elif found_id is not None:
            self._take_jti(found_id, cleaned.get("expires_at"))
        else:
            error = _(
                "Not recognised: paste a complete refresh token, a valid access token, or a "
                "22-character id. An expired token is refused without an entry."
            )
            self.add_error("token", error)
        return cleaned

    def _take_session(self, session: Session) -> None:
        self.instance.claim, self.instance.value = DenylistEntry.Claim.SID, session.pk
        if session.is_live(timezone.now()):
            return
        if not Session.objects.primary().holding_access().filter(pk=session.pk).exists():
            self.add_error("token", _("This session has ended, and so has its last access token."))
        elif (
            DenylistEntry.objects.primary()
            .filter(claim=DenylistEntry.Claim.SID, value=session.pk)
            .exists()
        ):
            self.add_error("token", _("This session has ended, and is on the denylist already."))

    def _take_jti(self, jti: uuid.UUID, expires_at: datetime | None) -> None:
        self.instance.claim, self.instance.value = DenylistEntry.Claim.JTI, jti
        self.instance.reason = Reason.ADMIN
        now = timezone.now()
        if "expires_at" in self.errors:
            return
        if expires_at is None:
            error = _(
                "This is no session that is known here, so it is taken for the jti of an access "
                "token. "
                "Paste it once more, and say when that token expires."
            )
            self.add_error("expires_at", error)
        elif expires_at <= now:
            self.add_error("expires_at", _("A token that has expired is refused without an entry."))
        elif expires_at > now + max(
            timedelta(days=MAX_DENIAL_DAYS), get_config().access_token_lifetime
        ):
            self.add_error(
                "expires_at",
                _("This is more than a year ahead. Give the token's own expiry (exp)."),
            )


@admin.register(DenylistEntry)
class DenylistEntryAdmin(ReadOnlyAdmin):
    """Adding an entry for a session revokes it. Deleting entries is the action "Allow again"."""

    actions = ("allow_again",)
    form = DenyForm
    fields = ("entry_id", "claim", "reason", "user_id", "denied_at", "expires_at")
    list_display = ("entry_id", "denied", "reason", "until")
    list_filter = (ReasonFilter, ("denied_at", admin.DateFieldListFilter))
    ordering = ("-denied_at",)
    parameters = frozenset({"reason", "denied_at__gte", "denied_at__lt"})
    search_fields = ("user_id",)
    search_help_text = _("The id of a session or token, or the primary key of a user.")

    @admin.display(description=_("id"))
    def entry_id(self, entry: DenylistEntry) -> str:
        """Return the id as in tokens."""
        return str(entry)

    @admin.display(description=_("denies"), ordering="denied_at")
    def denied(self, entry: DenylistEntry) -> SafeString:
        """Return what the entry denies, its user, and since when."""
        return denial_of(entry)

    @admin.display(description=_("expires"), ordering="expires_at")
    def until(self, entry: DenylistEntry) -> SafeString:
        """Return when everything that the entry denies has expired."""
        return moment(entry.expires_at)

    def describe(self, row: DenylistEntry) -> SafeString:
        return format_html("{}: {}, {}", row, denial_of(row), row.get_reason_display())

    def has_allow_permission(self, request: HttpRequest) -> bool:
        """Whether the user may use the action "Allow again"."""
        return self.has_permission(request, "delete")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return () if obj is None else self.fields

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [(None, {"fields": ("token", "expires_at") if obj is None else self.fields})]

    def matching(self, term: str) -> Q:
        found_id = read_id(term)
        return Q(user_id=term) if found_id is None else Q(user_id=term) | Q(value=found_id)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        # No initial values from the query string: a token would stay in the browser history, and
        # an expiry need not be a date.
        return {}

    @method_decorator(sensitive_post_parameters("token"))
    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        one_button = {"show_save_and_continue": False, "show_save_and_add_another": False}
        return super().add_view(request, form_url, {**(extra_context or {}), **one_button})

    def save_model(self, request: HttpRequest, obj: DenylistEntry, form: Any, change: bool) -> None:
        entries = DenylistEntry.objects.primary().filter(claim=obj.claim, value=obj.value)
        if form.session is None:
            with transaction.atomic(using=write_alias()):
                # An existing entry with an earlier expiry would be dropped too soon.
                entries.filter(expires_at__lt=obj.expires_at).delete()
                deny([obj])
        else:
            sessions.revoke(form.session, Reason.ADMIN, request)
        obj.pk = entries.values_list("pk", flat=True).first()

    def response_add(
        self, request: HttpRequest, obj: DenylistEntry, post_url_continue: Any = None
    ) -> HttpResponse:
        if obj.claim == DenylistEntry.Claim.SID:
            message = revocation_result(1)
        else:
            message = gettext("The access token is refused everywhere within %(soon)s.") % {
                "soon": revocation_delay()
            }
        self.message_user(request, message, messages.SUCCESS)
        return self.response_post_save_add(request, obj)

    @admin.action(permissions=["allow"], description=_("Allow again"))
    def allow_again(
        self, request: HttpRequest, queryset: QuerySet[DenylistEntry]
    ) -> HttpResponse | None:
        """Delete entries, after a confirmation."""
        if not is_confirmed(request):
            text = gettext(
                "This lifts the entries only. Access tokens that they deny are accepted again "
                "everywhere within "
                "%(soon)s, unless expired. A session that has ended stays "
                "ended: it cannot be refreshed."
            )
            return self.action_confirmation_page(
                request,
                queryset,
                title=gettext("Allow again"),
                text=[text % {"soon": revocation_delay()}],
            )
        count = 0
        for entries in batches(list(queryset)):
            count += allow(DenylistEntry.objects.filter(pk__in=[entry.pk for entry in entries]))
            log(request, entries, DELETION, gettext("Allowed again."))
        message = ngettext(
            "%(count)d entry was lifted. Sessions that have ended stay ended.",
            "%(count)d entries were lifted. Sessions that have ended stay ended.",
            count,
        )
        self.message_user(request, message % {"count": count}, messages.SUCCESS)
        return None
