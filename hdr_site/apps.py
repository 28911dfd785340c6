"""The project as an app: its management commands, and the Celery application of all tasks."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "hdr_site"
    verbose_name = "Site"

    def ready(self) -> None:
        from hdr_site import celery  # noqa: F401 - the import makes it Celery's current app
