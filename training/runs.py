"""The life of a training run: asked for, taken by one worker, watched, ended.

The database decides; a message only wakes a worker up. A run is taken by one conditional UPDATE, and whatever an
attempt writes later holds only while the run is still that attempt's. So lost and doubled messages, two schedulers and
workers that come back from the dead are harmless. Times are compared on the database's clock, which all hosts share.
"""

import logging
import math
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import Error, IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.db.models import Case, F, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce, Now
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError as BrokerError

from hdr_site import celery_app
from recognizer.models import Correction
from training.models import TrainingRun

logger = logging.getLogger(__name__)

TASK = "training.tasks.train"

# "Training run 7 is over: it …"
ENDED = {"succeeded": "succeeded", "skipped": "was skipped", "failed": "failed", "cancelled": "was cancelled"}

State, Phase, Trigger = TrainingRun.State, TrainingRun.Phase, TrainingRun.Trigger


@dataclass(frozen=True, slots=True)
class Limits:
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


LIMITS = Limits()


@dataclass(slots=True)
class Progress:
    """How far a run is. The work writes it whenever it likes; the database gets it once a second."""

    phase: TrainingRun.Phase | str = ""
    progress: float = 0.0  # 0 to 1, of the whole run
    epoch: int = 0
    epochs: int = 0
    batch: int = 0
    loss: float | None = None
    losses: list[float] = field(default_factory=list)  # the mean of each epoch
    eta: float | None = None  # seconds

    def columns(self) -> dict[str, Any]:
        """Return what the row is to say; a number that is none (a loss that diverged) is None."""
        return {
            "phase": self.phase,
            "progress": min(max(_finite(self.progress) or 0.0, 0.0), 1.0),
            "epoch": self.epoch,
            "epochs": self.epochs,
            "batch": self.batch,
            "loss": _finite(self.loss),
            "losses": [_finite(loss) for loss in self.losses],
            "eta": _finite(self.eta),
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the work ended: succeeded or skipped, and why, in one sentence."""

    state: TrainingRun.State
    reason: str = ""


Learn = Callable[[TrainingRun, Progress], Outcome]


class RunFailedError(RuntimeError):
    """The run cannot go on, for a reason that its one sentence tells an admin."""


class RunStoppedError(BaseException):
    """Raised in the middle of the work when it has to stop. No `except Exception` on the way holds it up."""


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
    if TrainingRun.objects.filter(created__gt=Now() - timedelta(hours=hours)).exists():
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
        celery_app.send_task(TASK, [run_id], expires=expires, retry=False)
    except BrokerError as error:  # the run stays queued, and `supervise` sends again
        logger.warning("No message about training run %s could be sent: %s", run_id, error)


# --- Supervising ------------------------------------------------------------------------------------------------------


def supervise() -> None:
    """Bring on what is stuck: runs whose worker died, whose message got lost, or that no worker takes."""
    for run in TrainingRun.objects.filter(_dead()):
        _give_back(run, _rows_of(run).filter(_dead()), "Its worker died")
    queued = TrainingRun.objects.filter(state=State.QUEUED)
    queued.filter(cancel_requested__isnull=False).update(
        state=State.CANCELLED, finished=Now(), reason="Cancelled between two attempts."
    )
    unheard = queued.filter(sent__lt=Now() - LIMITS.resend)
    # After a night with everything off, the last message is old too: it gets another one, and a worker time to take it.
    waiting = unheard.alias(since=Coalesce("heartbeat", "created")).filter(
        since__lt=Now() - LIMITS.wait, sent__gt=Now() - 3 * LIMITS.resend
    )
    waiting.update(
        state=State.FAILED,
        finished=Now(),
        reason=f"No training worker took it in {_minutes(LIMITS.wait)}; is one running?",
    )
    for run in unheard:
        if unheard.filter(pk=run.pk).update(sent=Now()):
            _send(run.pk)


def _dead() -> Q:
    return Q(state=State.RUNNING, heartbeat__lt=Now() - LIMITS.lost)


def _rows_of(run: TrainingRun) -> "QuerySet[TrainingRun]":
    """Return the run's row while this attempt has it, nothing after."""
    return TrainingRun.objects.filter(pk=run.pk, state=State.RUNNING, attempt=run.attempt, worker=run.worker)


def _give_back(
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
        and mine.update(state=State.FAILED, finished=Now(), eta=None, reason=_sentence(reason))
    ):
        return
    # A worker that is stopping still takes messages, so none is sent to it: to `supervise`, the last one is long ago.
    again: dict[str, Any] = {"sent": Now()} if counts else {"sent": Now() - LIMITS.wait, "attempt": run.attempt - 1}
    if mine.filter(cancel_requested__isnull=True).update(state=State.QUEUED, eta=None, **again):
        logger.warning("Training run %s is queued again. %s%s.", run.pk, why, detail)
        if counts:
            _send(run.pk)


# --- Executing --------------------------------------------------------------------------------------------------------


def execute(run_id: int) -> None:
    """Take a queued run and do its work (`settings.TRAINING_LEARN`); a run that is not to be taken is left alone.

    Call it from the main thread of a process that may end: the work is stopped by a signal, and if it does not react,
    with its process.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("A run is executed in a process's main thread: start its worker with --pool prefork.")
    run = _claim(run_id)
    if run is not None:
        Attempt(run).make()


def hold(run: TrainingRun) -> None:
    """Make sure, inside a transaction and before what cannot be undone, that the run is still this attempt's.

    Raises:
        RunStoppedError: it was cancelled, or given to another worker.
    """
    if _rows_of(run).filter(cancel_requested__isnull=True).select_for_update().first() is None:
        raise RunStoppedError


def _claim(run_id: int) -> TrainingRun | None:
    worker = f"{socket.gethostname()}:{os.getpid()}"[:100]
    claimed = TrainingRun.objects.filter(pk=run_id, state=State.QUEUED, cancel_requested__isnull=True).update(
        state=State.RUNNING,
        attempt=F("attempt") + 1,
        worker=worker,
        started=Now(),
        heartbeat=Now(),
        reason="",
        **Progress().columns(),
    )
    if not claimed:
        logger.info("Training run %s is not waiting for a worker.", run_id)
        return None
    return TrainingRun.objects.filter(pk=run_id, state=State.RUNNING, worker=worker).first()


@dataclass(frozen=True, slots=True)
class _End:
    """How an attempt ends; QUEUED is given back, and None not written, for the run is not ours any more."""

    state: TrainingRun.State | None
    reason: str = ""
    detail: str = ""
    counts: bool = True


_CANCELLED = _End(State.CANCELLED, "Cancelled.")
_LOST = _End(None, "Another worker has it.")
_SHUT_DOWN = _End(State.QUEUED, "Its worker was shut down", counts=False)


class Attempt:
    """One worker's go at a run. One thread makes all its writes: signs of life, progress and, last, the end."""

    def __init__(self, run: TrainingRun) -> None:
        self.run = run
        self.progress = Progress()
        self._mine = _rows_of(run)
        self._began = time.monotonic()
        self._stop: _End | None = None  # why the work has to stop, once it has to
        self._asked = 0.0
        self._end: _End | None = None
        self._over = threading.Event()

    def make(self) -> None:
        """Work until it is done or has to stop, and write how it ended."""
        watch = threading.Thread(target=self._watch, name=f"watch of {self.run}", daemon=True)
        with self._signals():
            watch.start()
            try:
                self._end = self._work()
            except RunStoppedError:  # in the moment between the work and here
                self._end = self._stop
            finally:
                self._over.set()
            watch.join()

    def _work(self) -> _End | None:
        try:
            learn: Learn = import_string(settings.TRAINING_LEARN)
            outcome = learn(self.run, self.progress)
            return _End(outcome.state, outcome.reason)
        except RunStoppedError:
            return self._stop  # or None, from `hold`: the row says why
        except RunFailedError as error:
            return _End(State.FAILED, str(error))
        except (OperationalError, InterfaceError) as error:  # a database that was away may be back for the next attempt
            return _End(State.QUEUED, "The database failed", f": {error}")
        except Exception as error:  # whatever it is, the run ends with it and the next one can begin
            logger.exception("Training run %s failed.", self.run.pk)
            return _End(State.FAILED, f"{type(error).__name__}: {error}")

    # What follows up to `_write_end` runs in the watching thread.

    def _watch(self) -> None:
        try:
            while not self._over.wait(LIMITS.beat):
                reason = self._beat() or self._beyond_limits()
                if reason or self._stop:
                    self._press(self._stop or reason or _LOST)
            self._write_end(self._end or self._beat() or _LOST)
        finally:
            connection.close()

    def _beat(self) -> _End | None:
        """Give a sign of life; return what it learned of the run that means stopping."""
        try:
            if not self._mine.update(heartbeat=Now(), **self.progress.columns()):
                return _LOST
            return _CANCELLED if self._mine.filter(cancel_requested__isnull=False).exists() else None
        except Error as error:  # away for a moment; if it stays away, others take the run and this attempt sees that
            logger.warning("Training run %s could not give a sign of life: %s", self.run.pk, error)
            connection.close()
            return None

    def _beyond_limits(self) -> _End | None:
        if time.monotonic() - self._began > LIMITS.longest.total_seconds():
            return _End(State.FAILED, f"It took longer than {_minutes(LIMITS.longest)}.")
        if memory_gb() > LIMITS.memory:
            return _End(State.FAILED, f"It used more than {LIMITS.memory:g} GB of memory.")
        return None

    def _press(self, reason: _End) -> None:
        """Ask the work to stop, again at each beat; when it does not, end the process, and the run for it."""
        if self._stop is None:
            self._stop, self._asked = reason, time.monotonic()
        elif self._asked and time.monotonic() - self._asked >= LIMITS.react:
            logger.error("Training run %s does not stop (%s), so its process ends.", self.run.pk, reason.reason)
            self._write_end(reason)
            os._exit(1)
        self._asked = self._asked or time.monotonic()
        main = threading.main_thread().ident
        if main is not None and not self._over.is_set():
            signal.pthread_kill(main, signal.SIGUSR2)

    def _write_end(self, end: _End) -> None:
        for _ in range(LIMITS.end):
            try:
                self._try_to_write(end)
            except Error as error:
                logger.warning("The end of training run %s could not be written: %s", self.run.pk, error)
                connection.close()
                time.sleep(1)
            else:
                return

    def _try_to_write(self, end: _End) -> None:
        columns = self.progress.columns() | {"eta": None}
        match end.state:
            case None:
                logger.warning("Training run %s was given to another worker.", self.run.pk)
            case State.QUEUED:
                self._mine.update(heartbeat=Now(), **columns)
                _give_back(self.run, self._mine, end.reason, end.detail, counts=end.counts)
            case state:
                done = {"progress": 1.0} if state in (State.SUCCEEDED, State.SKIPPED) else {}
                self._mine.update(
                    state=state, reason=_sentence(end.reason), finished=Now(), heartbeat=Now(), **columns | done
                )
                logger.info("Training run %s %s. %s", self.run.pk, state, end.reason)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Let the watching thread and a worker that shuts down interrupt the work."""
        handlers = {signal.SIGUSR2: self._on_stop, signal.SIGTERM: self._on_shutdown}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_stop(self, number: int, frame: FrameType | None) -> None:
        if not self._over.is_set():
            raise RunStoppedError

    def _on_shutdown(self, number: int, frame: FrameType | None) -> None:
        if self._stop is None and not self._over.is_set():
            self._stop = _SHUT_DOWN
            raise RunStoppedError


def memory_gb() -> float:
    """Return what this process holds in memory now; where the system does not say, the most it ever held."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else float(number)


def _minutes(time: timedelta) -> str:
    return f"{time.total_seconds() / 60:g} minutes"


def _sentence(text: str) -> str:
    longest = TrainingRun._meta.get_field("reason").max_length or 0
    return text if len(text) <= longest else text[: longest - 1] + "…"
