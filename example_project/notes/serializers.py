from __future__ import annotations

from rest_framework import serializers

from .models import Note


class NoteSerializer(serializers.ModelSerializer[Note]):
    class Meta:
        model = Note
        fields = ("id", "title", "text", "created_at", "updated_at")


class RefusedSerializer(serializers.Serializer[None]):
    """What the REST framework answers where it refuses a request."""

    detail = serializers.CharField()


class NoteErrorsSerializer(serializers.Serializer[None]):
    """What is wrong with which field of a note, or with the body."""

    title = serializers.ListField(child=serializers.CharField(), required=False)
    text = serializers.ListField(child=serializers.CharField(), required=False)
    non_field_errors = serializers.ListField(child=serializers.CharField(), required=False)
    detail = serializers.CharField(required=False)
