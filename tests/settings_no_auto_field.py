"""A project that leaves DEFAULT_AUTO_FIELD to the Django version."""

from tests.settings import *

globals().pop("DEFAULT_AUTO_FIELD", None)
