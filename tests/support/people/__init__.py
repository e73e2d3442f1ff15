"""An app with a proxy of the user model."""
