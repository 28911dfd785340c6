"""Celery broker in a folder, for a site without Redis: kombu's filesystem transport with atomic writes.

kombu writes a message under its final name. If the disk is full, or a worker reads at that moment, the message is
empty, and a worker that gets an empty message exits. So does one that gets JSON that is not a message. kombu also
lists and sorts the whole folder for each message that it takes.
"""

import logging
import os
import time
import uuid
from collections import deque
from pathlib import Path
from queue import Empty
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps, loads

logger = logging.getLogger(__name__)

PAUSE = 0.1  # seconds between listings for one queue: a worker polls its empty queues between all messages
LARGEST = 1024 * 1024  # bytes in a message; the site's own have about 1,000


class Channel(filesystem.Channel):
    """Channel that reads and writes the messages of the queues."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._listed: dict[str, tuple[float, deque[str]]] = {}  # queue: time of listing, file names, oldest first

    def _put(self, queue: str, payload: Any, **options: Any) -> None:  # type: ignore[override]  # like kombu's own
        """Write a message to a temporary file, then rename it to its final name.

        Raises:
            ChannelError: the message could not be written.
        """
        name = f"{time.time_ns()}_{uuid.uuid4()}.{queue}.msg"
        file = Path(self.data_folder_out) / name
        unfinished = file.with_name(f"{name}.unfinished")
        try:
            unfinished.write_text(dumps(payload))
            unfinished.rename(file)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise ChannelError(f"No message could be written to {file.parent}: {error.strerror}") from error

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        """Take the oldest message; unreadable ones are dropped. One listing of the folder serves all waiting messages.

        Raises:
            Empty: no message is waiting.
        """
        waiting = self._waiting(queue)
        while waiting:
            content = _take(Path(self.data_folder_in) / waiting.popleft())
            if content is not None:
                try:
                    return self._parse(content)
                except Exception as error:  # noqa: BLE001 - no message, however malformed, may stop the worker
                    logger.warning("A message in the queue %r could not be read and was thrown away: %r", queue, error)
        raise Empty

    def _waiting(self, queue: str) -> deque[str]:
        listed, names = self._listed.get(queue, (-PAUSE, deque()))
        if not names and (at := time.monotonic()) - listed >= PAUSE:
            names = deque(sorted(self._names(queue)))
            self._listed[queue] = at, names
        return names

    def _size(self, queue: str) -> int:
        try:
            return len(self._names(queue))
        except OSError as error:
            raise ChannelError(f"No messages could be counted in {self.data_folder_in}: {error.strerror}") from error

    def _names(self, queue: str) -> list[str]:
        names = os.listdir(self.data_folder_in)  # noqa: PTH208 - there may be thousands, and only names are needed
        return [name for name in names if name.partition(".")[2] == f"{queue}.msg"]

    def _parse(self, content: bytes) -> dict[str, Any]:
        """Decode a message the way the worker will, because an unexpected structure would stop the worker.

        Raises:
            ValueError: the message is larger than `LARGEST`. A malformed one raises various exceptions.
        """
        if len(content) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST:,} bytes")
        payload: dict[str, Any] = loads(content.decode())
        message = self.Message(payload, channel=self, accept={"application/json"})
        body = message.decode()
        message.delivery_info.get("routing_key")
        if message.headers.get("task"):
            _args, _kwargs, _embedded = body
        return payload


class Transport(filesystem.Transport):
    """The transport that `CELERY_BROKER_TRANSPORT` names."""

    Channel = Channel


def _take(file: Path) -> bytes | None:
    """Return a message's content, None if another worker took it. The worker that deletes the file owns the message."""
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
            file.unlink()
    except OSError:
        return None
    return content
