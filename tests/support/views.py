"""Views that the tests of authentication and permissions call."""

from django.urls import include, path
from rest_framework.authentication import BasicAuthentication, SessionAuthentication
from rest_framework.permissions import AllowAny, IsAdminUser, IsAuthenticated
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.response import Response
from rest_framework.views import APIView

from django_jwtauth.authentication import (
    JWTActiveUserAuthentication,
    JWTAuthentication,
    JWTStatelessAuthentication,
)
from django_jwtauth.permissions import TokenHasScope


class View(APIView):
    authentication_classes = (JWTAuthentication,)
    permission_classes = (IsAuthenticated,)
    renderer_classes = (JSONRenderer, BrowsableAPIRenderer)

    def get(self, request):
        return Response({"pk": request.user.pk, "sid": request.auth.sid if request.auth else None})

    post = get


class NameView(View):
    def get(self, request):
        return Response({"username": request.user.username})


class ActiveView(View):
    authentication_classes = (JWTActiveUserAuthentication,)


class StatelessView(View):
    authentication_classes = (JWTStatelessAuthentication,)


class SessionFirstView(View):
    authentication_classes = (SessionAuthentication, JWTAuthentication)


class SessionFirstNameView(NameView):
    authentication_classes = (SessionAuthentication, JWTAuthentication)


class BasicSecondView(View):
    authentication_classes = (JWTAuthentication, BasicAuthentication)


class ScopedView(View):
    permission_classes = (TokenHasScope,)
    required_scopes = ("notes:read", "notes:write")


class ScopedOrStaffView(ScopedView):
    permission_classes = (TokenHasScope | IsAdminUser,)


class ScopedOrAnyoneView(ScopedView):
    permission_classes = (TokenHasScope | AllowAny,)


class UnnamedScopeView(View):
    permission_classes = (TokenHasScope,)


urlpatterns = [
    path("plain/", View.as_view()),
    path("name/", NameView.as_view()),
    path("active/", ActiveView.as_view()),
    path("stateless/", StatelessView.as_view()),
    path("session-first/", SessionFirstView.as_view()),
    path("session-first-name/", SessionFirstNameView.as_view()),
    path("basic-second/", BasicSecondView.as_view()),
    path("scoped/", ScopedView.as_view()),
    path("scoped-or-staff/", ScopedOrStaffView.as_view()),
    path("scoped-or-anyone/", ScopedOrAnyoneView.as_view()),
    path("unnamed-scope/", UnnamedScopeView.as_view()),
    path("auth/", include("django_jwtauth.urls")),
]
