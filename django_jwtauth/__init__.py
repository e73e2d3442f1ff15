"""JWT authentication for Django REST framework whose tokens can be taken back."""

__version__ = "0.1.0"
