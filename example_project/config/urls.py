from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from django_jwtauth.views import JWKSView
from notes.pages import DemoView
from notes.views import MeView, PingView

urlpatterns = [
    path("", DemoView.as_view(), name="demo"),
    path("admin/", admin.site.urls),
    path("auth/", include("django_jwtauth.urls")),
    # Where other services look for the keys of an issuer.
    path(".well-known/jwks.json", JWKSView.as_view(schema=None)),  # listed once, under auth/
    path("api/ping/", PingView.as_view(), name="ping"),
    path("api/me/", MeView.as_view(), name="me"),
    path("api/", include("notes.urls")),
    # Logs in and out by cookie, for the browsable API.
    path("api-auth/", include("rest_framework.urls")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(), name="docs"),
]
