"""`import_dataset`: store the labelled digits of a file."""

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from recognizer.engine import ModelRefusedError
from training.exchange.examples import ExchangeError
from training.exchange.formats import FORMATS
from training.exchange.incoming import import_dataset

LINE_SECONDS = 10.0  # between two progress lines


class Command(BaseCommand):
    help = "Import a file's drawings with accepted labels, all owned by one new anonymous owner."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("format", choices=sorted(FORMATS), nargs="?", help="default: detected")
        parser.add_argument("--by", metavar="USERNAME", help="the account that vouches for the labels")

    def handle(self, *args: Any, **options: Any) -> None:
        path, form = Path(options["file"]), FORMATS.get(options["format"] or "")
        by = get_user_model().objects.filter(username=options["by"]).first() if options["by"] else None
        if options["by"] and by is None:
            raise CommandError(f"No account named {options['by']}.")
        if not path.is_file():
            raise CommandError(f"No file {path}.")
        last = time.monotonic()

        def progress(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last >= LINE_SECONDS:
                last = time.monotonic()
                self.stdout.write(f"{done:,} of {total:,} drawings")
                self.stdout.flush()

        try:
            with path.open("rb") as file:
                done = import_dataset(file, form, by, progress=progress)
        except (ExchangeError, ModelRefusedError, OSError) as error:
            raise CommandError(f"{path}: {error} Nothing was stored.") from error
        except DatabaseError as error:
            raise CommandError(f"The database failed: {error}") from error
        self.stdout.write(f"Stored {done.tally}, owner {done.owner}.")
        if done.tally.left_out:
            self.stdout.write(f"Skipped {done.tally.left_out:,} that were already stored.")
