"""What holds for users without a password. Run by ``tests/databases/test_user_models.py``."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from django_jwtauth import sessions
from django_jwtauth.errors import RevokedTokenError, TokenError
from django_jwtauth.models import DenylistEntry


@pytest.fixture
def user(db):
    return get_user_model().objects.create(email="guest@example.com")


def test_their_sessions_go_on_and_end_with_them(user):
    pair = sessions.refresh(sessions.start(user).refresh_token)
    user.email = "another@example.com"
    user.save()
    assert sessions.verify(pair.access_token)
    user.delete()
    with pytest.raises(RevokedTokenError):
        sessions.verify(pair.access_token)
    with pytest.raises(TokenError):
        sessions.refresh(pair.refresh_token)
    assert DenylistEntry.objects.count() == 1
