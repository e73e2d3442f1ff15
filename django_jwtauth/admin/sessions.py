"""The session admin."""

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
    ReadOnlyAdmin,
    ReasonFilter,
    State,
    UserFilter,
    at_address,
    batches,
    is_confirmed,
    log,
)
from .wording import moment, revocation_notice, revocation_result, state_of, use_of


@admin.register(Session)
class SessionAdmin(ReadOnlyAdmin):
    """Lists sessions. The "change" permission allows the action that revokes them."""

    actions = ("revoke_selected",)
    fields = (
        "user",
        "state",
        "session_id",
        "user_agent",
        "ip_address",
        "created_at",
        "refreshed_at",
        "generation",
        "expires_at",
        "ends_at",
        "access_expires_at",
        "revoked_at",
        "revoke_reason",
    )
    readonly_fields = fields
    list_display = ("user", "state", "use", "logged_in")
    list_filter = (State, ReasonFilter, ("created_at", admin.DateFieldListFilter), UserFilter)
    list_select_related = ("user",)
    ordering = ("-created_at",)
    parameters = frozenset({"state", "reason", "user", "created_at__gte", "created_at__lt"})
    search_help_text = _(
        "The name or primary key of a user, the id of a session, or an address or how it begins."
    )

    @admin.display(description=_("id"))
    def session_id(self, session: Session) -> str:
        """Return the id as tokens name it."""
        return session.sid

    @admin.display(description=_("state"))
    def state(self, session: Session) -> SafeString:
        """Return the state, until or since when, and why a session was revoked."""
        return state_of(session)

    @admin.display(description=_("used"), ordering="refreshed_at")
    def use(self, session: Session) -> SafeString:
        """Return the client, the address and the last refresh."""
        return use_of(session)

    @admin.display(description=_("logged in"), ordering="created_at")
    def logged_in(self, session: Session) -> SafeString:
        """Return when."""
        return moment(session.created_at)

    def describe(self, row: Session) -> SafeString:
        return format_html("{}: {} {}", row.user, use_of(row), state_of(row))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Never by itself (see delete_view), but with its user: without this permission the admin
        # would refuse to delete users.
        users = get_user_model()._meta
        permission = f"{users.app_label}.{get_permission_codename('delete', users)}"
        return obj is not None and request.user.has_perm(permission)

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> Any:
        raise PermissionDenied

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> Any:
        return super().change_view(
            request, object_id, form_url, {**(extra_context or {}), "show_delete": False}
        )

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Whether the user may revoke sessions."""
        return self.has_permission(request, "change")

    def get_search_fields(self, request: HttpRequest) -> tuple[str]:
        return (f"user__{get_user_model().USERNAME_FIELD}",)

    def matching(self, term: str) -> Q:
        # A subquery, so that users are not joined to every session.
        users = get_user_model()._base_manager.filter(
            **{f"{get_user_model().USERNAME_FIELD}__icontains": term}
        )
        found = Q(user__in=users) | at_address(term)
        if (pk := read_pk(term)) is not None:
            found |= Q(user_id=pk)
        if (session_id := read_id(term)) is not None:
            found |= Q(pk=session_id)
        return found

    @admin.action(permissions=["revoke"], description=_("Revoke selected sessions"))
    def revoke_selected(
        self, request: HttpRequest, queryset: QuerySet[Session]
    ) -> HttpResponse | None:
        """Revoke sessions, after a confirmation."""
        if not is_confirmed(request):
            return self.action_confirmation_page(
                request,
                queryset,
                title=gettext("Revoke selected sessions"),
                text=[revocation_notice()],
            )
        # Keys first: the update may change what the list is filtered by.
        count = sum(
            self._revoke(request, keys)
            for keys in batches(sorted(queryset.values_list("pk", flat=True)))
        )
        self.message_user(request, revocation_result(count), messages.SUCCESS)
        return None

    def _revoke(self, request: HttpRequest, keys: list[uuid.UUID]) -> int:
        rows = Session.objects.primary()
        # Expired sessions whose access tokens have expired need no revocation.
        held = dict(rows.filter(pk__in=keys).holding_access().values_list("pk", "revoked_at"))
        count = sessions.revoke_each(rows.filter(pk__in=list(held)), Reason.ADMIN, request)
        were_live = [key for key, revoked_at in held.items() if revoked_at is None]
        log(
            request,
            rows.filter(pk__in=were_live, revoke_reason=Reason.ADMIN),
            CHANGE,
            gettext("Revoked."),
        )
        return count
