"""The pages that people see."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from recognizer.engine import engine
from recognizer.review_queue import COUNTED, count_waiting
from web.visitors import remember_session


def site_context(request: HttpRequest) -> dict[str, Any]:
    """Give every page what its header and footer show."""
    files = [{"name": name, "url": settings.MNIST_URL + name} for name in settings.MNIST_FILES]
    return {"mnist_files": files, "model_version": engine.version, "to_review": _to_review}


def _to_review() -> str:
    """Say how many corrections wait, once a page asks; nothing where there are none."""
    count = count_waiting()
    return f"{count - 1}+" if count == COUNTED else str(count or "")


@require_safe
def draw(request: HttpRequest) -> HttpResponse:
    """The home page: draw a digit and correct what was read."""
    response = render(request, "draw.html")
    remember_session(request, response)
    return response
