"""The folder as Celery's broker, for a site without Redis: kombu's, but a message is there completely or not at all.

kombu writes a message under its final name. A full disk, or a worker that reads at that moment, makes it an empty one,
and the worker that gets an empty message ends. So does one that gets JSON which is no message. And kombu lists and
sorts the whole folder for each message that it takes.
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

PAUSE = 0.1  # seconds between two looks at the folder for one queue: a worker asks its empty ones between all messages
LARGEST = 1024 * 1024  # bytes of a message; the site's own have about 1,000


class Channel(filesystem.Channel):
    """Reads and writes the messages of the queues."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._listed: dict[str, tuple[float, deque[str]]] = {}  # when, and the names of its messages, oldest first

    def _put(self, queue: str, payload: Any, **options: Any) -> None:  # type: ignore[override]  # as kombu's own does
        """Write a message, then give it the name that makes it one."""
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
        """Take the oldest message. One that is none is thrown away; the folder is listed once for all that wait."""
        waiting = self._waiting(queue)
        while waiting:
            content = _take(Path(self.data_folder_in) / waiting.popleft())
            if content is not None:
                try:
                    return self._parse(content)
                except Exception as error:  # noqa: BLE001 - whatever it is made of, the worker must not end with it
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
        names = os.listdir(self.data_folder_in)  # noqa: PTH208 - thousands of names, and nothing but names
        return [name for name in names if name.partition(".")[2] == f"{queue}.msg"]

    def _parse(self, content: bytes) -> dict[str, Any]:
        """Read a message as the worker will, who ends where it finds something else than it expects."""
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
    """What Celery is told to use."""

    Channel = Channel


def _take(file: Path) -> bytes | None:
    """Return what is in a message, None if another worker has taken it. Who deletes the file has it."""
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
            file.unlink()
    except OSError:
        return None
    return content
