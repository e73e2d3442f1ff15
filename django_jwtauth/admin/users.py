"""Session link and revoke button on the change page of a user."""

import sys
from importlib import import_module
from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.apps import AdminConfig
from django.contrib.admin.utils import quote, unquote
from django.contrib.auth import get_user_model
from django.core import checks
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from django.utils.translation import gettext, ngettext

from .. import sessions
from ..models import Reason, Session
from ..users import user_key
from .base import (
    AnyModelAdmin,
    confirmation_page,
    is_confirmed,
)
from .wording import revocation_notice, revocation_result


class UserSessionsMixin(AnyModelAdmin):
    """For the ``ModelAdmin`` of a user model: a link to a user's sessions, a button to revoke them.

    The link needs the permission to view sessions; the button, to change sessions and this user.
    """

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """Report a use with another model, whose primary keys would be taken for those of users."""
        problems: list[checks.CheckMessage] = super().check(**kwargs)
        model: Any = get_user_model()
        if not issubclass(self.opts.model, model._meta.concrete_model):
            problems.append(
                checks.Error(
                    "UserSessionsMixin is used in the ModelAdmin of a model that is not the user "
                    "model.",
                    hint=(
                        f"Use it where {model._meta.label} is registered, or a proxy or child "
                        "of it."
                    ),
                    obj=self.__class__,
                    id="jwtauth.E032",
                )
            )
        return problems

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.revoke_sessions_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_revoke_sessions"
        return [path("<path:object_id>/revoke-sessions/", view, name=name), *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> Any:
        response: Any = super().render_change_form(request, context, *args, **kwargs)
        user = context["original"]
        if user is not None:
            response.context_data |= {
                # Extend the template that the page would have had.
                "jwtauth_page": response.resolve_template(response.template_name),
                "jwtauth_sessions_url": self._sessions_url(request, user),
                "jwtauth_revoke_url": self._may_revoke(request, user)
                and self._url(user, "revoke_sessions"),
            }
            response.template_name = "admin/jwtauth/user_change_form.html"
        return response

    def revoke_sessions_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Revoke all sessions of a user, after a confirmation."""
        user: Any = self.get_object(request, unquote(object_id))
        if not self._may_revoke(request, user):
            raise PermissionDenied
        if user is None:
            raise Http404
        back = self._url(user, "change")
        if not is_confirmed(request):
            count = Session.objects.primary().live().filter(user_id=user_key(user)).count()
            found = ngettext(
                "%(user)s has %(count)d live session.",
                "%(user)s has %(count)d live sessions.",
                count,
            )
            text = [found % {"user": user, "count": count}, revocation_notice()]
            return confirmation_page(
                self, request, title=gettext("Revoke all sessions"), text=text, back=back
            )
        count = sessions.revoke_all(user, Reason.ADMIN, request=request)
        self.log_change(request, user, gettext("Revoked all API sessions."))
        self.message_user(request, revocation_result(count), messages.SUCCESS)
        return HttpResponseRedirect(back)

    def _url(self, user: Any, page: str) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=[quote(user.pk)], current_app=self.admin_site.name)

    def _may_revoke(self, request: HttpRequest, user: Any) -> bool:
        return request.user.has_perm("jwtauth.change_session") and self.has_change_permission(
            request, user
        )

    def _sessions_url(self, request: HttpRequest, user: Any) -> str | None:
        session_admin = self.admin_site._registry.get(Session)
        if session_admin is None or not session_admin.has_view_permission(request):
            return None
        changelist = reverse("admin:jwtauth_session_changelist", current_app=self.admin_site.name)
        return f"{changelist}?{urlencode({'user': user_key(user)})}"


def extend_stock_user_admin() -> None:
    """Register the user model again, with the mixin, if it is registered with Django's
    ``UserAdmin``.

    A ``UserAdmin`` of the project, even a subclass, stays as it is. This runs when the admin is
    imported and when the apps are ready, because the order of ``INSTALLED_APPS`` is free: the
    user model may be registered after this module was discovered.
    """
    name = "django.contrib.auth.admin"
    if isinstance(apps.get_app_config("admin"), AdminConfig):
        # Autodiscovery will import it, but later if its app is listed after this one.
        import_module(name)
    stock: Any = getattr(sys.modules.get(name), "UserAdmin", None)
    model = get_user_model()
    if stock is not None and type(admin.site._registry.get(model)) is stock:
        admin.site.unregister(model)
        admin.site.register(model, type("UserAdmin", (UserSessionsMixin, stock), {}))


extend_stock_user_admin()
