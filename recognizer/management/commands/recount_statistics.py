"""`recount_statistics`: update the counts behind the statistics."""

from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from recognizer import counting


class Command(BaseCommand):
    help = "Recount the days that have changed, as the schedule does every half hour."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--all", action="store_true", help="all days, not only changed ones")

    def handle(self, *args: Any, **options: Any) -> None:
        days = counting.recount(whole=options["all"], progress=self._show if self.stdout.isatty() else None)
        self.stdout.write(f"Counted {days} {'day' if days == 1 else 'days'}.")

    def _show(self, day: date) -> None:
        self.stdout.write(f"{day}\r", ending="")
