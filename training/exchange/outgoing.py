"""Out of the site: what was accepted, in one of the formats."""

from collections.abc import Callable, Iterator
from typing import BinaryIO

from training.exchange.examples import BATCH, Example, TransferCount, accepted_examples
from training.exchange.formats import Format

Progress = Callable[[int], None]
"""Is told now and then how many drawings are done."""


def export_dataset(form: Format, out: BinaryIO, progress: Progress | None = None) -> TransferCount:
    """Write every drawing whose label was accepted and that the format can hold; say how many of each there were.

    What goes out is the 28×28 input, the ink where the format has it, the label, and what the model said. No owner, no
    id and no time: a day alone would part a small site's drawings by owner.

    Args:
        out: seekable, and left where the writing ended.

    Raises:
        ExchangeError: there are more than the format should hold.
    """
    tally = TransferCount()
    form.write(_held(form, tally, progress), out)
    return tally


def _held(form: Format, tally: TransferCount, progress: Progress | None) -> Iterator[Example]:
    for number, example in enumerate(accepted_examples(ink=form.ink), 1):
        if form.holds(example):
            tally.digits[example.digit] += 1
            yield example
        else:
            tally.left_out += 1
        if progress and number % BATCH == 0:
            progress(number)
