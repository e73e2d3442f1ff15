"""What a dict in the settings must be: its members, the test of each, and a hint for a mistake."""
