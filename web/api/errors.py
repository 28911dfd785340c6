"""One shape for every error: `{"detail": …}`, or `{field: [messages]}`."""

import logging
import math
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation, TooManyFieldsSent, TooManyFilesSent
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.views.decorators.csrf import csrf_exempt
from rest_framework.exceptions import APIException, ParseError, ValidationError
from rest_framework.response import Response
from rest_framework.views import exception_handler

from recognizer.engine import ModelRefusedError
from recognizer.parsing import InvalidInputError
from recognizer.preprocessing import PreprocessingError
from recognizer.registry import UnservableError
from recognizer.submissions import AlreadyDecidedError
from web.health import is_database_failure
from web.quotas import QuotaExceededError

logger = logging.getLogger(__name__)


class PayloadTooLarge(APIException):
    """413: a part of the body is larger than the site reads."""

    status_code = 413
    default_detail = "The body is too large."
    default_code = "too_large"


class QuotaExceeded(APIException):
    """429: a daily quota of bytes is used up."""

    status_code = 429
    default_code = "no_room"

    def __init__(self, error: QuotaExceededError) -> None:
        self.wait = math.ceil(error.wait)  # seconds, in `Retry-After`
        hours = math.ceil(error.wait / 3600)
        again = "in an hour" if hours == 1 else f"in {hours} hours"
        super().__init__(f"{error} This drawing was not stored. Try again {again}.")


class Conflict(APIException):
    """409: the object's state does not allow the action."""

    status_code = 409
    default_detail = "This correction has already been decided."
    default_code = "conflict"


class NotReady(APIException):
    """503: no model serves."""

    status_code = 503
    default_detail = "No model is loaded. Try again soon."
    default_code = "not_ready"


class NotStored(APIException):
    """503: the database cannot be reached, has no space left, or is damaged."""

    status_code = 503
    default_detail = "The database is unavailable. Try again soon."
    default_code = "not_stored"
    wait = 5  # seconds, in `Retry-After`


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Convert the services' exceptions to the API's error responses."""
    match error:
        case InvalidInputError(field=str(field)):
            error = ValidationError({field: [str(error)]})
        case InvalidInputError():
            error = ValidationError({"detail": str(error)})
        case PreprocessingError():
            error = ParseError(str(error))
        case RequestDataTooBig():
            error = PayloadTooLarge()
        case TooManyFieldsSent() | TooManyFilesSent() | SuspiciousOperation() | UnreadablePostError():
            error = ParseError(str(error))
        case QuotaExceededError():
            error = QuotaExceeded(error)
        case AlreadyDecidedError():
            error = Conflict()
        case UnservableError():
            error = Conflict(str(error))
        case ModelRefusedError():
            logger.error("No model serves: %s", error)
            error = NotReady()
        case _ if is_database_failure(error):
            logger.error("The database failed: %s", error)
            error = NotStored()
    return exception_handler(error, context)


@csrf_exempt
def not_found(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
    """Return 404 in JSON for unknown addresses under `/api/`."""
    return JsonResponse({"detail": "Not found."}, status=404)
