"""A proxy of the user model, as projects write them for the admin."""

from django.contrib.auth import get_user_model


class Person(get_user_model()):  # type: ignore[misc]
    """The same row by another name."""

    class Meta:
        proxy = True

    def __str__(self) -> str:
        return f"person {self.pk}"
