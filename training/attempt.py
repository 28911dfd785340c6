"""One worker's go at a training run: taken, watched while it works, and ended.

The work itself is `loop.learn`. What an attempt writes counts only while the run still belongs to it.
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
from pathlib import Path
from types import FrameType
from typing import Any

from django.db import Error, InterfaceError, OperationalError, connection
from django.db.models import F
from django.db.models.functions import Now

from training import runs
from training.models import TrainingRun
from training.runs import State, give_back, minutes, rows_of, sentence

logger = logging.getLogger(__name__)


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


def execute(run_id: int, learn: Learn) -> None:
    """Take a queued run and do its work; a run that is not to be taken is left alone.

    Call it from the main thread of a process that may end: the work is stopped by a signal, and if it does not react,
    with its process.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("A run is executed in a process's main thread: start its worker with --pool prefork.")
    run = _claim(run_id)
    if run is not None:
        Attempt(run, learn).make()


def hold(run: TrainingRun) -> None:
    """Make sure, inside a transaction and before what cannot be undone, that the run is still this attempt's.

    Raises:
        RunStoppedError: it was cancelled, or given to another worker.
    """
    if rows_of(run).filter(cancel_requested__isnull=True).select_for_update().first() is None:
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

    def __init__(self, run: TrainingRun, learn: Learn) -> None:
        self.run = run
        self._learn = learn
        self.progress = Progress()
        self._mine = rows_of(run)
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
            outcome = self._learn(self.run, self.progress)
            return _End(outcome.state, outcome.reason)
        except RunStoppedError:
            return self._stop  # or None, from `hold`: the row says why
        except Exception as error:  # noqa: BLE001 - whatever it is, the run ends with it and the next one can begin
            return self._failure(error)

    def _failure(self, error: Exception) -> _End:
        """Return how work that raised ends."""
        if self._stop:  # C code may lose the exception that stops it, and raise another
            logger.info("Training run %s was told to stop, and its work ended with %r.", self.run.pk, error)
            return self._stop
        match error:
            case RunFailedError():
                return _End(State.FAILED, str(error))
            case OperationalError() | InterfaceError():  # a database that was away may be back for the next attempt
                return _End(State.QUEUED, "The database failed", f": {error}")
        logger.error("Training run %s failed.", self.run.pk, exc_info=error)
        return _End(State.FAILED, f"{type(error).__name__}: {error}")

    # What follows up to `_write_end` runs in the watching thread.

    def _watch(self) -> None:
        try:
            while not self._over.wait(runs.LIMITS.beat):
                reason = self._beat() or self._beyond_limits()
                if reason or self._stop:
                    self._press(self._stop or reason or _LOST)
            self._write_end(self._end or self._stop or self._beat() or _LOST)
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
        if time.monotonic() - self._began > runs.LIMITS.longest.total_seconds():
            return _End(State.FAILED, f"It took longer than {minutes(runs.LIMITS.longest)}.")
        if memory_gb() > runs.LIMITS.memory:
            return _End(State.FAILED, f"It used more than {runs.LIMITS.memory:g} GB of memory.")
        return None

    def _press(self, reason: _End) -> None:
        """Ask the work to stop, again at each beat; when it does not, end the process, and the run for it."""
        if self._stop is None:
            self._stop, self._asked = reason, time.monotonic()
        elif self._asked and time.monotonic() - self._asked >= runs.LIMITS.react:
            logger.error("Training run %s does not stop (%s), so its process ends.", self.run.pk, reason.reason)
            self._write_end(reason)
            os._exit(1)
        self._asked = self._asked or time.monotonic()
        main = threading.main_thread().ident
        if main is not None and not self._over.is_set():
            signal.pthread_kill(main, signal.SIGUSR2)

    def _write_end(self, end: _End) -> None:
        for _ in range(runs.LIMITS.end):
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
                give_back(self.run, self._mine, end.reason, end.detail, counts=end.counts)
            case state:
                done = {"progress": 1.0} if state in (State.SUCCEEDED, State.SKIPPED) else {}
                self._mine.update(
                    state=state, reason=sentence(end.reason), finished=Now(), heartbeat=Now(), **columns | done
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
