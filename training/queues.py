"""Name and queue of the training task, used by its senders and by its worker."""

from typing import Any

from kombu.exceptions import ChannelError

TRAIN = "training.tasks.train"
TRAINING = "training"  # its queue; everything else is in Celery's default queue
MOST_WAITING = 100  # messages in a queue; expired ones stay until a worker discards them


def is_full(channel: Any, queue: str) -> bool:
    """Return whether a queue is full, because no worker takes its messages."""
    try:
        return int(channel.queue_declare(queue, passive=True).message_count) >= MOST_WAITING
    except ChannelError:  # on Redis an empty queue does not exist
        return False
