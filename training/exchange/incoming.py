"""Import: stores the labelled digits of a file as submissions with accepted corrections."""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import transaction
from django.utils.timezone import now

from recognizer import submissions
from recognizer.models import IMPORTED, Correction
from recognizer.owners import Owner
from training.exchange.examples import BATCH, LIMITS, POINTS, Example, ExchangeError, TransferCount
from training.exchange.formats import Format, guess_format

Progress = Callable[[int, int], None]
"""Callback with the number of drawings done, and the total."""

Known = set[bytes]
"""Digests of (input, label) of accepted drawings."""


@dataclass(frozen=True, slots=True)
class Import:
    """Result of an import; `tally.left_out` counts drawings that existed already."""

    owner: uuid.UUID
    tally: TransferCount


def import_dataset(
    file: BinaryIO,
    form: Format | None = None,
    by: AbstractBaseUser | AnonymousUser | None = None,
    rows: int = LIMITS.rows,
    progress: Progress | None = None,
) -> Import:
    """Read each drawing of a file with the active model, and store it with an accepted correction.

    All drawings belong to one new anonymous owner. So training treats an import as one person: it is on one side of
    the split by owner, and its share of the samples is capped. Nobody has that owner's cookie; staff find and delete an
    import by its owner's id.

    A 28×28 input is left out if it was already accepted with the same label, on the site or earlier in the file. The
    whole file is read and checked before anything is stored; if storing fails later, it is undone.

    Args:
        file: seekable; read twice.
        form: the format; detected if None.
        by: the user who vouches for the labels, if any.
        rows: maximum number of drawings.
        progress: called after every batch.

    Raises:
        ExchangeError: the file has another format, is damaged, or exceeds the limits.
        ModelRefusedError: no model serves.
    """
    form, total = _check(file, form, rows)
    done = Import(uuid.uuid4(), TransferCount())
    known = _known()
    try:
        for batch in _batches(form.read(file)):
            _store(batch, done, by, known)
            if progress:
                progress(done.tally.total + done.tally.left_out, total)
    except BaseException:  # never keep a partial import
        submissions.delete_all(Owner(session=done.owner))
        raise
    return done


def _check(file: BinaryIO, form: Format | None, rows: int) -> tuple[Format, int]:
    """Read the whole file without storing anything; return its format and the number of drawings."""
    try:
        form = form or guess_format(file)
        return form, _count(form.read(file), rows)
    except ExchangeError:
        raise
    except Exception as error:
        # Hostile files make the readers raise many kinds of errors (BadZipFile, zlib.error, EOFError, struct.error, …),
        # and all of them mean the same to the sender.
        what = form.name if form else "zip"
        raise ExchangeError(f"The file is damaged or is not in the {what} format ({type(error).__name__}).") from error


def _count(examples: Iterator[Example], rows: int) -> int:
    count = 0
    for count, example in enumerate(examples, 1):
        if count > rows:
            raise ExchangeError(f"The file has more than {rows:,} drawings.")
        if not example.drawing.input.any():
            raise ExchangeError(f"Drawing {count} has no ink.")
    if not count:
        raise ExchangeError("The file has no drawings.")
    return count


def _batches(examples: Iterator[Example]) -> Iterator[list[Example]]:
    """Split the drawings into batches that fit into memory."""
    batch: list[Example] = []
    points = 0
    for example in examples:
        batch.append(example)
        points += sum(map(len, example.drawing.ink["strokes"])) if example.drawing.ink else 0
        if len(batch) == BATCH or points >= POINTS:
            yield batch
            batch, points = [], 0
    if batch:
        yield batch


def _known() -> Known:
    accepted = Correction.objects.standing().filter(state=Correction.State.ACCEPTED).order_by()
    rows = accepted.values_list("digit", "submission__input").iterator(chunk_size=BATCH)
    return {_digest(digit, bytes(image)) for digit, image in rows}


def _digest(digit: int | None, image: bytes) -> bytes:
    return hashlib.blake2b(image + str(digit).encode(), digest_size=16).digest()


def _store(batch: list[Example], done: Import, by: AbstractBaseUser | AnonymousUser | None, known: Known) -> None:
    """Read the new drawings with the model, then store them in one short transaction that does not block the site."""
    new = [example for example in batch if _is_new(example, known)]
    owner = Owner(session=done.owner)
    answers = [submissions.read(example.drawing) for example in new]
    with transaction.atomic():
        Correction.objects.bulk_create(
            Correction(
                submission=submissions.store(example.drawing, answer, owner),
                digit=example.digit,
                state=Correction.State.ACCEPTED,
                session=owner.session,
                confidence=answer.reading.confidence,
                triage=IMPORTED,
                decided=now(),
                decided_by_id=by.pk if by else None,
            )
            for example, answer in zip(new, answers, strict=True)
        )
    done.tally.digits.update(example.digit for example in new)
    done.tally.left_out += len(batch) - len(new)


def _is_new(example: Example, known: Known) -> bool:
    digest = _digest(example.digit, example.drawing.input.tobytes())
    if digest in known:
        return False
    known.add(digest)
    return True
