"""The app: label ``jwtauth``, whatever the project calls its other apps."""

import sys

from django.apps import AppConfig, apps
from django.utils.translation import gettext_lazy as _


class JWTAuthConfig(AppConfig):
    """Connects what has to be connected once the models are there."""

    name = "django_jwtauth"
    label = "jwtauth"
    verbose_name = _("API authentication")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect receivers and register system checks; the database is not touched."""
        from . import audit, checks, receivers

        receivers.connect()
        audit.connect()
        checks.register()
        if discovered := sys.modules.get("django_jwtauth.admin"):
            # Once more: the app of the user model may have been discovered after this one.
            discovered.extend_stock_user_admin()
        if apps.is_installed("drf_spectacular"):
            from . import openapi  # noqa: F401
