"""Who may issue access tokens, and with which keys."""
