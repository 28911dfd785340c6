"""`fit_pens`: fit the pen models for replay and for the evaluation suite."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.eval_suite import STRANGERS_FILE
from training.pens import fit_pens
from training.replay import PENS_FILE
from training.strokes import PenDrawing, load_drawings, writer_bucket

STRANGERS_BUCKETS = {1, 9}  # 1 is the bundled model's validation split, 9 is part of its training split


class Command(BaseCommand):
    help = "Fit the pen models to a strokes file: most of the bundled model's writers for replay, others as strangers."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--strokes", type=Path, required=True, help="pen digits of known writers, .json.gz")
        parser.add_argument(
            "--letters", type=Path, required=True, help="letters and symbols of known writers, .json.gz"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            drawings = [
                drawing
                for path in (options["strokes"], options["letters"])
                for split in ("train", "validation")
                for drawing in load_drawings(path, split)
            ]
        except (ValueError, OSError) as error:
            raise CommandError(str(error)) from error
        strangers = [drawing for drawing in drawings if writer_bucket(drawing.writer) in STRANGERS_BUCKETS]
        known = [drawing for drawing in drawings if writer_bucket(drawing.writer) not in STRANGERS_BUCKETS]
        for file, chosen in ((PENS_FILE, known), (STRANGERS_FILE, strangers)):
            self._write(file, chosen)

    def _write(self, file: Path, drawings: list[PenDrawing]) -> None:
        pens = fit_pens(drawings)
        file.write_bytes(pens.to_bytes())
        writers = len({drawing.writer for drawing in drawings})
        self.stdout.write(
            f"{file.name}: {len(pens.ways)} ways of drawing, from {len(drawings)} drawings of {writers} writers, "
            f"{file.stat().st_size:,} bytes."
        )
