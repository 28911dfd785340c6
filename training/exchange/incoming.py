"""Into the site: labelled digits of a file become submissions with accepted corrections."""

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
from training.exchange.examples import BATCH, LIMITS, POINTS, Example, ExchangeError, Tally
from training.exchange.formats import Format, guess_format

Progress = Callable[[int, int], None]
"""Is told now and then how many drawings are done, and of how many."""

Known = set[bytes]
"""Digests of input and label of what is accepted already."""


@dataclass(frozen=True, slots=True)
class Import:
    """What came of an import; `tally.left_out` counts the drawings that were there already."""

    owner: uuid.UUID
    tally: Tally


def import_dataset(
    file: BinaryIO,
    form: Format | None = None,
    by: AbstractBaseUser | AnonymousUser | None = None,
    rows: int = LIMITS.rows,
    progress: Progress | None = None,
) -> Import:
    """Store a file's drawings, each read by the active model, each with an accepted correction.

    All of them belong to one new anonymous owner, whatever their number. So the training treats an import as one
    person: it is on one side of the split by owner, and its share of a training set is bounded. Nobody has that
    owner's cookie; staff find and delete an import by its owner's id.

    The same 28×28 input with the same label as one that is accepted already, here or earlier in the file, is left out.
    The whole file is read and checked once before anything is stored, and what fails later is taken back.

    Args:
        file: seekable; read twice.
        form: default: detected.
        by: who decided that the labels are right, if somebody is logged in.
        rows: the most drawings that are taken.

    Raises:
        ExchangeError: the file is not of the format, damaged, or beyond the limits.
        ModelRefusedError: no model serves.
    """
    form, total = _checked(file, form, rows)
    done = Import(uuid.uuid4(), Tally())
    known = _known()
    try:
        for batch in _batches(form.read(file)):
            _store(batch, done, by, known)
            if progress:
                progress(done.tally.total + done.tally.left_out, total)
    except BaseException:  # whatever it was, half an import is none
        submissions.delete_all(Owner(session=done.owner))
        raise
    return done


def _checked(file: BinaryIO, form: Format | None, rows: int) -> tuple[Format, int]:
    """Read the whole file and store nothing; return its format and how many drawings it holds."""
    try:
        form = form or guess_format(file)
        return form, _count(form.read(file), rows)
    except ExchangeError:
        raise
    except Exception as error:
        # Readers of hostile files raise whatever they trip over (BadZipFile, zlib.error, EOFError, struct.error, …),
        # and each of these means the same to whoever sent it.
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
    """Part drawings into those that are in memory together."""
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
    """Read the new ones with the model, then keep them in one short transaction: the site goes on meanwhile."""
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
