"""The page of API sessions."""

import uuid
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE
from django.contrib.auth import get_permission_codename, get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import sessions
from ..db.user_rows import read_pk
from ..jose.encoding import read_id
from ..models import Reason, Session
from .base import (
    LookingAdmin,
    ReasonFilter,
    State,
    UserFilter,
    at_address,
    batches,
    is_confirmed,
    log,
)
from .wording import moment, revoked, state_of, use_of, will_end


@admin.register(Session)
class SessionAdmin(LookingAdmin):
    """Who may view sessions looks at them; who may change them revokes them."""

    actions = ("revoke_selected",)
    fields = (
        *("user", "state", "session_id", "user_agent", "ip_address", "created_at", "refreshed_at", "generation"),
        *("expires_at", "ends_at", "access_expires_at", "revoked_at", "revoke_reason"),
    )
    readonly_fields = fields
    list_display = ("user", "state", "use", "logged_in")
    list_filter = (State, ReasonFilter, ("created_at", admin.DateFieldListFilter), UserFilter)
    list_select_related = ("user",)
    ordering = ("-created_at",)
    parameters = frozenset({"state", "reason", "user", "created_at__gte", "created_at__lt"})
    search_help_text = _("The name or primary key of a user, the id of a session, or an address or how it begins.")

    @admin.display(description=_("id"))
    def session_id(self, session: Session) -> str:
        """Return the id as tokens name it."""
        return session.sid

    @admin.display(description=_("state"))
    def state(self, session: Session) -> SafeString:
        """Return the state with what there is to say of it: of a revoked session, why it is that."""
        return state_of(session)

    @admin.display(description=_("used"), ordering="refreshed_at")
    def use(self, session: Session) -> SafeString:
        """Return by what the session was used, from where, and when last."""
        return use_of(session)

    @admin.display(description=_("logged in"), ordering="created_at")
    def logged_in(self, session: Session) -> SafeString:
        """Return when."""
        return moment(session.created_at)

    def in_words(self, row: Session) -> SafeString:
        return format_html("{}: {} {}", row.user, use_of(row), state_of(row))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # A session goes with its user, or the admin would refuse to delete one; never by itself.
        users = get_user_model()._meta
        permission = f"{users.app_label}.{get_permission_codename('delete', users)}"
        return obj is not None and request.user.has_perm(permission)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        raise PermissionDenied

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), "show_delete": False})

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Whether the user may revoke sessions."""
        return self.has_permission(request, "change")

    def get_search_fields(self, request: HttpRequest) -> tuple[str]:
        return (f"user__{get_user_model().USERNAME_FIELD}",)

    def matching(self, term: str) -> Q:
        # Found first, they need not be joined to every session.
        users = get_user_model()._base_manager.filter(**{f"{get_user_model().USERNAME_FIELD}__icontains": term})
        found = Q(user__in=users) | at_address(term)
        if (pk := read_pk(term)) is not None:
            found |= Q(user_id=pk)
        if (session_id := read_id(term)) is not None:
            found |= Q(pk=session_id)
        return found

    @admin.action(permissions=["revoke"], description=_("Revoke selected sessions"))
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[Session]) -> HttpResponse | None:
        """End sessions, after a confirmation."""
        if not is_confirmed(request):
            return self.ask_about(request, queryset, title=gettext("Revoke selected sessions"), text=[will_end()])
        # Their keys first: what the page filters by may be what is changed.
        count = sum(self._revoke(request, keys) for keys in batches(sorted(queryset.values_list("pk", flat=True))))
        self.message_user(request, revoked(count), messages.SUCCESS)
        return None

    def _revoke(self, request: HttpRequest, keys: list[uuid.UUID]) -> int:
        rows = Session.objects.primary()
        # Nothing is left to end of those that expired.
        held = dict(rows.filter(pk__in=keys).holding_access().values_list("pk", "revoked_at"))
        count = sessions.revoke_each(rows.filter(pk__in=list(held)), Reason.ADMIN, request)
        were_live = [key for key, revoked_at in held.items() if revoked_at is None]
        log(request, rows.filter(pk__in=were_live, revoke_reason=Reason.ADMIN), CHANGE, gettext("Revoked."))
        return count
