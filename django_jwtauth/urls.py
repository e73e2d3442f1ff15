"""URLs of the app: ``path("auth/", include("django_jwtauth.urls"))``."""

from django.urls import path

from . import views

app_name = "jwtauth"

urlpatterns = [
    path("token/", views.TokenObtainView.as_view(), name="token_obtain"),
    path("token/refresh/", views.TokenRefreshView.as_view(), name="token_refresh"),
    path("token/revoke/", views.TokenRevokeView.as_view(), name="token_revoke"),
    path("sessions/", views.SessionListView.as_view(), name="session_list"),
    path("sessions/<str:sid>/", views.SessionDetailView.as_view(), name="session_detail"),
    path("jwks.json", views.JWKSView.as_view(), name="jwks"),
]
