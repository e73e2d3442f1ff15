"""What happens to users happens to their sessions: password change, deactivation and deletion end them."""

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


def connect() -> None:
    """Connect to every model whose rows are, or are part of, a user's.

    Per sender: a receiver of ``pre_delete`` for all senders would disable fast deletes of every model. Deleting a
    parent or a child sends it for the user as well, unless the user stays.
    """
    root = _root()
    watched = (root, *_decisive_parents())
    for model in apps.get_models():
        if issubclass(model, watched):
            uid = f"django_jwtauth.{model._meta.label}"
            pre_save.connect(_carry_sessions_over, sender=model, dispatch_uid=uid)
            post_save.connect(_end_what_changed, sender=model, dispatch_uid=uid)
            if model._meta.concrete_model is root:
                pre_delete.connect(_end_all, sender=model, dispatch_uid=uid)


def _root() -> Any:
    return get_user_model()._meta.concrete_model


def _decisive_parents() -> list[Any]:
    """Return the concrete parents of the user model that hold the password, or what tells who is active."""
    decisive = {"password", "is_active"}
    parents = _root()._meta.get_parent_list()
    if not _stores_activity() or _has_own_hash():
        return list(parents)
    return [parent for parent in parents if decisive & {field.attname for field in parent._meta.local_concrete_fields}]


def _stores_activity() -> bool:
    """Whether ``is_active`` is a column, not computed from others."""
    return any(field.attname == "is_active" for field in _root()._meta.concrete_fields)


def _has_own_hash() -> bool:
    """Whether the session auth hash may depend on more than the password."""
    names = ("get_session_auth_hash", "_get_session_auth_hash")
    return any(getattr(_root(), name) is not getattr(AbstractBaseUser, name) for name in names)


def _concerns(update_fields: Any, field: str) -> bool:
    return update_fields is None or field in update_fields


def _may_deactivate(update_fields: Any) -> bool:
    return not _stores_activity() or _concerns(update_fields, "is_active")


def _may_change_hash(update_fields: Any) -> bool:
    return _has_own_hash() or _concerns(update_fields, "password")


def _user_of(instance: Any) -> Any:
    """Return the user whose row this is; of a parent's row the user as stored, or None where it is no user's."""
    root = _root()
    if isinstance(instance, root):
        return instance
    key = next(parent._meta.pk for parent in _decisive_parents() if isinstance(instance, parent))
    users_of_row = root._base_manager.using(write_alias()).filter(**{key.name: getattr(instance, key.attname)})
    return users_of_row.first()


def _sessions_of(user: Any) -> SessionQuerySet:
    return Session.objects.primary().filter(user_id=users.user_key(user))


def _end_what_changed(instance: Any, created: bool, raw: bool, using: str, update_fields: Any, **kwargs: Any) -> None:
    """Revoke after a deactivation or a password change; one statement where a full save changed neither."""
    state = vars(instance)
    if "_password" in state:
        state[WAS_SET] = True
    # A child's row may be new where the user's is not.
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
        reason, sessions = Reason.PASSWORD, sessions.exclude(auth_hash__in=list(users.auth_hashes(user)))
    else:
        return
    if sessions.holding_access().exists():
        revoke_each(sessions, reason)


def _end_all(instance: Any, using: str, **kwargs: Any) -> None:
    if using != write_alias():
        return
    # A login that is under way must wait, and then fail; a session that it added now would be deleted undenied.
    with transaction.atomic(using=write_alias()):
        _locked(instance)
        revoke_each(_sessions_of(instance), Reason.DELETED)


def _carry_sessions_over(instance: Any, raw: bool, using: str, update_fields: Any, **kwargs: Any) -> None:
    """Keep the sessions when Django upgrades the hash of an unchanged password at login.

    Sessions that did not match the old hash stay unmatched. The password is updated in the same transaction, under
    the user's row lock, so that no refresh sees one without the other. Django then stores the same hash once more.
    A password change in those milliseconds is lost, as it is without this app.
    """
    if raw or using != write_alias() or not _is_hash_upgrade(instance, update_fields):
        return
    user = _user_of(instance)

    def write() -> None:
        stored = _locked(user)
        if stored is None:
            return
        if _is_current(stored.password):
            # Another login has upgraded the hash meanwhile, or the owner has changed the password. Nobody can tell
            # which, so the stored hash stays and the session of this login cannot be refreshed.
            instance.password = stored.password
            vars(instance)[users.OVERTAKEN] = True
        elif _is_outdated(stored.password):
            matching = _sessions_of(user).filter(auth_hash__in=list(users.auth_hashes(stored)))
            stored.password = instance.password
            matching.update(auth_hash=next(users.auth_hashes(stored)))
            rows = get_user_model()._base_manager.using(write_alias()).filter(pk=stored.pk)
            rows.update(password=instance.password)

    if user is not None:
        in_transaction(write_alias(), write)


def _locked(user: Any) -> Any:
    """Lock a user's row until the end of the transaction, and return the user as stored."""
    rows = get_user_model()._base_manager.using(write_alias()).filter(pk=users.user_key(user))
    if not connections[write_alias()].features.has_select_for_update:
        # SQLite refuses a transaction that reads first and writes after somebody else has. Any write locks all of it.
        _sessions_of(user).update(generation=F("generation"))
    return rows.select_for_update().first()


def _is_hash_upgrade(instance: Any, update_fields: Any) -> bool:
    """Whether ``check_password`` saves this user: it stores a current hash, and saves no other field.

    It also sets ``_password`` to None on the instance. So do ``set_password(None)`` and every save after
    ``set_password``; ``WAS_SET`` marks the latter.
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
    """Whether a password can be checked against this hash, and Django would not upgrade it."""
    return _must_upgrade(encoded) is False


def _is_outdated(encoded: str) -> bool:
    """Whether a password can be checked against this hash, and Django would upgrade it."""
    return _must_upgrade(encoded) is True


def _must_upgrade(encoded: str) -> bool | None:
    preferred = get_hasher()
    try:
        return identify_hasher(encoded).algorithm != preferred.algorithm or preferred.must_update(encoded)
    except (TypeError, ValueError):  # none, unusable, or in a format that no hasher of the project reads
        return None
