"""Export: writes accepted drawings in one of the formats."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from training.exchange.examples import BATCH, Example, TransferCount, accepted_examples
from training.exchange.formats import Format

Progress = Callable[[int], None]
"""Callback with the number of drawings done."""


def export_dataset(form: Format, out: BinaryIO, progress: Progress | None = None) -> TransferCount:
    """Write every accepted drawing that the format can hold; return the counts.

    A drawing is exported with its 28×28 input, its ink if the format has it, its label, and the model's answer. Owner,
    id and time are left out: on a small site the day alone could identify the owner.

    Args:
        form: the format.
        out: seekable; its position is left at the end of the data.
        progress: called every `BATCH` drawings.

    Raises:
        ExchangeError: there are more drawings than the format can hold.
    """
    tally = TransferCount()
    form.write(_exportable(form, tally, progress), out)
    return tally


def _exportable(form: Format, tally: TransferCount, progress: Progress | None) -> Iterator[Example]:
    for number, example in enumerate(accepted_examples(ink=form.ink), 1):
        if form.holds(example):
            tally.digits[example.digit] += 1
            yield example
        else:
            tally.left_out += 1
        if progress and number % BATCH == 0:
            progress(number)
