"""The project as an app: its commands, and the Celery application that tasks belong to."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "hdr_site"
    verbose_name = "Site"

    def ready(self) -> None:
        from hdr_site import celery  # noqa: F401 - from here on it is the current one
