"""A user's own sessions."""

from typing import Any

from rest_framework import status
from rest_framework.exceptions import (
    NotFound,
)
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response

from .. import sessions, users
from ..authentication import INVALID_TOKEN_CHALLENGE, JWTAuthentication
from ..jose.encoding import decode_id
from ..models import Reason, Session, SessionQuerySet
from ..permissions import MayManageSessions
from ..serializers import EndSessionsSerializer, SessionSerializer
from .base import AuthView

CURRENT = "current"
"""Stands for the session of the access token in the path of a session. No ``sid`` is that short."""
MAX_LISTED_SESSIONS = 1000


class SessionsView(AuthView):
    """Base of the views for one's own sessions."""

    authentication_classes = (JWTAuthentication,)
    permission_classes = (IsAuthenticated, MayManageSessions)
    serializer_class = SessionSerializer
    challenge = INVALID_TOKEN_CHALLENGE
    # Before 5.2.15, Django's cache middleware stores even "no-store"; only "private" forbids it.
    cache_control = "no-store, private"

    def get_queryset(self) -> SessionQuerySet:
        """Return the live sessions of the user, newest first."""
        user_id = users.user_key(self.request.user)
        sessions_of_user = Session.objects.primary().filter(user_id=user_id)
        return sessions_of_user.live().order_by("-created_at", "pk")


class SessionListView(SessionsView):
    """One's own sessions: list them, end them."""

    pagination_class = None

    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List the newest live sessions, newest first."""
        newest = self.get_queryset()[:MAX_LISTED_SESSIONS]
        return Response(self.get_serializer(newest, many=True).data)

    def delete(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """End all sessions, or with ``?others=true`` all but the current one."""
        query = EndSessionsSerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        sid = getattr(request.auth, "sid", None)
        current = Session(pk=decode_id(sid)) if sid and query.validated_data["others"] else None
        sessions.revoke_all(request.user, Reason.LOGOUT, current, request._request)
        return Response(status=status.HTTP_204_NO_CONTENT)


class SessionDetailView(SessionsView):
    """One of one's own sessions, by its ``sid``; ``current`` is that of the access token."""

    def delete(self, request: Request, sid: str, *args: Any, **kwargs: Any) -> Response:
        """End it. Another user's session is not found."""
        if sid == CURRENT:
            sid = str(getattr(request.auth, "sid", None))
        try:
            session = self.get_queryset().filter(pk=decode_id(sid)).first()
        except ValueError:
            session = None
        if session is None:
            raise NotFound
        sessions.revoke(session, Reason.LOGOUT, request._request)
        return Response(status=status.HTTP_204_NO_CONTENT)
