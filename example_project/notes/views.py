"""What a request costs depends on what the view asks of ``request.user``: the three kinds below."""

from __future__ import annotations

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils.decorators import method_decorator
from drf_spectacular.utils import (
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_view,
    inline_serializer,
)
from rest_framework import serializers, viewsets
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from .models import Note
from .serializers import NoteErrorsSerializer, NoteSerializer, RefusedSerializer

# What the schema says besides: the 401 and the 503 of a token come from a hook, see the settings.
NOT_FOUND = {404: OpenApiResponse(RefusedSerializer, description="There is none, or it is another user's.")}
CSRF_FAILED = {403: OpenApiResponse(RefusedSerializer, description="Logged in by a cookie, without a CSRF token.")}
BODY_REFUSED = {
    400: NoteErrorsSerializer,
    415: OpenApiResponse(RefusedSerializer, description="The body is neither JSON nor a form."),
    **CSRF_FAILED,
}


# Under ATOMIC_REQUESTS a view begins with a transaction, and so needs the database; this one does not.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class PingView(APIView):
    """No query: the primary key is in the token."""

    @extend_schema(responses=inline_serializer("Ping", {"user_id": serializers.IntegerField()}))
    def get(self, request: Request) -> Response:
        return Response({"user_id": request.user.pk})


class MeView(APIView):
    """One query: the first field that is read loads the user, and checks that it is still active."""

    @extend_schema(
        responses=inline_serializer("Me", {"id": serializers.IntegerField(), "username": serializers.CharField()})
    )
    def get(self, request: Request) -> Response:
        return Response({"id": request.user.pk, "username": request.user.get_username()})


# The path takes any text, so that the view itself says that there is no such note.
ID = OpenApiParameter("id", int, OpenApiParameter.PATH)


@extend_schema_view(
    create=extend_schema(responses={201: NoteSerializer, **BODY_REFUSED}),
    retrieve=extend_schema(parameters=[ID], responses={200: NoteSerializer, **NOT_FOUND}),
    update=extend_schema(parameters=[ID], responses={200: NoteSerializer, **BODY_REFUSED, **NOT_FOUND}),
    partial_update=extend_schema(parameters=[ID], responses={200: NoteSerializer, **BODY_REFUSED, **NOT_FOUND}),
    destroy=extend_schema(parameters=[ID], responses={204: None, **CSRF_FAILED, **NOT_FOUND}),
)
# Databases check a foreign key when the transaction ends. Under ATOMIC_REQUESTS that is after the view, too
# late to answer; without a transaction around the view it is when the row is written.
@method_decorator(transaction.non_atomic_requests, name="dispatch")
class NoteViewSet(viewsets.ModelViewSet[Note]):
    """Notes by the primary key of their owner: the user itself is never loaded."""

    queryset = Note.objects.all()
    serializer_class = NoteSerializer

    def get_queryset(self) -> QuerySet[Note]:
        return super().get_queryset().filter(owner_id=self.request.user.pk)

    def perform_create(self, serializer: serializers.BaseSerializer[Note]) -> None:
        try:
            serializer.save(owner_id=self.request.user.pk)
        except IntegrityError as error:
            # Nothing else of a note can be wrong by now: its owner was deleted a moment ago.
            raise AuthenticationFailed(code="user_not_found") from error

    perform_update = perform_create
