"""README, documentation and messages are true."""
