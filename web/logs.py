"""Log lines that can be put together again: which request they belong to, as text or as JSON."""

import json
import logging
from contextvars import ContextVar
from datetime import UTC, datetime

request_id: ContextVar[str] = ContextVar("request_id", default="-")


class OfRequest(logging.Filter):
    """Adds `request_id` to every record: what the middleware gave the request, or a dash outside of one."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request, the version that serves, a traceback if any."""

    def format(self, record: logging.LogRecord) -> str:
        from recognizer.engine import engine  # logging is set up before the apps are

        told = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", "-"),
            "model_version": engine.version,
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)
