"""Celery tasks: the training run, on its own queue, and scheduled jobs."""

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

HARD_LIMIT = int(runs.LIMITS.longest.total_seconds()) + 60  # seconds; for a process too stuck to watch itself


@shared_task(name=queues.TRAIN, acks_late=True, reject_on_worker_lost=True, time_limit=HARD_LIMIT)
def train(run_id: int) -> None:
    """Execute a run if it is queued; otherwise do nothing."""
    from training import loop  # only a training process needs it

    attempt.execute(run_id, loop.learn)


@shared_task
def supervise() -> None:
    """Recover runs with dead workers or lost messages."""
    runs.supervise()


@shared_task
def scheduled_run() -> None:
    """Request the scheduled run."""
    try:
        runs.request(runs.Trigger.SCHEDULE)
    except runs.LiveRunError as error:
        logger.info("No scheduled run: %s", error)


@shared_task
def run_when_enough(corrections: int, hours: float) -> None:
    """Request a run if enough new corrections were accepted and none was requested in the last `hours`."""
    try:
        runs.request_when_enough(corrections, hours)
    except runs.LiveRunError as error:
        logger.info("No run for new corrections: %s", error)


@shared_task
def measure_models() -> None:
    """Measure one version that lacks detailed metrics."""
    try:
        version = measuring.measure_missing()
    except (MnistError, OSError) as error:
        logger.warning("No version could be measured: %s", error)
    else:
        if version:
            logger.info("Measured %s on MNIST's test set.", version)


@worker_ready.connect
def recover_runs(**_: Any) -> None:
    """Recover runs as soon as a worker is up: the machine may have crashed during one."""
    try:
        runs.supervise()
    except Error as error:  # the schedule will retry; a worker may start before its database
        logger.warning("Could not look after training runs: %s", error)
    finally:
        connections.close_all()


@worker_shutting_down.connect
def give_runs_back(**_: Any) -> None:
    """On shutdown, tell the process of a run to give it back to the queue, instead of waiting for its end."""
    for request in state.active_requests:
        if request.name == train.name and request.worker_pid:
            os.kill(request.worker_pid, signal.SIGTERM)
