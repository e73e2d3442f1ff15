"""What happens to users happens to their sessions: password change, deactivation and deletion end them."""

from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import get_hasher, identify_hasher
from django.db import connections, transaction
from django.db.models import F
from django.db.models.signals import post_save, pre_delete, pre_save

from . import users
from .models import Reason, Session, SessionQuerySet, write_alias
from .races import in_transaction
from .sessions import revoke_each

WAS_SET = "_jwtauth_password_was_set"


def connect() -> None:
    """Connect to every model that is, or inherits from, the user model.

    Per sender: a receiver of ``pre_delete`` for all senders would disable fast deletes of every model. A child with a
    row of its own sends it for the user as well, unless the user stays.
    """
    root: Any = get_user_model()._meta.concrete_model
    for model in apps.get_models():
        if issubclass(model, root):
            uid = f"django_jwtauth.{model._meta.label}"
            pre_save.connect(_carry_sessions_over, sender=model, dispatch_uid=uid)
            post_save.connect(_end_what_changed, sender=model, dispatch_uid=uid)
            if model._meta.concrete_model is root:
                pre_delete.connect(_end_all, sender=model, dispatch_uid=uid)


def _concerns(update_fields: Any, field: str) -> bool:
    return update_fields is None or field in update_fields


def _may_deactivate(user: Any, update_fields: Any) -> bool:
    is_stored = any(field.attname == "is_active" for field in user._meta.concrete_fields)
    return not is_stored or _concerns(update_fields, "is_active")


def _sessions_of(user: Any) -> SessionQuerySet:
    root_pk = get_user_model()._meta.pk.attname
    return Session.objects.using(write_alias()).filter(user_id=getattr(user, root_pk))


def _end_what_changed(instance: Any, created: bool, raw: bool, update_fields: Any, **kwargs: Any) -> None:
    """Revoke after a deactivation or a password change; one statement where a full save changed neither."""
    state = vars(instance)
    if "_password" in state:
        state[WAS_SET] = True
    if created or raw:
        return
    sessions = _sessions_of(instance)
    if _may_deactivate(instance, update_fields) and not users.is_usable(instance):
        reason = Reason.INACTIVE
    elif _concerns(update_fields, "password"):
        reason, sessions = Reason.PASSWORD, sessions.exclude(auth_hash__in=list(users.auth_hashes(instance)))
    else:
        return
    if sessions.holding_access().exists():
        revoke_each(sessions, reason)


def _end_all(instance: Any, **kwargs: Any) -> None:
    # A login that is under way must wait, and then fail; a session that it added now would be deleted undenied.
    with transaction.atomic(using=write_alias()):
        _locked(instance)
        revoke_each(_sessions_of(instance), Reason.DELETED)


def _carry_sessions_over(instance: Any, raw: bool, update_fields: Any, **kwargs: Any) -> None:
    """Keep the sessions when Django upgrades the hash of an unchanged password at login.

    Sessions that did not match the old hash stay unmatched. The password is updated in the same transaction, under
    the user's row lock, so that no refresh sees one without the other. Django then stores the same hash once more.
    A password change in those milliseconds is lost, as it is without this app.
    """
    if raw or not _is_hash_upgrade(instance, update_fields):
        return

    def write() -> None:
        stored = _locked(instance)
        if stored is None:
            return
        if _is_current(stored.password):
            # Another login has upgraded the hash meanwhile, or the owner has changed the password. Nobody can tell
            # which, so the stored hash stays and the session of this login cannot be refreshed.
            instance.password = stored.password
            vars(instance)[users.OVERTAKEN] = True
        elif _is_outdated(stored.password):
            matching = _sessions_of(instance).filter(auth_hash__in=list(users.auth_hashes(stored)))
            matching.update(auth_hash=next(users.auth_hashes(instance)))
            rows = get_user_model()._base_manager.using(write_alias()).filter(pk=stored.pk)
            rows.update(password=instance.password)

    in_transaction(write)


def _locked(instance: Any) -> Any:
    """Lock a user's row until the end of the transaction, and return the user as stored."""
    pk = getattr(instance, get_user_model()._meta.pk.attname)
    rows = get_user_model()._base_manager.using(write_alias()).filter(pk=pk)
    if not connections[write_alias()].features.has_select_for_update:
        # SQLite refuses a transaction that reads first and writes after somebody else has. Any write locks all of it.
        _sessions_of(instance).update(generation=F("generation"))
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
