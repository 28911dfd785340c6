"""`compare_optimizers`: repeat the report's experiment, one network trained by several optimisers."""

import os
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import now

from recognizer.mnist import Digits, MnistError, ensure_mnist, load_mnist
from training.experiment import comparison
from training.experiment.comparison import OPTIMIZERS, Comparison, Epoch, Optimizer, Protocol

LINE_SECONDS = 15.0  # between two progress lines


class Command(BaseCommand):
    help = "Train the report's network on MNIST with each optimiser. If interrupted, run it again for the rest."

    def add_arguments(self, parser: ArgumentParser) -> None:
        default = Protocol()
        parser.add_argument("--epochs", type=int, default=default.epochs, help="for each optimiser (%(default)s)")
        parser.add_argument("--batch-size", type=int, default=default.batch_size, help="digits (%(default)s)")
        parser.add_argument("--seed", type=int, default=default.seed, help="of weights and batches (%(default)s)")
        parser.add_argument("--only", action="append", metavar="NAME", help="one optimiser; can be repeated")
        parser.add_argument("--again", action="store_true", help="train finished ones again")
        parser.add_argument("--write", type=Path, metavar="FILE", help="also write the results to this file, as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        protocol = Protocol(options["epochs"], options["batch_size"], options["seed"])
        if min(protocol.epochs, protocol.batch_size) < 1 or protocol.seed < 0:
            raise CommandError("Epochs and batch size must be at least 1, the seed at least 0.")
        file: Path | None = options["write"]
        if file and not file.parent.is_dir():  # fail now, not after the first optimiser
            raise CommandError(f"There is no folder {file.parent} for {file.name}.")
        chosen = _chosen(options["only"])
        finished = {result.optimizer.key for result in comparison.stored(protocol).results}
        missing = [optimizer for optimizer in chosen if options["again"] or optimizer.key not in finished]
        try:
            if missing:
                self._run(missing, protocol, file)
            elif file:
                _write(file, protocol)
        except (MnistError, OSError) as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            raise CommandError("Stopped. Finished results are kept. Run the same command again for the rest.") from None
        self._print_table(comparison.stored(protocol))

    def _run(self, missing: Sequence[Optimizer], protocol: Protocol, file: Path | None) -> None:
        train, test = load_mnist(ensure_mnist())
        from training.experiment.network import fit_report_network  # imports TensorFlow, which only a fit needs

        progress = _Progress(self, missing, protocol, train)
        for optimizer in missing:
            progress.begin(optimizer)
            result = fit_report_network(optimizer, protocol, train, test, progress.batch, progress.epoch_done)
            comparison.store(protocol, result)
            if file:
                _write(file, protocol)

    def _print_table(self, table: Comparison) -> None:
        self.stdout.write(f"\n{'optimiser':16}{'rate':>8}{'accuracy':>11}{'the report':>12}{'processor s':>13}")
        for result in table.results:
            optimizer = result.optimizer
            reported = f"{optimizer.reported:.2%}" if optimizer.reported else ""
            self.stdout.write(
                f"{optimizer.name:16}{optimizer.learning_rate:>8}{result.accuracy:>11.2%}{reported:>12}"
                f"{result.seconds:>13.0f}  {optimizer.note}".rstrip()
            )


class _Progress:
    """Prints the progress of the comparison."""

    def __init__(
        self, command: BaseCommand, optimizers: Sequence[Optimizer], protocol: Protocol, train: Digits
    ) -> None:
        self._out, self._protocol = command.stdout, protocol
        self._per_epoch = -(-len(train.labels) // protocol.batch_size)
        self._total = self._per_epoch * protocol.epochs * len(optimizers)
        self._done = 0
        self._epoch = 0
        self._started = self._printed_at = time.monotonic()
        self._label = ""

    def begin(self, optimizer: Optimizer) -> None:
        self._label = f"{optimizer.name} {optimizer.learning_rate}"

    def batch(self, epoch: int, batch: int, loss: float) -> None:
        self._done += 1
        self._epoch = epoch + 1
        if time.monotonic() - self._printed_at >= LINE_SECONDS:
            self._print(f"{batch / self._per_epoch:.0%} of the epoch, loss {loss:.4f}")

    def epoch_done(self, epoch: Epoch) -> None:
        self._print(f"done, loss {epoch.loss:.4f}, test accuracy {epoch.accuracy:.2%}")

    def _print(self, what: str) -> None:
        self._printed_at = time.monotonic()
        left = (self._printed_at - self._started) / self._done * (self._total - self._done)
        self._out.write(f"{self._label}: epoch {self._epoch}/{self._protocol.epochs} {what}; {_duration(left)} left")
        self._out.flush()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _chosen(names: list[str] | None) -> Sequence[Optimizer]:
    """Return the optimisers with these names, case-insensitive; a name may have several learning rates."""
    if not names:
        return OPTIMIZERS
    wanted = {name.lower() for name in names}
    if unknown := wanted - {optimizer.name.lower() for optimizer in OPTIMIZERS}:
        known = "; ".join(dict.fromkeys(optimizer.name for optimizer in OPTIMIZERS))
        raise CommandError(f"There is no optimiser {min(unknown)!r} here. There are: {known}.")
    return [optimizer for optimizer in OPTIMIZERS if optimizer.name.lower() in wanted]


def _write(file: Path, protocol: Protocol) -> None:
    table = comparison.stored(protocol)
    measured = {"date": now().date().isoformat(), "keras": version("keras"), "cores": os.cpu_count()}
    comparison.write_results(file, Comparison(protocol, table.results, measured))
