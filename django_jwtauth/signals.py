"""Signals, sent after the change is committed. A receiver that raises is logged and changes
nothing."""

from django.dispatch import Signal

# A user has logged in. sender: the Session model; arguments: session, request (or None)
session_started = Signal()

# A refresh token was exchanged. sender: the Session model; arguments: session, request (or None)
session_refreshed = Signal()

# A session was taken back. sender: the Session model; arguments: session, reason, request (or None:
# by code). Sent for the first 1,000 sessions that one call ends (sessions.MAX_SIGNALLED_SESSIONS).
session_revoked = Signal()

# A used refresh token came back: it was stolen, or a client lost its state. The session has been
# ended. sender: the Session model; arguments: session, request (or None)
refresh_token_reused = Signal()

# A used refresh token came back within REUSE_LEEWAY and got the same successor again, but from
# another address or client than the one that had used it. sender: the Session model; arguments:
# session, request
refresh_token_retried = Signal()
