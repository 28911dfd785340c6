"""Context that every page's template can use."""

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from recognizer.engine import engine
from recognizer.labels import DIGITS
from recognizer.review_queue import COUNTED, count_waiting


def site_context(request: HttpRequest) -> dict[str, Any]:
    """Return the data of the header and the footer, and the digits."""
    files = [{"name": name, "url": settings.MNIST_URL + name} for name in settings.MNIST_FILES]
    return {"DIGITS": DIGITS, "mnist_files": files, "model_version": engine.version, "to_review": _to_review}


def _to_review() -> str:
    """Return the number of pending corrections as text, empty for none. Templates call it, so only staff pay for it."""
    count = count_waiting()
    return f"{count - 1}+" if count == COUNTED else str(count or "")
