from django.urls import include, path

from notes.views import MeView, PingView

urlpatterns = [
    path("auth/", include("django_jwtauth.urls")),
    path("api/ping/", PingView.as_view()),
    path("api/me/", MeView.as_view()),
]
