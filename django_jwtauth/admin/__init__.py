"""API sessions and the denylist in Django's admin."""

from .denylist import DenylistEntryAdmin
from .sessions import SessionAdmin
from .users import UserSessionsMixin, extend_stock_user_admin

__all__ = ("DenylistEntryAdmin", "SessionAdmin", "UserSessionsMixin", "extend_stock_user_admin")
