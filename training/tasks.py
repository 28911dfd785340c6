"""What Celery calls: the run itself, on its own queue, and what the schedule looks at."""

import logging
import os
import signal
from typing import Any

from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down
from celery.worker import state
from django.db import Error, connections

from recognizer.mnist import MnistError
from training import attempt, measuring, queues, runs

logger = logging.getLogger(__name__)

HARD_LIMIT = (
    int(runs.LIMITS.longest.total_seconds()) + 60
)  # seconds, for a process so stuck that it cannot watch itself


@shared_task(name=queues.TRAIN, acks_late=True, reject_on_worker_lost=True, time_limit=HARD_LIMIT)
def train(run_id: int) -> None:
    """Do a queued run; a message about any other does nothing."""
    from training import loop  # only a process that trains needs it

    attempt.execute(run_id, loop.learn)


@shared_task
def supervise() -> None:
    """Notice dead workers and lost messages."""
    runs.supervise()


@shared_task
def scheduled_run() -> None:
    """Ask for a run because it is time."""
    try:
        runs.request(runs.Trigger.SCHEDULE)
    except runs.LiveRunError as error:
        logger.info("No scheduled run: %s", error)


@shared_task
def run_when_enough(corrections: int, hours: float) -> None:
    """Ask for a run if enough new corrections were accepted, and the last run is that many hours ago."""
    try:
        runs.request_when_enough(corrections, hours)
    except runs.LiveRunError as error:
        logger.info("No run for new corrections: %s", error)


@shared_task
def measure_models() -> None:
    """Measure a version that came without the details that its page shows."""
    try:
        version = measuring.measure_missing()
    except (MnistError, OSError) as error:
        logger.warning("No version could be measured: %s", error)
    else:
        if version:
            logger.info("Measured %s on MNIST's test set.", version)


@worker_ready.connect
def notice_what_happened(**_: Any) -> None:
    """Look after runs as soon as a worker is up: the machine may have gone down in the middle of one."""
    try:
        runs.supervise()
    except Error as error:  # the schedule will try again; a worker starts without its database too
        logger.warning("Could not look after training runs: %s", error)
    finally:
        connections.close_all()


@worker_shutting_down.connect
def give_runs_back(**_: Any) -> None:
    """Do not wait for a run when the worker is told to stop: its process gives it back for the next worker."""
    for request in state.active_requests:
        if request.name == train.name and request.worker_pid:
            os.kill(request.worker_pid, signal.SIGTERM)
