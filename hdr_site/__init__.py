"""The Django project: settings, URLs, the WSGI and Celery applications."""

from hdr_site.celery import app as celery_app

__all__ = ["celery_app"]
