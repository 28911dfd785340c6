"""The Django project: settings, URLs, the WSGI and Celery applications."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hdr_site.celery import app as celery_app

__all__ = ["celery_app"]


def __getattr__(name: str) -> Any:
    """Load the Celery application when somebody asks for it: a process that only waits for others needs none."""
    if name == "celery_app":
        from hdr_site.celery import app

        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
