"""What databases do, with real processes where it takes them."""
