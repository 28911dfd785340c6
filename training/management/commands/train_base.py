"""`train_base`: train the bundled model on MNIST and a strokes file."""

import time
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from recognizer.mnist import MnistError, ensure_mnist
from training.strokes import FOLDS

LINE_SECONDS = 10.0  # between two progress lines


class Command(BaseCommand):
    help = "Train the bundled model. If interrupted, run the same command again to continue."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--strokes", type=Path, required=True, help="pen digits of known writers, .json.gz")
        parser.add_argument(
            "--letters", type=Path, required=True, help="letters and symbols of known writers, .json.gz"
        )
        parser.add_argument(
            "--out", type=Path, default=settings.DATA_DIR / "base", help="folder for the finished model"
        )
        parser.add_argument("--epochs", type=int, help="instead of the recipe's")
        parser.add_argument("--seed", type=int, help="instead of the recipe's")
        parser.add_argument(
            "--fold", type=int, choices=range(FOLDS), help="hold out another fifth of the writers, to cross-validate"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from training import base  # imports TensorFlow, which only this command needs
        from training.base_data import load_base_data
        from training.network import CAN_EXPORT

        recipe = base.BaseRecipe()
        if options["seed"] is not None:
            recipe = replace(recipe, seed=options["seed"])
        if options["epochs"] is not None:
            recipe = replace(recipe, fit=replace(recipe.fit, epochs=options["epochs"]))
        if options["fold"] is not None:
            recipe = replace(recipe, mixture=replace(recipe.mixture, fold=options["fold"]))
        try:
            data = load_base_data(ensure_mnist(), options["strokes"], options["letters"], recipe.mixture)
        except (MnistError, ValueError, OSError) as error:
            raise CommandError(str(error)) from error
        out: Path = options["out"]
        try:
            network = base.fit_base(recipe, data, out / "resume", self._progress(recipe, data))
        except base.AnotherRecipeError as error:
            raise CommandError(str(error)) from error
        if not CAN_EXPORT:
            self.stdout.write("Trained. Run the same command on TensorFlow to calibrate, export and measure it.")
            return
        model = base.finish(network, recipe, data)
        model.write(out)
        for name, metrics in model.card["metrics"].items():
            self.stdout.write(f"{name}: {metrics}")
        self.stdout.write(f"Wrote {out}/digits.tflite ({len(model.artifact):,} bytes), digits.keras and model.json.")

    def _progress(self, recipe: Any, data: Any) -> Any:
        from training import base

        total = recipe.fit.epochs * base.batches_per_epoch(recipe, data)
        started: list[tuple[float, int]] = []
        last = [0.0]

        def report(epoch: int, batch: int, loss: float, network: Any) -> None:
            now, done = time.monotonic(), epoch * total // recipe.fit.epochs + batch
            if not started:
                started.append((now, done))
            if network is not None:
                self.stdout.write(f"epoch {epoch + 1} done: {base.validate(network, data)}")
            elif now - last[0] >= LINE_SECONDS:
                last[0] = now
                first_time, first_done = started[0]
                left = (now - first_time) / max(done - first_done, 1) * (total - done)
                self.stdout.write(
                    f"epoch {epoch + 1}/{recipe.fit.epochs} {done / total:.1%} loss {loss:.4f} {left / 60:.0f} min left"
                )
            self.stdout.flush()

        return report
