"""The folder as Celery's broker, for a site without Redis: kombu's, but a message is there completely or not at all.

kombu writes a message under its final name. A full disk, or a worker that reads at that moment, makes it an empty one,
and the worker that gets an empty message ends.
"""

import logging
import time
import uuid
from pathlib import Path
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps

logger = logging.getLogger(__name__)


class Channel(filesystem.Channel):
    """Reads and writes the messages of the queues."""

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
        """Take the oldest message; one that a crash of the machine damaged is thrown away."""
        while True:
            try:
                message: dict[str, Any] = super()._get(queue)
            except ValueError as error:
                logger.warning("A message in the queue %r could not be read and was thrown away: %s", queue, error)
            else:
                return message


class Transport(filesystem.Transport):
    """What Celery is told to use."""

    Channel = Channel
