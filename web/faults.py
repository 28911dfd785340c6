"""The response to an uncaught exception."""

import sys

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import loader
from django.views.defaults import server_error

from web.health import is_database_failure

RETRY_SECONDS = 5


def answer_fault(request: HttpRequest) -> HttpResponse:
    """Return 503 if the database failed, else 500. The 503 page renders without the database."""
    if not is_database_failure(sys.exception()):
        return server_error(request)
    if request.path.startswith("/api/"):
        response: HttpResponse = JsonResponse({"detail": "The database cannot be reached. Try again soon."}, status=503)
    else:
        response = HttpResponse(loader.get_template("503.html").render(), status=503)
    response["Retry-After"] = str(RETRY_SECONDS)
    return response
