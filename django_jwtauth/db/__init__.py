"""What databases force on the app. Nothing here knows its models."""
