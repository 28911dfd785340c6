"""The API's OpenAPI description, generated once per process, in English like the rest of the API."""

import hashlib
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import translation
from django.utils.encoding import force_bytes
from django.views.decorators.http import condition
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class SchemaView(SpectacularAPIView):
    """OpenAPI 3, in YAML or in JSON by the `Accept` header."""

    content_negotiation_class = DefaultContentNegotiation

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        """Send the description, or 304 if the client's copy is current."""
        renderer = request.accepted_renderer
        content, etag = describe(type(renderer))  # type: ignore[arg-type]  # a class is hashable

        @condition(etag_func=lambda _: etag)
        def send(_: HttpRequest) -> HttpResponse:
            name = f'inline; filename="digits.{renderer.format}"'
            headers = {"Cache-Control": "no-cache", "Content-Disposition": name}
            return HttpResponse(content, content_type=f"{renderer.media_type}; charset=utf-8", headers=headers)

        return send(request._request)


@cache
def describe(renderer: type[BaseRenderer]) -> tuple[bytes, str]:
    """Return the description in one format and its ETag; generating them takes 0.1 s."""
    with translation.override("en"):
        schema = SchemaGenerator().get_schema(public=True)  # type: ignore[no-untyped-call]
        content = force_bytes(renderer().render(schema))
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
