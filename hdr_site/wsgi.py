"""The WSGI application. A web process loads the active model when it starts and follows later activations."""

import os

from django.core.wsgi import get_wsgi_application

from hdr_site.traces import send_traces

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hdr_site.settings")

send_traces()  # before Django creates its handlers, which this wraps
_django = get_wsgi_application()

from recognizer.engine import engine  # noqa: E402
from web.middleware import without_charset  # noqa: E402 - these need Django to be set up

application = without_charset(_django)
engine.follow()
