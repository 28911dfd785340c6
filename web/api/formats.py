"""Strict and fast JSON, and uploads. `web.middleware` limits the size of a body."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from django.http import HttpResponse
from django.http.multipartparser import MultiPartParserError
from rest_framework.exceptions import ParseError
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.renderers import BaseRenderer

MOST_LISTS = 20_000  # about twice the lists of the largest drawing; parsing millions of lists takes a second


class JsonParser(BaseParser):
    """Parse `application/json` by RFC 8259: no NaN, no Infinity."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        body = stream.read()
        if parser_context and len(body) < int(parser_context["request"].META.get("CONTENT_LENGTH") or 0):
            raise ParseError("The body is incomplete.")
        if body.count(b"[") > MOST_LISTS:
            raise ParseError("The body has more lists than a drawing can have.")
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise ParseError(f"Invalid JSON: {error}.") from error


class UploadParser(MultiPartParser):
    """Parse `multipart/form-data`; a malformed body is 400."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        try:
            return super().parse(stream, media_type, parser_context)
        except MultiPartParserError as error:
            raise ParseError(f"Invalid multipart/form-data: {error}.") from error


def json_response(data: dict[str, Any], status: int = 200) -> HttpResponse:
    """Return JSON without DRF's renderers, for the calls that every drawing makes."""
    return HttpResponse(orjson.dumps(data), content_type="application/json", status=status)


class AlwaysJson(DefaultContentNegotiation):
    """Always choose JSON, without parsing the `Accept` header."""

    def select_renderer(
        self, request: Any, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        first = next(iter(renderers))
        return first, first.media_type


class JsonRenderer(BaseRenderer):
    """Render `application/json`."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else orjson.dumps(data, default=str, option=orjson.OPT_NON_STR_KEYS)
