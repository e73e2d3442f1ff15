"""A project whose own choice of primary keys must not reach our migrations."""

from tests.settings import *

DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
