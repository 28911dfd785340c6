"""`export_dataset`: write the accepted drawings to a file."""

import os
import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from training.exchange.examples import ExchangeError, TransferCount
from training.exchange.formats import FORMATS, Format
from training.exchange.outgoing import export_dataset

LINE_SECONDS = 10.0  # between two progress lines


class Command(BaseCommand):
    help = "Write the drawings whose labels were accepted, without their owners, to a file."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("format", choices=sorted(FORMATS))
        parser.add_argument("out", type=Path, help="the file to write")
        parser.add_argument("--force", action="store_true", help="replace an existing file")

    def handle(self, *args: Any, **options: Any) -> None:
        form, out = FORMATS[options["format"]], Path(options["out"])
        if out.exists() and not options["force"]:
            raise CommandError(f"{out} already exists. Use --force to replace it.")
        partial = out.with_name(f"{out.name}.{os.getpid()}.partial")
        try:
            count = self._write(form, partial)
            partial.replace(out)
        except (ExchangeError, OSError, DatabaseError) as error:
            raise CommandError(str(error)) from error
        finally:
            partial.unlink(missing_ok=True)
        self.stdout.write(f"Wrote {count} to {out}.")
        if count.left_out:
            self.stdout.write(f"Left out {count.left_out:,}: {form.name} cannot hold {form.lacks}.")

    def _write(self, form: Format, path: Path) -> TransferCount:
        last = time.monotonic()

        def progress(done: int) -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_SECONDS:
                last = time.monotonic()
                self.stdout.write(f"{done:,} drawings")
                self.stdout.flush()

        with path.open("wb") as file:
            return export_dataset(form, file, progress)
