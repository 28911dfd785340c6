"""The life of a training run: asked for, taken by one worker, watched, ended.

The database decides; a message only wakes a worker up. A run is taken by one conditional UPDATE, and whatever an
attempt writes later holds only while the run is still that attempt's. So lost and doubled messages, two schedulers and
workers that come back from the dead are harmless. Times are compared on the database's clock, which all hosts share.
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

# "Training run 7 is over: it …"
ENDED = {"succeeded": "succeeded", "skipped": "was skipped", "failed": "failed", "cancelled": "was cancelled"}

State, Phase, Trigger = TrainingRun.State, TrainingRun.Phase, TrainingRun.Trigger


@dataclass(frozen=True, slots=True)
class RunLimits:
    """How long things may take before somebody acts."""

    beat: float = 1.0  # seconds between two signs of life
    react: float = 3.0  # seconds for the work to stop when asked; then its process ends
    longest: timedelta = timedelta(minutes=30)  # one attempt; the broker's visibility timeout is above it
    memory: float = 3.0  # GB, of the process that learns
    lost: timedelta = timedelta(seconds=20)  # without a sign of life: its worker is dead
    attempts: int = 3
    resend: timedelta = timedelta(seconds=60)  # a message that nobody followed is sent again
    wait: timedelta = timedelta(minutes=30)  # for a worker; then the run has failed
    end: int = 60  # tries, a second apart, to write how a run ended


LIMITS = RunLimits()


class LiveRunError(Exception):
    """A run is queued or running already; there is one at a time."""

    def __init__(self, run: TrainingRun) -> None:
        super().__init__(f"Training run {run.pk} is {run.state}.")
        self.run = run


# --- Asking and cancelling --------------------------------------------------------------------------------------------


def request(
    trigger: TrainingRun.Trigger, by: AbstractBaseUser | AnonymousUser | None = None, *, force: bool = False
) -> TrainingRun:
    """Queue a run and wake a worker up.

    Raises:
        LiveRunError: one is queued or running.
    """
    supervise()  # a dead one must not stand in the way
    while True:
        try:
            with transaction.atomic():
                run = TrainingRun.objects.create(trigger=trigger, requested_by_id=by.pk if by else None, force=force)
        except IntegrityError:
            live = TrainingRun.objects.live().first()
            if live is None:  # it has just ended
                continue
            raise LiveRunError(live) from None
        _send(run.pk)
        return run


def request_when_enough(corrections: int, hours: float) -> TrainingRun | None:
    """Queue a run if there are that many new accepted corrections, and no run was asked for in that many hours.

    New is what was accepted after the last run that looked at them began. Confirmations do not count: the model was
    right there.

    Raises:
        LiveRunError: one is queued or running.
    """
    if TrainingRun.objects.exclude(_away_by("created", timedelta(hours=hours))).exists():
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
    """End a queued run at once, ask a running one to stop; return False if it is over."""
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
    """Wake a worker up, once what was written is there for it to read."""
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
    except BrokerError as error:  # the run stays queued, and `supervise` sends again
        logger.warning("No message about training run %s could be sent: %s", run_id, error)


# --- Supervising ------------------------------------------------------------------------------------------------------


def supervise() -> None:
    """Bring on what is stuck: runs whose worker died, whose message got lost, or that no worker takes."""
    for run in TrainingRun.objects.filter(_dead()):
        give_back(run, rows_of(run).filter(_dead()), "Its worker died")
    queued = TrainingRun.objects.filter(state=State.QUEUED)
    queued.filter(cancel_requested__isnull=False).update(
        state=State.CANCELLED, finished=Now(), reason="Cancelled between two attempts."
    )
    unheard = queued.filter(_away_by("sent", LIMITS.resend))
    # After a night with everything off, the last message is old too: it gets another one, and a worker time to take it.
    waiting = unheard.alias(since=Coalesce("heartbeat", "created")).filter(
        since__lt=Now() - LIMITS.wait, sent__gt=Now() - 3 * LIMITS.resend
    )
    waiting.update(
        state=State.FAILED,
        finished=Now(),
        reason=f"No training worker took it in {minutes(LIMITS.wait)}; is one running?",
    )
    for run in unheard:
        if unheard.filter(pk=run.pk).update(sent=Now()):
            _send(run.pk)


def _dead() -> Q:
    return Q(_away_by("heartbeat", LIMITS.lost), state=State.RUNNING)


def _away_by(moment: str, time: timedelta) -> Q:
    """Whether a moment is that long ago, or ahead: then the clock was set back since."""
    return Q(**{f"{moment}__lt": Now() - time}) | Q(**{f"{moment}__gt": Now() + time})


def rows_of(run: TrainingRun) -> "QuerySet[TrainingRun]":
    """Return the run's row while this attempt has it, nothing after."""
    return TrainingRun.objects.filter(pk=run.pk, state=State.RUNNING, attempt=run.attempt, worker=run.worker)


def give_back(
    run: TrainingRun, mine: "QuerySet[TrainingRun]", why: str, detail: str = "", *, counts: bool = True
) -> None:
    """End an attempt that came to nothing: queue the run again, unless it was cancelled or has had its attempts."""
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
    # A worker that is stopping still takes messages, so none is sent to it: to `supervise`, the last one is long ago.
    again: dict[str, Any] = {"sent": Now()} if counts else {"sent": Now() - LIMITS.wait, "attempt": run.attempt - 1}
    if mine.filter(cancel_requested__isnull=True).update(state=State.QUEUED, eta=None, **again):
        logger.warning("Training run %s is queued again. %s%s.", run.pk, why, detail)
        if counts:
            _send(run.pk)


def minutes(time: timedelta) -> str:
    return f"{time.total_seconds() / 60:g} minutes"


def sentence(text: str) -> str:
    longest = TrainingRun._meta.get_field("reason").max_length or 0
    return text if len(text) <= longest else text[: longest - 1] + "…"
