"""User models that differ in what apps about users get wrong: the key, the name field, inheritance, ``__init__``."""

from __future__ import annotations

import uuid

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager
from django.db import models
from django.utils import timezone


class Manager(BaseUserManager):
    def create_user(self, name, password=None, **fields):
        user = self.model(**{self.model.USERNAME_FIELD: name}, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user


class Base(AbstractBaseUser):
    is_active = models.BooleanField(default=True)

    objects = Manager()

    class Meta:
        abstract = True


class UUIDUser(Base):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    email = models.EmailField(unique=True)

    USERNAME_FIELD = "email"


class TextUser(Base):
    """The name is the key."""

    handle = models.CharField(primary_key=True, max_length=50)

    USERNAME_FIELD = "handle"


class BigUser(Base):
    id = models.BigIntegerField(primary_key=True, default=2**62)
    phone = models.CharField(max_length=20, unique=True)

    USERNAME_FIELD = "phone"


class EarlyUser(Base):
    """Reads its fields while it is made, and notes when it was saved."""

    email = models.EmailField(unique=True)
    saved_at = models.DateTimeField(auto_now=True)

    USERNAME_FIELD = "email"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.loaded_email = self.email


class Account(Base):
    email = models.EmailField(unique=True)

    USERNAME_FIELD = "email"


class AccountProxy(Account):
    class Meta:
        proxy = True


class Staff(Account):
    """A child of the user model, with a row of its own."""

    desk = models.CharField(max_length=10, blank=True)


class Robot(Account):
    """A child with a key of its own."""

    serial = models.UUIDField(primary_key=True, default=uuid.uuid4)
    account = models.OneToOneField(Account, models.CASCADE, parent_link=True)


class ChildUser(Account):
    """A user model that is itself a child."""

    nick = models.CharField(max_length=10, blank=True)


class LeavingUser(AbstractBaseUser):
    """Active until they leave."""

    email = models.EmailField(unique=True)
    left_at = models.DateTimeField(null=True)

    objects = Manager()

    USERNAME_FIELD = "email"

    @property
    def is_active(self):
        return self.left_at is None

    @is_active.setter
    def is_active(self, value):
        self.left_at = None if value else timezone.now()


class SaltUser(Base):
    """Has a session auth hash of its own: longer than Django's, and made of one more field."""

    email = models.EmailField(unique=True)
    salt = models.CharField(max_length=10, default="salt")

    USERNAME_FIELD = "email"

    def get_session_auth_hash(self):
        return super().get_session_auth_hash() + 100 * "." + self.salt


class Party(models.Model):
    """A person or an organisation, of whom some are users. It has left, or it has not."""

    left_at = models.DateTimeField(null=True)

    def __str__(self):
        return str(self.pk)


class PartyUser(AbstractBaseUser, Party):
    """A user model with a key of its own, whose activity is that of its parent."""

    key = models.UUIDField(primary_key=True, default=uuid.uuid4)
    party = models.OneToOneField(Party, models.CASCADE, parent_link=True)
    email = models.EmailField(unique=True)

    objects = Manager()

    USERNAME_FIELD = "email"

    def __str__(self):
        return self.email

    @property
    def is_active(self):
        return self.left_at is None

    @is_active.setter
    def is_active(self, value):
        self.left_at = None if value else timezone.now()


class GuestUser(Base):
    """Logs in without a password, by whatever else the project knows of."""

    password = None
    email = models.EmailField(unique=True)

    USERNAME_FIELD = "email"


class HidingManager(Manager):
    def get_queryset(self):
        return super().get_queryset().filter(deleted=False)


class SoftUser(Base):
    """Users are not deleted but hidden."""

    email = models.EmailField(unique=True)
    deleted = models.BooleanField(default=False)

    USERNAME_FIELD = "email"
    objects = HidingManager()
