"""The app that serves browsers and API clients. It has no tables of its own."""

from django.apps import AppConfig


class WebConfig(AppConfig):
    name = "web"
    verbose_name = "Web"

    def ready(self) -> None:
        from web import checks  # noqa: F401 - registers them
