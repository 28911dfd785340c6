"""The online app: everything that a web process does."""

from django.apps import AppConfig


class RecognizerConfig(AppConfig):
    name = "recognizer"
    verbose_name = "Digits"

    def ready(self) -> None:
        from recognizer import checks  # noqa: F401 - registers them
