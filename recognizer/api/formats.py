"""JSON in and out, strict and fast, and uploads of bounded size."""

from collections.abc import Mapping
from typing import Any

import orjson
from django.conf import settings
from django.http.multipartparser import MultiPartParserError
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser, MultiPartParser
from rest_framework.renderers import BaseRenderer


class PayloadTooLarge(APIException):
    """413: the body is larger than the site reads."""

    status_code = 413
    default_detail = f"The body is larger than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE // 1024**2} MiB."
    default_code = "too_large"


def check_length(context: Mapping[str, Any]) -> None:
    """Refuse a body that says it is too large, before any of it is read."""
    declared = context["request"].META.get("CONTENT_LENGTH") or "0"
    if declared.isdecimal() and int(declared) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise PayloadTooLarge


class JsonParser(BaseParser):
    """`application/json` by RFC 8259: no NaN, no Infinity."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        check_length(parser_context or {})
        body = stream.read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
        if len(body) > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:  # sent in chunks, without saying how much
            raise PayloadTooLarge
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise ParseError(f"This is not JSON: {error}.") from error


class UploadParser(MultiPartParser):
    """`multipart/form-data` of bounded size."""

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Mapping[str, Any] | None = None) -> Any:
        check_length(parser_context or {})
        try:
            return super().parse(stream, media_type, parser_context)
        except MultiPartParserError as error:
            raise ParseError(f"This is not multipart/form-data: {error}.") from error


class JsonRenderer(BaseRenderer):
    """`application/json`."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else orjson.dumps(data, default=str, option=orjson.OPT_NON_STR_KEYS)
