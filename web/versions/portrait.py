"""The data of a version's page: its metrics, errors, training data, files, ancestors and descendants.

Numbers that a version does not have are None, and the page says so.
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

ANCESTORS = 9  # shown at most
DESCENDANTS = 12  # shown at most
SEARCH_LIMIT = 500  # older versions that are searched for ancestors
PICTURES = 24  # changed test digits shown at most

WARMTH_STEPS = (1, 2, 4, 8)  # number of wrong answers at which a cell of the confusion matrix gets warmer


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the confusion matrix."""

    count: int
    style: str  # "right", "none", or "warm-1" to "warm-4"


@dataclass(frozen=True, slots=True)
class DigitRow:
    """One digit of MNIST's test set: its recall and the answers it got."""

    digit: int
    n: int
    wrong: int
    recall: str
    bar: SafeString  # number of errors; full for the worst digit
    cells: list[Cell]  # one per answer


@dataclass(frozen=True, slots=True)
class Change:
    """One MNIST test digit whose answer changed."""

    place: int
    label: int
    before: str
    after: str
    kind: str  # won, lost, other
    picture: str | None  # None: this host has no MNIST


@dataclass(frozen=True, slots=True)
class ChangedDigits:
    """Differences in the answers of a version and the version it was tuned from."""

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
    """Number of people's drawings of one label in the training data."""

    label: str
    corrections: int
    confirmations: int


@dataclass(frozen=True, slots=True)
class File:
    """A downloadable file of a version."""

    kind: str
    purpose: str
    address: str
    size: str
    sha256: str


def headline(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the overall metrics on MNIST's test set, as pairs of name and value."""
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
    """Return how many of people's drawings trained and evaluated a version, by purpose."""
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
    """Return the files of a version that are still stored, without loading their bytes."""
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
    """Return the confusion matrix on MNIST's test set row by row; None if it was not measured."""
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
    return f"warm-{sum(count >= heat for heat in WARMTH_STEPS)}" if count else "none"


def recalls(metrics: dict[str, Any]) -> list[tuple[int, str]]:
    """Return the recall of each digit, which the page shows if there is no confusion matrix."""
    return [(digit, percent(share, 2)) for digit, share in enumerate(metrics.get("mnist_test", {}).get("recall", []))]


def reliability(metrics: dict[str, Any]) -> SafeString | None:
    """Draw the reliability diagram on MNIST's test set; None if it was not measured."""
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
    """Return the MNIST test digits whose answer changed since the parent version; None if not measured."""
    told = metrics.get("mnist_test", {}).get("changes")
    if told is None:
        return None
    rows = _choose_shown(told["digits"])
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


def _choose_shown(digits: Sequence[Sequence[int]]) -> list[Sequence[int]]:
    """Choose at most `PICTURES` changed digits, about equally many of each kind, won ones first."""
    kinds: dict[str, list[Sequence[int]]] = {"won": [], "lost": [], "other": []}
    for row in digits:
        kinds[_kind(*row[1:])].append(row)
    share = PICTURES // len(kinds)
    chosen = {kind: rows[:share] for kind, rows in kinds.items()}
    for kind, rows in kinds.items():  # fill the places that kinds with few digits leave free
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
    """Return pictures of digits of MNIST's test set; empty if the set is missing or unreadable."""
    try:
        folder = find_mnist()
        return _read_pictures(folder, places) if folder and places else {}
    except (MnistError, OSError):
        return {}


@lru_cache(maxsize=32)
def _read_pictures(folder: Path, places: tuple[int, ...]) -> dict[int, str]:
    """Read the test set and cache only these pictures, about 10 KB per version."""
    images = load_test_digits(folder).images
    return {place: png_data_url(images[place]) for place in places if place < len(images)}


def taught(lineage: dict[str, Any]) -> list[Taught]:
    """Return the number of people's drawings in the training data by label and kind, as counted when the version was
    made; nothing tells whose they were.
    """
    counts = lineage.get("drawings", {})
    corrections, confirmations = counts.get("corrections_of", {}), counts.get("confirmations_of", {})
    names = {word: labels.name(label) for word, label in labels.WORDS.items()}
    rows = [Taught(name, corrections.get(key, 0), confirmations.get(key, 0)) for key, name in names.items()]
    return rows if corrections or confirmations else []


def losses(run: TrainingRun) -> SafeString | None:
    """Draw a run's mean loss by epoch; None if it has none."""
    values = [loss for loss in run.losses if loss is not None]
    if not values:
        return None
    told = "; ".join(
        _("epoch %(epoch)s: %(loss)s") % {"epoch": n, "loss": decimal(v, 4)} for n, v in enumerate(values, 1)
    )
    return charts.loss_chart(values, _("Mean loss of each epoch"), told)


def ancestors(version: ModelVersion) -> list[int | None]:
    """Return the version numbers of a version's ancestors, oldest first, in one query.

    A long line is shortened to `ANCESTORS` versions, the first and the latest, with None for the gap.
    """
    if version.parent_id is None:
        return []
    older = ModelVersion.objects.filter(version__lt=version.version).order_by("-version")
    rows = {pk: (number, parent) for pk, number, parent in older.values_list("pk", "version", "parent")[:SEARCH_LIMIT]}
    line: list[int | None] = []
    above: int | None = version.parent_id
    while above in rows:
        number, above = rows[above]
        line.insert(0, number)
    return line if len(line) <= ANCESTORS else [line[0], None, *line[1 - ANCESTORS :]]


def descendants(version: ModelVersion) -> list[int]:
    """Return the numbers of the versions tuned from this one, newest first, `DESCENDANTS` at most."""
    return list(version.children.order_by("-version").values_list("version", flat=True)[:DESCENDANTS])
