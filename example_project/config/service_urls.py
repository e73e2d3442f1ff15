"""The API of the service without a database: who asks, and a report for those whose token covers it."""

from __future__ import annotations

from typing import Any

from django.urls import path
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from django_jwtauth.permissions import TokenHasScope


class WhoAmIView(APIView):
    """A user of another service is known by issuer and subject; the subject alone may be somebody else's, too."""

    def get(self, request: Request) -> Response:
        claims: Any = request.auth
        return Response({"iss": claims.iss, "sub": claims.sub})


class ReportView(APIView):
    """For tokens with the scope ``reports``."""

    permission_classes = (IsAuthenticated, TokenHasScope)
    required_scopes = ("reports",)

    def get(self, request: Request) -> Response:
        claims: Any = request.auth
        return Response({"report": f"Nothing new for user {claims.sub}."})


urlpatterns = [
    path("api/whoami/", WhoAmIView.as_view()),
    path("api/report/", ReportView.as_view()),
]
