"""`retrain`: request a training run, and optionally wait for it."""

import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training import runs
from training.models import TrainingRun

LOOK_SECONDS = 1.0  # between two looks at the run
SUPERVISE_SECONDS = 15.0  # between two calls of `supervise`, in case no scheduler runs
STEP = 0.05  # of the whole run: progress per printed line, besides one per phase and epoch
INTERRUPTED = 130  # 128 + SIGINT


class Command(BaseCommand):
    help = "Queue a training run: a worker of the queue `training` fine-tunes the model on what was accepted."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--wait", action="store_true", help="show progress and wait for the result")
        parser.add_argument("--force", action="store_true", help="run even if nothing has changed")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            run = runs.request(TrainingRun.Trigger.COMMAND, force=options["force"])
        except runs.LiveRunError as error:
            raise CommandError(str(error)) from error
        self._say(f"Training run {run.pk} is queued.")
        if options["wait"]:
            try:
                self._wait(run)
            except KeyboardInterrupt:
                self._say(f"Training run {run.pk} continues. Cancel it in the admin or with the API.")
                sys.exit(INTERRUPTED)

    def _wait(self, run: TrainingRun) -> None:
        """Print the progress of a run until it ends.

        Raises:
            CommandError: it failed or was cancelled.
        """
        printed, supervised = "", time.monotonic()
        while run.live:
            time.sleep(LOOK_SECONDS)
            if time.monotonic() - supervised > SUPERVISE_SECONDS:
                supervised = time.monotonic()
                runs.supervise()
            run = TrainingRun.objects.with_versions().get(pk=run.pk)
            step = f"{run.attempt} {run.state} {run.phase} {run.epoch} {run.progress // STEP}"
            if step != printed and run.live:
                printed = step
                self._say(_progress(run))
        ending = f"Training run {run.pk} {runs.ENDED[run.state]}. {run.reason}".rstrip()
        if run.state in (TrainingRun.State.FAILED, TrainingRun.State.CANCELLED):
            raise CommandError(ending)
        self._say(f"{ending} It made {run.version} ({run.version.state})." if run.version else ending)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _progress(run: TrainingRun) -> str:
    """Return the progress of a run in one line."""
    if run.state == TrainingRun.State.QUEUED:
        return "waiting for a worker"
    parts = [f"{run.progress:4.0%} {run.get_phase_display() or 'starting'}"]
    if run.epochs and run.phase == TrainingRun.Phase.FIT:
        parts.append(f"epoch {run.epoch}/{run.epochs}")
    if run.loss is not None:
        parts.append(f"loss {run.loss:.4f}")
    if run.eta is not None:
        parts.append(f"{run.eta:.0f} s left")
    return ", ".join(parts)
