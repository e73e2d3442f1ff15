"""Text to claims and back: access tokens, refresh tokens, token pairs."""
