"""The life cycle of a training run: requested, claimed by one worker, supervised, finished.

The database holds the state; a message only wakes a worker up. One conditional UPDATE claims a run, and later writes of
an attempt take effect only while the run still belongs to it. So lost and duplicate messages, two schedulers, and
workers that return after they were given up are harmless. Times are compared on the database's clock, which all hosts
share.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from celery import current_app
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, Now
from kombu.exceptions import OperationalError as BrokerError

from recognizer.models import Correction
from training import queues
from training.models import TrainingRun

logger = logging.getLogger(__name__)

# "Training run 7 …"
ENDED = {"succeeded": "succeeded", "skipped": "was skipped", "failed": "failed", "cancelled": "was cancelled"}

State, Phase, Trigger = TrainingRun.State, TrainingRun.Phase, TrainingRun.Trigger


@dataclass(frozen=True, slots=True)
class RunLimits:
    """Timeouts and limits of training runs."""

    beat: float = 1.0  # seconds between two heartbeats
    react: float = 3.0  # seconds for the work to stop when interrupted; then its process is ended
    longest: timedelta = timedelta(minutes=30)  # of one attempt; the broker's visibility timeout must be longer
    memory: float = 3.0  # GB, of the training process
    lost: timedelta = timedelta(seconds=20)  # without a heartbeat: the worker counts as dead
    attempts: int = 3
    resend: timedelta = timedelta(seconds=60)  # until an unanswered message is sent again
    wait: timedelta = timedelta(minutes=30)  # for a worker; then the run fails
    end: int = 60  # attempts, one second apart, to write the final state


LIMITS = RunLimits()


class LiveRunError(Exception):
    """A run is already queued or running; only one is allowed at a time."""

    def __init__(self, run: TrainingRun) -> None:
        super().__init__(f"Training run {run.pk} is {run.state}.")
        self.run = run


# --- Requesting and cancelling ----------------------------------------------------------------------------------------


def request(
    trigger: TrainingRun.Trigger, by: AbstractBaseUser | AnonymousUser | None = None, *, force: bool = False
) -> TrainingRun:
    """Queue a run and wake up a worker.

    Raises:
        LiveRunError: one is queued or running.
    """
    supervise()  # a dead run must not block the new one
    while True:
        try:
            with transaction.atomic():
                run = TrainingRun.objects.create(trigger=trigger, requested_by_id=by.pk if by else None, force=force)
        except IntegrityError:
            live = TrainingRun.objects.live().first()
            if live is None:  # it ended in the meantime
                continue
            raise LiveRunError(live) from None
        _send(run.pk)
        return run


def request_when_enough(corrections: int, hours: float) -> TrainingRun | None:
    """Queue a run if there are `corrections` new accepted corrections and no run was requested in the last `hours`.

    New means accepted after the last successful or skipped run started. Confirmations do not count: the model was
    right about those.

    Raises:
        LiveRunError: one is queued or running.
    """
    if TrainingRun.objects.exclude(_is_stale("created", timedelta(hours=hours))).exists():
        return None
    accepted = Correction.objects.standing().filter(state=Correction.State.ACCEPTED)
    looked = TrainingRun.objects.filter(state__in=(State.SUCCEEDED, State.SKIPPED)).first()
    if looked and looked.started:
        accepted = accepted.filter(decided__gt=looked.started)
    confirming = Q(digit=F("submission__digit")) | Q(digit__isnull=True, submission__digit__isnull=True)
    if accepted.exclude(confirming).count() < corrections:
        return None
    return request(Trigger.CORRECTIONS)


def cancel(run: TrainingRun) -> bool:
    """Cancel a queued run at once, ask a running one to stop; return False if the run has ended."""
    queued = Q(state=State.QUEUED)
    changed = (
        TrainingRun.objects.live()
        .filter(pk=run.pk)
        .update(
            cancel_requested=Coalesce("cancel_requested", Now()),
            finished=Case(When(queued, then=Now()), default=F("finished")),
            reason=Case(When(queued, then=Value("Cancelled before a worker took it.")), default=F("reason")),
            state=Case(When(queued, then=Value(State.CANCELLED)), default=F("state")),
        )
    )
    run.refresh_from_db()
    return bool(changed)


def _send(run_id: int) -> None:
    """Wake up a worker after the transaction commits, so that it can read the run."""
    transaction.on_commit(partial(_publish, run_id))


def _publish(run_id: int) -> None:
    expires = LIMITS.wait.total_seconds()
    try:
        with current_app.producer_or_acquire() as producer:
            if queues.is_full(producer.channel, queues.TRAINING):
                logger.warning("No message about training run %s was sent: no training worker takes any.", run_id)
            else:
                options = {"queue": queues.TRAINING, "expires": expires, "retry": False, "producer": producer}
                current_app.send_task(queues.TRAIN, (run_id,), **options)
    except BrokerError as error:  # the run stays queued, and `supervise` sends the message again
        logger.warning("No message about training run %s could be sent: %s", run_id, error)


# --- Supervising ------------------------------------------------------------------------------------------------------


def supervise() -> None:
    """Recover stuck runs: those whose worker died, whose message got lost, or that no worker takes."""
    for run in TrainingRun.objects.filter(_dead()):
        give_back(run, rows_of(run).filter(_dead()), "Its worker died")
    queued = TrainingRun.objects.filter(state=State.QUEUED)
    queued.filter(cancel_requested__isnull=False).update(
        state=State.CANCELLED, finished=Now(), reason="Cancelled between two attempts."
    )
    stale = queued.filter(_is_stale("sent", LIMITS.resend))
    # If everything was off for a night, the last message is old too: send it again, and give a worker time to take it.
    waiting = stale.alias(since=Coalesce("heartbeat", "created")).filter(
        since__lt=Now() - LIMITS.wait, sent__gt=Now() - 3 * LIMITS.resend
    )
    waiting.update(
        state=State.FAILED,
        finished=Now(),
        reason=f"No training worker took it in {minutes(LIMITS.wait)}; is one running?",
    )
    for run in stale:
        if stale.filter(pk=run.pk).update(sent=Now()):
            _send(run.pk)


def _dead() -> Q:
    return Q(_is_stale("heartbeat", LIMITS.lost), state=State.RUNNING)


def _is_stale(moment: str, time: timedelta) -> Q:
    """Match times more than `time` ago, or ahead: then the clock was set back."""
    return Q(**{f"{moment}__lt": Now() - time}) | Q(**{f"{moment}__gt": Now() + time})


def rows_of(run: TrainingRun) -> "QuerySet[TrainingRun]":
    """Return a query for the run's row that is empty once this attempt no longer owns the run."""
    return TrainingRun.objects.filter(pk=run.pk, state=State.RUNNING, attempt=run.attempt, worker=run.worker)


def give_back(
    run: TrainingRun, mine: "QuerySet[TrainingRun]", why: str, detail: str = "", *, counts: bool = True
) -> None:
    """End a failed attempt: queue the run again, unless it was cancelled or has no attempts left."""
    if mine.filter(cancel_requested__isnull=False).update(
        state=State.CANCELLED, finished=Now(), eta=None, reason=f"Cancelled. {why}."
    ):
        return
    phase = mine.values_list("phase", flat=True).first()
    reason = f"{why} {run.attempt} times, last while {Phase(phase).label if phase else 'starting'}{detail}."
    if (
        counts
        and run.attempt >= LIMITS.attempts
        and mine.update(state=State.FAILED, finished=Now(), eta=None, reason=sentence(reason))
    ):
        return
    # A worker that is shutting down still takes messages, so none is sent now; `supervise` sends it, as `sent` is old.
    changes: dict[str, Any] = {"sent": Now()} if counts else {"sent": Now() - LIMITS.wait, "attempt": run.attempt - 1}
    if mine.filter(cancel_requested__isnull=True).update(state=State.QUEUED, eta=None, **changes):
        logger.warning("Training run %s is queued again. %s%s.", run.pk, why, detail)
        if counts:
            _send(run.pk)


def minutes(time: timedelta) -> str:
    return f"{time.total_seconds() / 60:g} minutes"


def sentence(text: str) -> str:
    longest = TrainingRun._meta.get_field("reason").max_length or 0
    return text if len(text) <= longest else text[: longest - 1] + "…"
