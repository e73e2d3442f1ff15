"""Base of the session and denylist admin: read-only lists, and actions with a confirmation."""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.auth import get_permission_codename
from django.core.exceptions import BadRequest, ValidationError
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import Q
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..db.batches import BATCH
from ..db.user_rows import read_pk
from ..models import Reason, Session
from .wording import EXPIRED, LIVE, REVOKED

if TYPE_CHECKING:
    AnyModelAdmin = admin.ModelAdmin[Any]
    AnyPaginator = Paginator[Any]
else:
    AnyModelAdmin, AnyPaginator = admin.ModelAdmin, Paginator


MAX_COUNTED_ROWS = 50_000
"""PostgreSQL's estimate replaces the count of a table that it believes to be larger."""
MAX_PAGES = 500
"""No later page is offered: for each page the database reads all rows before it."""
MAX_SHOWN_ROWS = 20
"""Rows that a confirmation page lists."""
MAX_TERM_LENGTH = 255

_ADDRESS = re.compile(r"[0-9A-Fa-f]*[.:][0-9A-Fa-f.:]*")


def at_address(text: str) -> Q:
    """Return the condition for sessions from an address, or from addresses with that prefix."""
    if not _ADDRESS.fullmatch(text):
        return Q()
    beginning = Q(ip_address__startswith=text.lower())
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return beginning
    exact = Q(ip_address=str(getattr(address, "ipv4_mapped", None) or address))
    # A network is written like its first address.
    return exact | beginning if text.endswith("::") else exact


def batches(rows: list[Any]) -> Iterator[list[Any]]:
    """Split a list into parts that fit into one statement."""
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))


def log(request: Any, rows: Iterable[Any], flag: int, message: str) -> None:
    """Write a log entry of the admin for each row."""
    LogEntry.objects.log_actions(request.user.pk, rows, flag, message)


def confirmation_page(model_admin: AnyModelAdmin, request: Any, **asked: Any) -> TemplateResponse:
    """Return a confirmation page, which posts to its own URL.

    ``asked`` is its context: ``title``, ``text`` and ``back``, the URL of its cancel link.
    """
    request.current_app = model_admin.admin_site.name
    shared = {"opts": model_admin.opts, "media": model_admin.media}
    context = {**model_admin.admin_site.each_context(request), **shared, **asked}
    return TemplateResponse(request, "admin/jwtauth/confirmation.html", context)


def is_confirmed(request: HttpRequest) -> bool:
    """Whether the request was posted by ``confirmation_page``."""
    return request.POST.get("post") == "yes"


class EstimatingPaginator(AnyPaginator):
    """Uses PostgreSQL's estimate for an unfiltered large table: counting a million rows is slow."""

    def page(self, number: Any) -> Any:
        """Return a page, keys first: sorting a million whole rows, joined to users, is slower."""
        page = super().page(number)
        rows: Any = self.object_list
        shown: Any = page.object_list
        page.object_list = rows.filter(pk__in=list(shown.values_list("pk", flat=True)))
        return page

    @cached_property
    def count(self) -> int:
        """The number of rows."""
        rows: Any = self.object_list
        connection = connections[rows.db]
        if connection.vendor == "postgresql" and not rows.query.where:
            table = connection.ops.quote_name(rows.model._meta.db_table)
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT reltuples::bigint FROM pg_class WHERE oid = %s::regclass", [table]
                )
                estimate: int = cursor.fetchone()[0]
            if estimate > MAX_COUNTED_ROWS:
                return estimate
        return super().count

    @cached_property
    def num_pages(self) -> int:
        """The number of pages that are offered."""
        return min(super().num_pages, MAX_PAGES)


class State(admin.SimpleListFilter):
    """Sessions by state."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [("live", LIVE), ("expired", EXPIRED), ("revoked", REVOKED)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        match self.value():
            case "live":
                return queryset.live()
            case "expired":
                # ``queryset.expired()`` are those that can be pruned.
                return queryset.filter(revoked_at=None, expires_at__lte=timezone.now())
            case "revoked":
                return queryset.exclude(revoked_at=None)
        return queryset


class ReasonFilter(admin.SimpleListFilter):
    """Sessions by why they ended, entries by why they were added."""

    title = _("reason")
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return Reason.choices

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        field = "revoke_reason" if queryset.model is Session else "reason"
        return queryset.filter(**{field: self.value()}) if self.value() in Reason else queryset


class UserFilter(admin.SimpleListFilter):
    """The sessions of one user. Links name the user; the page offers no choice of users."""

    title = _("user")
    parameter_name = "user"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Any:
        return [(self.value(), self.value())] if self.value() else []

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        pk = read_pk(str(self.value()))
        return queryset.none() if pk is None else queryset.filter(user_id=pk)


class ReadOnlyAdmin(AnyModelAdmin):
    """A list, perhaps a large one, of rows that nobody edits. Actions need a confirmation."""

    paginator = EstimatingPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    parameters: ClassVar[frozenset[str]]
    """The filters that a URL may name. Others could reveal hidden columns, a character at a
    time."""

    class Media:
        css: ClassVar = {"all": ["jwtauth/admin.css"]}

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_permission(self, request: HttpRequest, action: str) -> bool:
        """Whether the user has this permission of the model, whatever the admin allows."""
        return request.user.has_perm(
            f"{self.opts.app_label}.{get_permission_codename(action, self.opts)}"
        )

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        # "?_to_field=" is empty: Django would look for a field without a name.
        return super().get_object(request, object_id, from_field or None)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        try:
            return super().get_changelist_instance(request)
        except (OverflowError, ValueError) as error:
            # A date that is out of range in UTC; a ValueError without time zones.
            raise IncorrectLookupParameters from error

    def response_action(
        self, request: HttpRequest, queryset: Any, *args: Any, **kwargs: Any
    ) -> Any:
        key: Any = self.opts.pk
        try:
            for selected in request.POST.getlist(ACTION_CHECKBOX_NAME):
                key.run_validators(key.to_python(selected))
        except ValidationError as error:
            raise BadRequest("What was selected is no row.") from error
        return super().response_action(request, queryset, *args, **kwargs)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup in self.parameters

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[Any, bool]:
        term = search_term.strip()
        if "\0" in term or len(term) > MAX_TERM_LENGTH:
            return queryset.none(), False
        return queryset.filter(self.matching(term)) if term else queryset, False

    def matching(self, term: str) -> Q:
        """Return the condition for the rows that match a search term."""
        raise NotImplementedError

    def describe(self, row: Any) -> SafeString:
        """Return the text of a row on the confirmation page."""
        raise NotImplementedError

    def action_confirmation_page(
        self, request: HttpRequest, queryset: Any, **asked: Any
    ) -> TemplateResponse:
        """Return the confirmation page of an action on the selected rows, or on all across
        pages."""
        again = [
            (name, value)
            for name in ("action", "index", "select_across", ACTION_CHECKBOX_NAME)
            for value in request.POST.getlist(name)
        ]
        rows = [self.describe(row) for row in queryset[:MAX_SHOWN_ROWS]]
        more = max(0, queryset.count() - MAX_SHOWN_ROWS)
        return confirmation_page(
            self, request, rows=rows, more=more, hidden=again, back=request.get_full_path(), **asked
        )
