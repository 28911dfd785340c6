"""The task of a training run and its queue, known to those who send the message and to the worker that takes it."""

from typing import Any

from kombu.exceptions import ChannelError

TRAIN = "training.tasks.train"
TRAINING = "training"  # its queue; everything else is in Celery's default queue
MOST_WAITING = 100  # messages in a queue; expired ones stay until a worker discards them


def is_full(channel: Any, queue: str) -> bool:
    """Return whether messages pile up in a queue because no worker takes them."""
    try:
        return int(channel.queue_declare(queue, passive=True).message_count) >= MOST_WAITING
    except ChannelError:  # Redis knows no empty queue
        return False
