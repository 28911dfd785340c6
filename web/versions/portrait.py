"""One version as its page shows it: how it was judged, what it reads wrong, what it learned, and from whom it descends.

Numbers that a version came without are None, and the page says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from recognizer import labels
from recognizer.mnist import MnistError, find_mnist, load_test_digits
from recognizer.models import ModelFile, ModelVersion
from training.evaluation import CalibrationBin
from training.models import TrainingRun
from web.api.presentation import png_data_url
from web.numbers import decimal, kilobytes, percent
from web.versions import charts

ANCESTORS = 9  # at most, in the line of descent
DESCENDANTS = 12
LOOKED_THROUGH = 500  # versions, for the ancestors
PICTURES = 24  # digits shown that are answered differently now

HEATS = (1, 2, 4, 8)  # wrong answers in a cell of the confusion matrix from which on it is warmer


@dataclass(frozen=True, slots=True)
class Cell:
    """How often a digit was answered so."""

    count: int
    style: str  # right, none, or how warm


@dataclass(frozen=True, slots=True)
class DigitRow:
    """One digit of MNIST's test set: how often it is what is answered, and what is answered instead."""

    digit: int
    n: int
    wrong: int
    recall: str
    bar: SafeString  # of the wrong ones, the worst digit's being full
    cells: list[Cell]  # one for each label


@dataclass(frozen=True, slots=True)
class Change:
    """One of MNIST's digits that is answered differently than before."""

    place: int
    label: int
    before: str
    after: str
    kind: str  # won, lost, other
    picture: str | None  # None: this host has no MNIST


@dataclass(frozen=True, slots=True)
class ChangedDigits:
    """Where a version differs from the one that it was tuned from."""

    before: int
    won: int
    lost: int
    other: int
    shown: list[Change]

    @property
    def n(self) -> int:
        return self.won + self.lost + self.other


@dataclass(frozen=True, slots=True)
class Taught:
    """How many of people's drawings of one label went in."""

    label: str
    corrections: int
    confirmations: int


@dataclass(frozen=True, slots=True)
class File:
    """What can be downloaded of a version."""

    kind: str
    purpose: str
    address: str
    size: str
    sha256: str


def headline(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what was measured on MNIST's test set as a whole, by name."""
    mnist = metrics.get("mnist_test", {})
    names = {
        "accuracy": _("Accuracy"),
        "sure": _("Sure answers"),
        "sure_right": _("Right when sure"),
        "ece": _("Calibration error"),
    }
    counted = [(_("Digits"), decimal(mnist["n"]))] if "n" in mnist else []
    return [(name, percent(mnist[key], 2)) for key, name in names.items() if key in mnist] + counted


def drawings(lineage: dict[str, Any]) -> list[tuple[str, str]]:
    """Return how many of people's drawings a version was made and judged with, by what they were for."""
    counts = lineage.get("drawings", {})
    names = {
        "train": _("Learned"),
        "corrections": _("Corrections"),
        "confirmations": _("Confirmations"),
        "validation": _("Validation"),
        "holdout": _("Holdout"),
        "owners": _("People"),
    }
    numbers = [(name, decimal(counts[key])) for key, name in names.items() if key in counts]
    share = counts.get("labels_share")
    return numbers if share is None else [*numbers, (_("Share of training data"), percent(share, 0))]


def files(version: ModelVersion) -> list[File]:
    """Return the files of a version that are still kept, without their bytes."""
    purposes = {
        ModelFile.Kind.ARTIFACT: _("the model that serves"),
        ModelFile.Kind.CHECKPOINT: _("to continue training from"),
    }
    calls = {ModelFile.Kind.ARTIFACT: "artifact", ModelFile.Kind.CHECKPOINT: "checkpoint"}
    rows = version.files.order_by("-kind").values_list("kind", "size", "sha256")
    return [
        File(kind, purposes[kind], reverse(calls[kind], args=[version.version]), kilobytes(size), sha256)
        for kind, size, sha256 in ((ModelFile.Kind(kind), size, sha256) for kind, size, sha256 in rows)
    ]


def digit_rows(metrics: dict[str, Any]) -> list[DigitRow] | None:
    """Tell the confusion matrix digit by digit."""
    matrix = metrics.get("mnist_test", {}).get("confusion")
    if not matrix:
        return None
    wrong = [sum(row) - row[digit] for digit, row in enumerate(matrix)]
    return [
        DigitRow(
            digit=digit,
            n=sum(row),
            wrong=wrong[digit],
            recall=percent(row[digit] / sum(row), 2) if sum(row) else "–",
            bar=charts.bar(wrong[digit] / max(1, *wrong)),
            cells=[Cell(count, "right" if answer == digit else _warmth(count)) for answer, count in enumerate(row)],
        )
        for digit, row in enumerate(matrix)
    ]


def _warmth(count: int) -> str:
    return f"warm-{sum(count >= heat for heat in HEATS)}" if count else "none"


def recalls(metrics: dict[str, Any]) -> list[tuple[int, str]]:
    """Return each digit's recall where that is all that was measured."""
    return [(digit, percent(share, 2)) for digit, share in enumerate(metrics.get("mnist_test", {}).get("recall", []))]


def reliability(metrics: dict[str, Any]) -> SafeString | None:
    """Draw how often answers of a confidence are right on MNIST's test set."""
    rows = metrics.get("mnist_test", {}).get("reliability")
    if not rows:
        return None
    bins = [CalibrationBin(*row) for row in rows]
    said = "; ".join(
        _("%(n)s answers with %(confidence)s confidence: %(right)s right")
        % {"n": decimal(group.n), "confidence": percent(group.confidence, 0), "right": percent(group.right, 0)}
        for group in bins
    )
    return charts.reliability_chart(bins, _("Accuracy by confidence"), said)


def changes(metrics: dict[str, Any]) -> ChangedDigits | None:
    """Tell where MNIST's test set is answered differently than by the version before."""
    told = metrics.get("mnist_test", {}).get("changes")
    if told is None:
        return None
    rows = _spread(told["digits"])
    pictures = _pictures(tuple(place for place, *_ in rows))
    shown = [
        Change(
            place,
            label,
            _name(before),
            _name(after),
            _kind(label, before, after),
            pictures.get(place),
        )
        for place, label, before, after in rows
    ]
    return ChangedDigits(told["from"], told["won"], told["lost"], told["other"], shown)


def _spread(digits: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """Choose what is shown, of each kind about as many, those won first."""
    kinds: dict[str, list[Sequence[int]]] = {"won": [], "lost": [], "other": []}
    for row in digits:
        kinds[_kind(*row[1:])].append(row)
    share = PICTURES // len(kinds)
    chosen = {kind: rows[:share] for kind, rows in kinds.items()}
    for kind, rows in kinds.items():  # what one kind leaves free, the next ones fill
        free = PICTURES - sum(map(len, chosen.values()))
        chosen[kind] = rows[: len(chosen[kind]) + free]
    return [row for rows in chosen.values() for row in rows]


def _kind(label: int, before: int, after: int) -> str:
    if after == label:
        return "won"
    return "lost" if before == label else "other"


def _name(encoded: int) -> str:
    return labels.name(labels.decode(encoded))


def _pictures(places: tuple[int, ...]) -> dict[int, str]:
    """Show digits of MNIST's test set; whatever keeps it from being read, there are none."""
    try:
        folder = find_mnist()
        return _drawn(folder, places) if folder and places else {}
    except (MnistError, OSError):
        return {}


@lru_cache(maxsize=32)
def _drawn(folder: Path, places: tuple[int, ...]) -> dict[int, str]:
    """Read the test set, keep the few pictures: about 10 KB of a version."""
    images = load_test_digits(folder).images
    return {place: png_data_url(images[place]) for place in places if place < len(images)}


def taught(lineage: dict[str, Any]) -> list[Taught]:
    """Count what was learned by label and kind, as it was when the version was made; nothing tells whose it was."""
    counts = lineage.get("drawings", {})
    corrections, confirmations = counts.get("corrections_of", {}), counts.get("confirmations_of", {})
    names = {word: labels.name(label) for word, label in labels.WORDS.items()}
    rows = [Taught(name, corrections.get(key, 0), confirmations.get(key, 0)) for key, name in names.items()]
    return rows if corrections or confirmations else []


def losses(run: TrainingRun) -> SafeString | None:
    """Draw a run's loss by epoch."""
    values = [loss for loss in run.losses if loss is not None]
    if not values:
        return None
    told = "; ".join(
        _("epoch %(epoch)s: %(loss)s") % {"epoch": n, "loss": decimal(v, 4)} for n, v in enumerate(values, 1)
    )
    return charts.loss_chart(values, _("Mean loss of each epoch"), told)


def ancestors(version: ModelVersion) -> list[int | None]:
    """Return the numbers of those that a version descends from, the oldest first, in one query.

    Of a long line there are the first and the latest, `ANCESTORS` in all, and None between them.
    """
    if version.parent_id is None:
        return []
    older = ModelVersion.objects.filter(version__lt=version.version).order_by("-version")
    rows = {
        pk: (number, parent) for pk, number, parent in older.values_list("pk", "version", "parent")[:LOOKED_THROUGH]
    }
    line: list[int | None] = []
    above: int | None = version.parent_id
    while above in rows:
        number, above = rows[above]
        line.insert(0, number)
    return line if len(line) <= ANCESTORS else [line[0], None, *line[1 - ANCESTORS :]]


def descendants(version: ModelVersion) -> list[int]:
    """Return the numbers of those tuned from a version, the newest first, `DESCENDANTS` at most."""
    return list(version.children.order_by("-version").values_list("version", flat=True)[:DESCENDANTS])
