"""Sessions follow their user: a password change, a deactivation or a deletion revokes them."""

from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.hashers import get_hasher, identify_hasher
from django.db import connections, transaction
from django.db.models import F
from django.db.models.signals import post_save, pre_delete, pre_save

from . import users
from .db.retry import in_transaction
from .models import Reason, Session, SessionQuerySet, write_alias
from .sessions import revoke_each

WAS_SET = "_jwtauth_password_was_set"
"""Marks an instance that was saved after ``set_password``; ``_is_hash_upgrade`` reads it."""


def connect() -> None:
    """Connect the receivers to every model that stores users, or a part of them.

    They name their senders: a ``pre_delete`` receiver without one would disable the fast deletes
    of every model. The user model is enough for ``pre_delete``: deleting a parent or child row
    sends it for the user as well, unless the user stays.
    """
    root = _root()
    watched = (root, *_decisive_parents())
    for model in apps.get_models():
        if issubclass(model, watched):
            uid = f"django_jwtauth.{model._meta.label}"
            pre_save.connect(carry_auth_hash_over, sender=model, dispatch_uid=uid)
            post_save.connect(revoke_after_change, sender=model, dispatch_uid=uid)
            if model._meta.concrete_model is root:
                pre_delete.connect(revoke_before_delete, sender=model, dispatch_uid=uid)


def revoke_after_change(
    instance: Any,
    created: bool,
    raw: bool,
    using: str,
    update_fields: Any,
    **kwargs: Any,
) -> None:
    """Revoke the sessions of a user who was deactivated or whose password was changed.

    A full save that changed neither costs one query.
    """
    state = vars(instance)
    if "_password" in state:
        state[WAS_SET] = True
    # A new row of a child model may belong to a user who existed before.
    is_new = created and issubclass(_root(), instance._meta.concrete_model)
    may_deactivate, may_change = _may_deactivate(update_fields), _may_change_hash(update_fields)
    if is_new or raw or using != write_alias() or not (may_deactivate or may_change):
        return
    user = _user_of(instance)
    if user is None:
        return
    sessions = _sessions_of(user)
    if may_deactivate and not users.is_usable(user):
        reason = Reason.INACTIVE
    elif may_change:
        reason = Reason.PASSWORD
        sessions = sessions.exclude(auth_hash__in=list(users.auth_hashes(user)))
    else:
        return
    if sessions.holding_access().exists():
        revoke_each(sessions, reason)


def revoke_before_delete(instance: Any, using: str, **kwargs: Any) -> None:
    """Revoke the sessions of a user who is about to be deleted."""
    if using != write_alias():
        return
    # The lock makes a concurrent login wait, and then fail. Without it, a session added now would
    # be deleted with the user, and its access token never denied.
    with transaction.atomic(using=write_alias()):
        _lock_user(instance)
        revoke_each(_sessions_of(instance), Reason.DELETED)


def carry_auth_hash_over(
    instance: Any,
    raw: bool,
    using: str,
    update_fields: Any,
    **kwargs: Any,
) -> None:
    """Keep the sessions when Django upgrades the hash of an unchanged password at login.

    Only sessions that match the old hash get the new one. The password is updated in the same
    transaction, under a lock on the user's row, so that no refresh sees one without the other.
    Django then stores the same hash once more. As without this app, that save overwrites a
    password change made in those milliseconds.
    """
    if raw or using != write_alias() or not _is_hash_upgrade(instance, update_fields):
        return
    user = _user_of(instance)

    def write() -> None:
        stored = _lock_user(user)
        if stored is None:
            return
        if _is_current(stored.password):
            # Either another login upgraded the hash, or the user changed the password; they look
            # the same. So keep the stored hash, and let no session of this login be refreshed.
            instance.password = stored.password
            users.mark_overtaken(instance)
        elif _is_outdated(stored.password):
            matching = _sessions_of(user).filter(auth_hash__in=list(users.auth_hashes(stored)))
            stored.password = instance.password
            matching.update(auth_hash=next(users.auth_hashes(stored)))
            rows = get_user_model()._base_manager.using(write_alias()).filter(pk=stored.pk)
            rows.update(password=instance.password)

    if user is not None:
        in_transaction(write_alias(), write)


def _root() -> Any:
    """Return the concrete user model, also where ``AUTH_USER_MODEL`` is a proxy."""
    return get_user_model()._meta.concrete_model


def _decisive_parents() -> list[Any]:
    """Return the concrete parents of the user model that can change a password or ``is_active``."""
    decisive = {"password", "is_active"}
    parents = _root()._meta.get_parent_list()
    if not _stores_activity() or _has_own_hash():
        return list(parents)
    return [parent for parent in parents if decisive & _own_columns(parent)]


def _own_columns(model: Any) -> set[str]:
    return {field.attname for field in model._meta.local_concrete_fields}


def _stores_activity() -> bool:
    """Whether ``is_active`` is a column, not computed from others."""
    return any(field.attname == "is_active" for field in _root()._meta.concrete_fields)


def _has_own_hash() -> bool:
    """Whether the session auth hash may depend on more than the password."""
    names = ("get_session_auth_hash", "_get_session_auth_hash")
    return any(getattr(_root(), name) is not getattr(AbstractBaseUser, name) for name in names)


def _saves(field: str, update_fields: Any) -> bool:
    return update_fields is None or field in update_fields


def _may_deactivate(update_fields: Any) -> bool:
    return not _stores_activity() or _saves("is_active", update_fields)


def _may_change_hash(update_fields: Any) -> bool:
    return _has_own_hash() or _saves("password", update_fields)


def _user_of(instance: Any) -> Any:
    """Return the user that a saved instance is or is part of.

    For an instance of a parent model, read the stored user; None if it belongs to no user.
    """
    root = _root()
    if isinstance(instance, root):
        return instance
    key = next(parent._meta.pk for parent in _decisive_parents() if isinstance(instance, parent))
    stored = root._base_manager.using(write_alias())
    return stored.filter(**{key.name: getattr(instance, key.attname)}).first()


def _sessions_of(user: Any) -> SessionQuerySet:
    return Session.objects.primary().filter(user_id=users.user_key(user))


def _lock_user(user: Any) -> Any:
    """Lock a user's row until the end of the transaction, and return the user as stored."""
    rows = get_user_model()._base_manager.using(write_alias()).filter(pk=users.user_key(user))
    if not connections[write_alias()].features.has_select_for_update:
        # SQLite has no row locks, and refuses to write in a transaction that read before another
        # one wrote. Any write locks the whole database.
        _sessions_of(user).update(generation=F("generation"))
    return rows.select_for_update().first()


def _is_hash_upgrade(instance: Any, update_fields: Any) -> bool:
    """Whether this save stores the hash that ``check_password`` upgraded.

    Such a save stores a current hash and no other field, and ``_password`` is None. After
    ``set_password(None)`` it is None as well, and after every save that followed ``set_password``;
    ``WAS_SET`` marks the latter.
    """
    state = vars(instance)
    return (
        update_fields is not None
        and set(update_fields) == {"password"}
        and state.get("_password", "") is None
        and WAS_SET not in state
        and _is_current(instance.password)
    )


def _is_current(encoded: str) -> bool:
    """Whether the hash can be checked, and Django would keep it."""
    return _must_upgrade(encoded) is False


def _is_outdated(encoded: str) -> bool:
    """Whether the hash can be checked, and Django would upgrade it."""
    return _must_upgrade(encoded) is True


def _must_upgrade(encoded: str) -> bool | None:
    """Whether Django would upgrade a hash at login; None if no password can be checked with it."""
    preferred = get_hasher()
    try:
        algorithm = identify_hasher(encoded).algorithm
        return algorithm != preferred.algorithm or preferred.must_update(encoded)
    except (TypeError, ValueError):  # no hash, an unusable one, or one that no hasher reads
        return None
