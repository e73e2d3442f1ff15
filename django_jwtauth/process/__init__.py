"""What one process remembers, and when it forgets."""
