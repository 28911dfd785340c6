"""`evaluate_model`: measure a version through the production engine, on MNIST's test set or on pen strokes."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import numpy as np
from django.core.management.base import BaseCommand, CommandError

from recognizer.engine import ModelRefusedError, load_model
from recognizer.mnist import MnistError, ensure_mnist, load_mnist
from recognizer.models import ModelVersion
from training import evaluation, measuring
from training.strokes import load_drawings, to_inputs


class Command(BaseCommand):
    help = "Print a version's accuracy, recall, confusion, calibration and verdicts, through the production engine."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", type=int, nargs="?", help="default: the active one")
        parser.add_argument("--strokes", type=Path, help="measure on a strokes file instead of MNIST")
        parser.add_argument(
            "--split", choices=["train", "validation", "test"], help="part of the strokes' writers; default: all"
        )

        parser.add_argument("--store", action="store_true", help="store what the version's page shows, if missing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            versions = ModelVersion.objects.filter(
                **({"version": options["version"]} if options["version"] else {"state": "active"})
            )
            if (version := versions.first()) is None:
                raise CommandError("No such version.")
            model = load_model(version)
            strokes: Path | None = options["strokes"]
            if strokes and options["store"]:
                raise CommandError("--store measures on MNIST: omit --strokes.")
            if strokes:
                drawings = [
                    drawing for drawing in load_drawings(strokes, options["split"]) if drawing.digit is not None
                ]
                images, labels = to_inputs(drawings), np.array([drawing.digit for drawing in drawings])
            else:
                test = load_mnist(ensure_mnist())[1]
                drawings, images, labels = [], test.images, test.labels
                if options["store"]:
                    measuring.measure(version, model, test)
        except (ModelRefusedError, MnistError, ValueError, OSError) as error:
            raise CommandError(str(error)) from error
        readings = evaluation.read_all(model, images)
        report = evaluation.digit_metrics(readings, labels)
        if drawings:
            report["writers"] = len({drawing.writer for drawing in drawings})
            report["mean_over_writers"] = evaluation.mean_over_writers(drawings, readings)
        self.stdout.write(f"{version} on {options['strokes'] or 'the MNIST test set'}")
        for name, value in report.items():
            self.stdout.write(f"{name:18} {json.dumps(value)}")
        self.stdout.write("confusion (rows: label; columns: answer, the last one not a digit)")
        for digit, row in enumerate(evaluation.confusion_matrix(readings, labels)):
            self.stdout.write(f"{digit} " + " ".join(f"{count:5}" for count in row))
