"""One worker's attempt at a training run: claim it, watch the work, write how it ended.

The work itself is `loop.learn`. An attempt's writes take effect only while the run still belongs to it.
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
    """Progress of a run. The work updates it at any time; it is saved to the database once a second."""

    phase: TrainingRun.Phase | str = ""
    progress: float = 0.0  # of the whole run, 0…1
    epoch: int = 0
    epochs: int = 0
    batch: int = 0
    loss: float | None = None
    losses: list[float] = field(default_factory=list)  # mean loss of each epoch
    eta: float | None = None  # remaining seconds

    def columns(self) -> dict[str, Any]:
        """Return the row's columns; numbers that are not finite (a diverged loss) become None."""
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
    """Result of the work: succeeded or skipped, and the reason in one sentence."""

    state: TrainingRun.State
    reason: str = ""


Learn = Callable[[TrainingRun, Progress], Outcome]


class RunFailedError(RuntimeError):
    """The run failed; the message tells an admin why, in one sentence."""


class RunStoppedError(BaseException):
    """Raised inside the work to stop it; a BaseException, so that no `except Exception` catches it."""


def execute(run_id: int, learn: Learn) -> None:
    """Claim a queued run and do its work; do nothing if the run cannot be claimed.

    Call it from the main thread of a process that may be ended: a signal stops the work, and if that does not help, the
    process exits.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("A run is executed in a process's main thread: start its worker with --pool prefork.")
    run = _claim(run_id)
    if run is not None:
        Attempt(run, learn).run_to_end()


def hold(run: TrainingRun) -> None:
    """Check that the run still belongs to this attempt, and lock its row until the transaction ends.

    Call it inside a transaction, before anything that cannot be undone.

    Raises:
        RunStoppedError: the run was cancelled, or belongs to another worker.
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
    """How an attempt ends. QUEUED: give the run back. None: write nothing, the run belongs to another worker."""

    state: TrainingRun.State | None
    reason: str = ""
    detail: str = ""
    counts: bool = True


_CANCELLED = _End(State.CANCELLED, "Cancelled.")
_LOST = _End(None, "Another worker has it.")
_SHUT_DOWN = _End(State.QUEUED, "Its worker was shut down", counts=False)


class Attempt:
    """One worker's attempt at a run. One thread does all its writes: heartbeats, progress, and the end."""

    def __init__(self, run: TrainingRun, learn: Learn) -> None:
        self.run = run
        self._learn = learn
        self.progress = Progress()
        self._mine = rows_of(run)
        self._began = time.monotonic()
        self._stop: _End | None = None  # why the work must stop
        self._interrupted_at = 0.0
        self._end: _End | None = None
        self._over = threading.Event()

    def run_to_end(self) -> None:
        """Work until done or stopped, and write how the attempt ended."""
        watch = threading.Thread(target=self._watch, name=f"watch of {self.run}", daemon=True)
        with self._signals():
            watch.start()
            try:
                self._end = self._work()
            except RunStoppedError:  # raised between the end of the work and this line
                self._end = self._stop
            finally:
                self._over.set()
            watch.join()

    def _work(self) -> _End | None:
        try:
            outcome = self._learn(self.run, self.progress)
            return _End(outcome.state, outcome.reason)
        except RunStoppedError:
            return self._stop  # None if `hold` raised it: the row says why
        except Exception as error:  # noqa: BLE001 - any error must end the run, so that the next one can start
            return self._failure(error)

    def _failure(self, error: Exception) -> _End:
        """Return how the attempt ends when the work raised an error."""
        if self._stop:  # C code may replace our exception with one of its own
            logger.info("Training run %s was told to stop, and its work ended with %r.", self.run.pk, error)
            return self._stop
        match error:
            case RunFailedError():
                return _End(State.FAILED, str(error))
            case OperationalError() | InterfaceError():  # the database may be back for the next attempt
                return _End(State.QUEUED, "The database failed", f": {error}")
        logger.error("Training run %s failed.", self.run.pk, exc_info=error)
        return _End(State.FAILED, f"{type(error).__name__}: {error}")

    # The methods up to `_write_end` run in the watching thread.

    def _watch(self) -> None:
        try:
            while not self._over.wait(runs.LIMITS.beat):
                reason = self._beat() or self._exceeded_limit()
                if reason or self._stop:
                    self._interrupt(self._stop or reason or _LOST)
            self._write_end(self._end or self._stop or self._beat() or _LOST)
        finally:
            connection.close()

    def _beat(self) -> _End | None:
        """Send a heartbeat with the progress; return why the work must stop, if it must."""
        try:
            if not self._mine.update(heartbeat=Now(), **self.progress.columns()):
                return _LOST
            return _CANCELLED if self._mine.filter(cancel_requested__isnull=False).exists() else None
        except Error as error:  # if the database stays away, another worker takes the run and this attempt notices
            logger.warning("Training run %s could not give a sign of life: %s", self.run.pk, error)
            connection.close()
            return None

    def _exceeded_limit(self) -> _End | None:
        if time.monotonic() - self._began > runs.LIMITS.longest.total_seconds():
            return _End(State.FAILED, f"It took longer than {minutes(runs.LIMITS.longest)}.")
        if memory_gb() > runs.LIMITS.memory:
            return _End(State.FAILED, f"It used more than {runs.LIMITS.memory:g} GB of memory.")
        return None

    def _interrupt(self, reason: _End) -> None:
        """Interrupt the work, again at each heartbeat; on timeout, write the end and exit the process."""
        if self._stop is None:
            self._stop, self._interrupted_at = reason, time.monotonic()
        elif self._interrupted_at and time.monotonic() - self._interrupted_at >= runs.LIMITS.react:
            logger.error("Training run %s does not stop (%s), so its process ends.", self.run.pk, reason.reason)
            self._write_end(reason)
            os._exit(1)
        self._interrupted_at = self._interrupted_at or time.monotonic()
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
        """Install signal handlers that stop the work: for the watching thread, and for a worker shutdown."""
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
    """Return this process's memory use in GB; where the system does not report it, the peak."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def _finite(number: float | None) -> float | None:
    return None if number is None or not math.isfinite(number) else float(number)
