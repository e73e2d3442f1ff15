from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin

from .models import Note

if TYPE_CHECKING:
    NoteModelAdmin = admin.ModelAdmin[Note]
else:
    NoteModelAdmin = admin.ModelAdmin


@admin.register(Note)
class NoteAdmin(NoteModelAdmin):
    list_display = ("title", "owner", "updated_at")
    list_select_related = ("owner",)
    search_fields = ("title",)
    raw_id_fields = ("owner",)
