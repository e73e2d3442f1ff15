"""A project whose users log in by e-mail address and have a UUID for a primary key."""

from tests.settings import *

INSTALLED_APPS = ["tests.support.custom_user", *INSTALLED_APPS]
AUTH_USER_MODEL = "custom_user.User"
MIGRATION_MODULES = {"people": None}  # its migration is one of a proxy of auth.User
