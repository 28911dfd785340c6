"""The examples that are exchanged: a drawing and its label, without owner and time; and the limits of a file."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from django.conf import settings
from django.db.models import TextField
from django.db.models.functions import Cast

from recognizer.labels import LABELS, Label, word
from recognizer.models import Correction
from recognizer.preprocessing import INPUT_SIDE, ModelInput
from recognizer.submissions import Drawing

BATCH = 500  # rows in memory at a time …
INK_BATCH = 50  # … and with ink: old ink, stored before its size was bounded, takes half a megabyte each
POINTS = 100_000  # of ink that an import collects before it stores a batch; a point takes about 100 bytes
LONGEST_MESSAGE = 200  # characters; it may quote numbers and names from the file


@dataclass(frozen=True, slots=True)
class ExchangeLimits:
    """Limits of a file, which may be hostile. Sizes are in bytes after decompression."""

    rows: int = 1_000_000
    uploaded_rows: int = 20_000  # through the site: the browser waits about half a minute while they are read
    pictures: int = 100_000  # in a zip, whose central directory is held in memory
    picture: int = 16 * 1024  # a 28×28 PNG is a few hundred bytes
    table: int = 32 * 1024**2  # labels.csv
    table_line: int = 4_096  # characters per line of labels.csv
    line: int = 2 * 1024**2  # of ndjson: twice the longest drawing that the site accepts


LIMITS = ExchangeLimits()


class ExchangeError(ValueError):
    """A file cannot be read or written; the message says why in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…")


@dataclass(frozen=True, slots=True)
class Example:
    """A drawing and its label."""

    digit: Label
    drawing: Drawing
    answer: Label = None  # the site model's answer; set on export only
    model_version: int | None = None  # of the model that gave the answer


@dataclass(slots=True)
class TransferCount:
    """Number of transferred drawings by label, and of those left out."""

    digits: Counter[Label] = field(default_factory=Counter)
    left_out: int = 0

    @property
    def total(self) -> int:
        return self.digits.total()

    def __str__(self) -> str:
        counts = ", ".join(f"{word(label)}: {self.digits[label]:,}" for label in LABELS)
        return f"{self.total:,} drawings ({counts})"


def accepted_examples(ink: bool) -> Iterator[Example]:
    """Yield every drawing whose standing correction is accepted, with its ink if `ink` is set.

    The order is by a keyed hash of the submission's id. It is stable, and without the key nobody can restore the order
    of drawing, in which one owner's drawings are adjacent.
    """
    ids, step = _shuffled_ids(), INK_BATCH if ink else BATCH
    for start in range(0, len(ids), step):
        batch: list[int] = ids[start : start + step].tolist()
        found = {row["submission_id"]: row for row in _rows(batch, ink) if row["state"] == Correction.State.ACCEPTED}
        yield from (_example(found[pk]) for pk in batch if pk in found)  # some may have been deleted in the meantime


def _shuffled_ids() -> npt.NDArray[np.int64]:
    rows = Correction.objects.standing().filter(state=Correction.State.ACCEPTED).order_by()
    column = rows.values_list("submission_id", flat=True).iterator(chunk_size=10_000)
    ids = np.fromiter(column, np.int64)
    key = hashlib.sha256(b"order of exported drawings" + settings.SECRET_KEY.encode()).digest()
    places = (hashlib.blake2b(pk.to_bytes(8, "big"), key=key, digest_size=8).digest() for pk in ids.tolist())
    order = np.argsort(np.fromiter((int.from_bytes(place, "big") for place in places), np.uint64, len(ids)))
    shuffled: npt.NDArray[np.int64] = ids[order]
    return shuffled


def _rows(submissions: list[int], ink: bool) -> Any:
    """Fetch only the exported columns, so that no owner or time can leak.

    The query does not filter by state: SQLite would use that index and scan all accepted rows for each batch.
    """
    return (
        Correction.objects.standing()
        .filter(submission_id__in=submissions)
        .values(
            "submission_id",
            "state",
            "digit",
            "submission__input",
            "submission__digit",
            "submission__model_version__version",
            **({"ink": Cast("submission__ink", TextField())} if ink else {}),
        )
    )


def _example(row: dict[str, Any]) -> Example:
    image: ModelInput = np.frombuffer(row["submission__input"], np.uint8).reshape(INPUT_SIDE, INPUT_SIDE)
    ink = row.get("ink")
    drawing = Drawing(image, ink=ink and orjson.loads(ink))  # one at a time: parsed ink takes ten times the memory
    return Example(row["digit"], drawing, row["submission__digit"], row["submission__model_version__version"])
