"""The WSGI application: a web process loads the active model when it starts and follows it from then on."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.core.wsgi import get_wsgi_application

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hdr_site.settings")

_django = get_wsgi_application()

from recognizer.engine import engine  # noqa: E402 - needs Django to be set up

engine.follow()


def application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    """Serve a request; whatever charset it names, this site's is UTF-8.

    Django looks up the codec that a client names as soon as it makes the request, and fails where that decodes no text.
    """
    kind, *parameters = environ.get("CONTENT_TYPE", "").split(";")
    boundary = [parameter for parameter in parameters if parameter.strip().lower().startswith("boundary=")]
    environ["CONTENT_TYPE"] = ";".join([kind, *boundary])
    answer: Iterable[bytes] = _django(environ, start_response)
    return answer
