"""The WSGI application: a web process loads the active model when it starts and follows it from then on."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hdr_site.settings")

application = get_wsgi_application()

from recognizer.engine import engine  # noqa: E402 - needs Django to be set up

engine.follow()
