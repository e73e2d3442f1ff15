"""The example under a server whose clock may be wrong."""

from tests.proving_ground import clock
from tests.support.worker_wsgi import application

__all__ = ["application", "clock"]
