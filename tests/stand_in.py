"""Functions that replace `training.loop.learn` in tests of training runs."""

import signal
import time

from django.db import OperationalError, transaction

from training.attempt import Outcome, Progress, RunFailedError, hold
from training.models import TrainingRun

State, Phase = TrainingRun.State, TrainingRun.Phase


def succeed(run: TrainingRun, progress: Progress) -> Outcome:
    progress.phase, progress.progress, progress.losses = Phase.PROMOTE, 0.9, [0.5, float("nan")]
    return Outcome(State.SUCCEEDED, "Version 2 serves.")


def skip(run: TrainingRun, progress: Progress) -> Outcome:
    return Outcome(State.SKIPPED, "Nothing changed.")


def fail(run: TrainingRun, progress: Progress) -> Outcome:
    raise RunFailedError("MNIST is missing: run `manage.py fetch_mnist`.")


def crash(run: TrainingRun, progress: Progress) -> Outcome:
    raise ZeroDivisionError("no drawings")


def fail_on_database(run: TrainingRun, progress: Progress) -> Outcome:
    progress.phase = Phase.EXPORT
    raise OperationalError("disk full")


def linger(run: TrainingRun, progress: Progress) -> Outcome:
    """Go through the phases; in the first attempt, stay in the phase that `counts` of the run names."""
    for number, phase in enumerate(Phase):
        progress.phase, progress.progress = phase, number / len(Phase)
        while run.attempt == 1 and run.counts.get("linger") == phase:
            try:
                time.sleep(0.05)
            except Exception:  # noqa: BLE001 - as libraries do; a cancellation is no `Exception`
                continue
    return Outcome(State.SUCCEEDED, f"Attempt {run.attempt} did it.")


def swallow_exception(run: TrainingRun, progress: Progress) -> Outcome:
    """Replace the exception that cancels the work, as C code may."""
    progress.phase = Phase.FIT
    try:
        time.sleep(120)
    except BaseException:  # noqa: BLE001 - the cause is lost
        raise SystemError("bad argument to internal function") from None
    raise AssertionError("nobody stopped it")


def ignore_signals(run: TrainingRun, progress: Progress) -> Outcome:
    """Do not react to signals, like a long computation in C."""
    progress.phase = Phase.FIT
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM})
    time.sleep(120)
    raise AssertionError("nobody ended this process")


def promote_after_cancel(run: TrainingRun, progress: Progress) -> Outcome:
    """Find just before promotion that the run was cancelled."""
    TrainingRun.objects.filter(pk=run.pk).update(cancel_requested=run.created)
    with transaction.atomic():
        hold(run)
    raise AssertionError("held a cancelled run")


def fit_forever(run: TrainingRun, progress: Progress) -> Outcome:
    """Load TensorFlow, then fit."""
    progress.phase = Phase.START
    import keras
    import numpy as np

    network = keras.Sequential([keras.layers.Conv2D(16, 3), keras.layers.Flatten(), keras.layers.Dense(10)])
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    progress.phase = Phase.FIT
    begun = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: setattr(progress, "batch", batch + 1))
    network.fit(np.zeros((20_000, 28, 28, 1)), np.zeros(20_000), epochs=1000, verbose=0, callbacks=[begun])
    raise AssertionError("it ended")
