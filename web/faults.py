"""What is answered where a request failed and nobody caught it."""

import sys

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import loader
from django.views.defaults import server_error

from web.health import is_database_failure

RETRY_SECONDS = 5


def answer_fault(request: HttpRequest) -> HttpResponse:
    """Answer 503 while the database fails, else 500; the page asks for nothing that would need it."""
    if not is_database_failure(sys.exception()):
        return server_error(request)
    if request.path.startswith("/api/"):
        response: HttpResponse = JsonResponse({"detail": "The database cannot be reached. Try again soon."}, status=503)
    else:
        response = HttpResponse(loader.get_template("503.html").render(), status=503)
    response["Retry-After"] = str(RETRY_SECONDS)
    return response
