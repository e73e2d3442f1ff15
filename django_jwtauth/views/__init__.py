"""Token and session endpoints. Customize them by subclassing."""

from .base import AuthView
from .keys import JWKSView
from .parsers import BodyTooLarge, StrictFormParser, StrictJSONParser, StrictMultiPartParser
from .sessions import SessionDetailView, SessionListView, SessionsView
from .tokens import TokenObtainView, TokenPairView, TokenRefreshView, TokenRevokeView, TokenView

__all__ = (
    "AuthView",
    "BodyTooLarge",
    "JWKSView",
    "SessionDetailView",
    "SessionListView",
    "SessionsView",
    "StrictFormParser",
    "StrictJSONParser",
    "StrictMultiPartParser",
    "TokenObtainView",
    "TokenPairView",
    "TokenRefreshView",
    "TokenRevokeView",
    "TokenView",
)
