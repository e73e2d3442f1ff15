"""The page at the root: a login that can be watched."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from django.views.generic import TemplateView

CONTENT_SECURITY_POLICY = "; ".join(
    (
        # What is not named below is forbidden; above all scripts that are inline or from elsewhere, because
        # whoever runs a script in this page has its tokens.
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        # The scripts send what is typed. Where they do not run, a password must not go into an address.
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)


class DemoView(TemplateView):
    """The policy is sent by hand: Django's own setting for it came with 6.0."""

    template_name = "notes/demo.html"

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return super().render_to_response(context, headers=headers, **kwargs)
