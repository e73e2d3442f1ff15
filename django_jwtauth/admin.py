"""The admin: sessions and denylist to look at; to revoke, to deny and to allow again. No page ever shows a token."""

import sys
import uuid
from importlib import import_module
from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.apps import AdminConfig
from django.contrib.admin.models import CHANGE, DELETION
from django.contrib.admin.utils import quote, unquote
from django.contrib.auth import get_permission_codename, get_user_model
from django.core import checks
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_post_parameters

from . import sessions
from .admin_forms import DenyForm
from .admin_tables import (
    AnyModelAdmin,
    LookingAdmin,
    ReasonFilter,
    State,
    UserFilter,
    ask,
    at_address,
    batches,
    is_confirmed,
    log,
)
from .admin_words import denial_of, moment, revoked, soon, state_of, use_of, will_end
from .db.user_rows import read_pk
from .denylist import allow, deny
from .jose.encoding import read_id
from .models import DenylistEntry, Reason, Session, write_alias
from .users import user_key


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
        rows = Session.objects.using(write_alias())
        # Nothing is left to end of those that expired.
        held = dict(rows.filter(pk__in=keys).holding_access().values_list("pk", "revoked_at"))
        count = sessions.revoke_each(rows.filter(pk__in=list(held)), Reason.ADMIN, request)
        were_live = [key for key, revoked_at in held.items() if revoked_at is None]
        log(request, rows.filter(pk__in=were_live, revoke_reason=Reason.ADMIN), CHANGE, gettext("Revoked."))
        return count


@admin.register(DenylistEntry)
class DenylistEntryAdmin(LookingAdmin):
    """Who may add an entry also ends the session that it denies; who may delete one allows again."""

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
        """Return the id as tokens name it."""
        return str(entry)

    @admin.display(description=_("denies"), ordering="denied_at")
    def denied(self, entry: DenylistEntry) -> SafeString:
        """Return what is denied, whose, and since when."""
        return denial_of(entry)

    @admin.display(description=_("expires"), ordering="expires_at")
    def until(self, entry: DenylistEntry) -> SafeString:
        """Return when nothing that it denies is valid any more."""
        return moment(entry.expires_at)

    def in_words(self, row: DenylistEntry) -> SafeString:
        return format_html("{}: {}, {}", row, denial_of(row), row.get_reason_display())

    def has_allow_permission(self, request: HttpRequest) -> bool:
        """Whether the user may lift entries."""
        return self.has_permission(request, "delete")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return () if obj is None else self.fields

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [(None, {"fields": ("token", "expires_at") if obj is None else self.fields})]

    def matching(self, term: str) -> Q:
        found_id = read_id(term)
        return Q(user_id=term) if found_id is None else Q(user_id=term) | Q(value=found_id)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        # Nothing is taken from the address, where a token would stay, and where an expiry need not be a date.
        return {}

    @method_decorator(sensitive_post_parameters("token"))
    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        one_button = {"show_save_and_continue": False, "show_save_and_add_another": False}
        return super().add_view(request, form_url, {**(extra_context or {}), **one_button})

    def save_model(self, request: HttpRequest, obj: DenylistEntry, form: Any, change: bool) -> None:
        entries = DenylistEntry.objects.using(write_alias()).filter(claim=obj.claim, value=obj.value)
        if form.session is None:
            with transaction.atomic(using=write_alias()):
                # It may be there already, for less long, and forgotten by the processes that have read it.
                entries.filter(expires_at__lt=obj.expires_at).delete()
                deny([obj])
        else:
            sessions.revoke(form.session, Reason.ADMIN, request)
        obj.pk = entries.values_list("pk", flat=True).first()

    def response_add(self, request: HttpRequest, obj: DenylistEntry, post_url_continue: Any = None) -> HttpResponse:
        if obj.claim == DenylistEntry.Claim.SID:
            message = revoked(1)
        else:
            message = gettext("The access token is refused everywhere within %(soon)s.") % {"soon": soon()}
        self.message_user(request, message, messages.SUCCESS)
        return self.response_post_save_add(request, obj)

    @admin.action(permissions=["allow"], description=_("Allow again"))
    def allow_again(self, request: HttpRequest, queryset: QuerySet[DenylistEntry]) -> HttpResponse | None:
        """Lift entries, after a confirmation."""
        if not is_confirmed(request):
            text = gettext(
                "This lifts the entries only. Access tokens that they deny are accepted again everywhere within "
                "%(soon)s, unless expired. A session that has ended stays "
                "ended: it cannot be refreshed."
            )
            return self.ask_about(request, queryset, title=gettext("Allow again"), text=[text % {"soon": soon()}])
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


class UserSessionsMixin(AnyModelAdmin):
    """For the ``ModelAdmin`` of a user model: a link to a user's sessions and a button that revokes them all.

    Who may view sessions sees the link; who may change sessions, and this user, sees the button.
    """

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Report a use for another model than the user's, whose primary keys would be taken for those of users."""
        problems: list[checks.CheckMessage] = super().check(**kwargs)
        model: Any = get_user_model()
        if not issubclass(self.opts.model, model._meta.concrete_model):
            problems.append(
                checks.Error(
                    "UserSessionsMixin is used in the ModelAdmin of a model that is not the user model.",
                    hint=f"Use it where {model._meta.label} is registered, or a proxy or child of it.",
                    obj=self.__class__,
                    id="jwtauth.E032",
                )
            )
        return problems

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.revoke_sessions_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_revoke_sessions"
        return [path("<path:object_id>/revoke-sessions/", view, name=name), *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        response: Any = super().render_change_form(request, context, *args, **kwargs)
        user = context["original"]
        if user is not None:
            response.context_data |= {
                # Whatever template the page has, it is extended.
                "jwtauth_page": response.resolve_template(response.template_name),
                "jwtauth_sessions_url": self._sessions_url(request, user),
                "jwtauth_revoke_url": self._may_revoke(request, user) and self._url(user, "revoke_sessions"),
            }
            response.template_name = "admin/jwtauth/user_change_form.html"
        return response

    def revoke_sessions_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """End all sessions of a user, after a confirmation."""
        user: Any = self.get_object(request, unquote(object_id))
        if not self._may_revoke(request, user):
            raise PermissionDenied
        if user is None:
            raise Http404
        back = self._url(user, "change")
        if not is_confirmed(request):
            count = Session.objects.using(write_alias()).live().filter(user_id=user_key(user)).count()
            found = ngettext("%(user)s has %(count)d live session.", "%(user)s has %(count)d live sessions.", count)
            text = [found % {"user": user, "count": count}, will_end()]
            return ask(self, request, title=gettext("Revoke all sessions"), text=text, back=back)
        count = sessions.revoke_all(user, Reason.ADMIN, request=request)
        self.log_change(request, user, gettext("Revoked all API sessions."))
        self.message_user(request, revoked(count), messages.SUCCESS)
        return HttpResponseRedirect(back)

    def _url(self, user: Any, page: str) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=[quote(user.pk)], current_app=self.admin_site.name)

    def _may_revoke(self, request: HttpRequest, user: Any) -> bool:
        return request.user.has_perm("jwtauth.change_session") and self.has_change_permission(request, user)

    def _sessions_url(self, request: HttpRequest, user: Any) -> str | None:
        session_admin = self.admin_site._registry.get(Session)
        if session_admin is None or not session_admin.has_view_permission(request):
            return None
        changelist = reverse("admin:jwtauth_session_changelist", current_app=self.admin_site.name)
        return f"{changelist}?{urlencode({'user': user_key(user)})}"


def extend_stock_user_admin() -> None:
    """Give Django's own ``UserAdmin`` the mixin, where the user model is registered with it."""
    name = "django.contrib.auth.admin"
    if isinstance(apps.get_app_config("admin"), AdminConfig):
        # It is discovered in any case; not yet, where its app is listed after this one.
        import_module(name)
    stock: Any = getattr(sys.modules.get(name), "UserAdmin", None)
    model = get_user_model()
    if stock is not None and type(admin.site._registry.get(model)) is stock:
        admin.site.unregister(model)
        admin.site.register(model, type("UserAdmin", (UserSessionsMixin, stock), {}))


extend_stock_user_admin()
