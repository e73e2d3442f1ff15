"""The same trivial view behind each authentication class, and the token endpoints of the product."""

from typing import Any

from django.urls import path
from rest_framework.authentication import BasicAuthentication
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from .products import PRODUCT


class WhoView(APIView):
    """Tells who asks."""

    authentication_classes = ()
    permission_classes = ()

    def get(self, request: Request) -> Response:
        return Response({"user_id": request.user.pk})


def _options(view: str) -> dict[str, Any]:
    # knox leaves open how one logs in; its documentation takes HTTP Basic.
    return {"authentication_classes": [BasicAuthentication]} if view == "LoginView" else {}


urlpatterns = [path("who/none/", WhoView.as_view())]
for _name in PRODUCT.classes:
    _class = PRODUCT.load(f"{PRODUCT.authentication}.{_name}")
    urlpatterns.append(path(f"who/{_name}/", WhoView.as_view(authentication_classes=[_class])))
for _endpoint, _view in PRODUCT.views:
    urlpatterns.append(path(f"{_endpoint}/", PRODUCT.load(f"views.{_view}").as_view(**_options(_view))))
