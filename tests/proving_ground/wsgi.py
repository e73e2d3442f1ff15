"""The example under a server whose clock may be wrong, and for which a short denylist may be a long one."""

from django.conf import settings

from tests.proving_ground import clock
from tests.worker_wsgi import application

from django_jwtauth import listing  # isort: skip

__all__ = ["application", "clock"]

for name, value in settings.CHANGES.get("listing", {}).items():
    setattr(listing, name, value)
