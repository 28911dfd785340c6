"""Nearest neighbours of a drawing: accepted drawings that the owner may see, filled up with MNIST digits."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from django.db.models import TextChoices

from recognizer.mnist import Digits, MnistError, find_mnist, load_test_digits
from recognizer.models import Correction, Submission
from recognizer.owners import Owner
from recognizer.preprocessing import ModelInput
from recognizer.similarity import Signatures, signatures

MOST = 4  # neighbours
NEWEST = 2000  # most recent drawings that are searched


class Source(TextChoices):
    """Where a neighbour comes from."""

    YOURS = "yours"
    ACCEPTED = "accepted"  # another owner's; only staff see those
    MNIST = "mnist"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A drawing of the same digit, with its similarity, 0…1."""

    input: ModelInput
    source: Source
    similarity: float
    submission: int | None = None  # primary key; None for MNIST


def nearest_drawings(image: ModelInput, digit: int | None, owner: Owner, leave_out: int) -> list[Neighbour]:
    """Return at most `MOST` drawings most similar to an input, among those accepted with the same label.

    Drawings that the owner may see come first, except the submission `leave_out`. If there are too few, MNIST test
    digits follow, if this host has them. Each group is sorted by similarity, highest first.
    """
    rows = _accepted(digit, owner, leave_out)
    inputs = np.frombuffer(b"".join(content for _, content, _ in rows), np.uint8).reshape(-1, *image.shape)
    seen = [
        Neighbour(inputs[place], _source(rows[place][2], owner), similarity, rows[place][0])
        for place, similarity in _closest(image, signatures(inputs), MOST)
    ]
    return seen + _from_mnist(image, digit, MOST - len(seen))


def _accepted(digit: int | None, owner: Owner, leave_out: int) -> list[tuple[int, bytes, int | None]]:
    """Fetch (primary key, input, account) of accepted drawings among the newest that an owner may see."""
    newest = Submission.objects.visible_to(owner).exclude(pk=leave_out).order_by("-pk").values("pk")[:NEWEST]
    accepted = Correction.objects.standing().filter(submission__in=newest, state=Correction.State.ACCEPTED, digit=digit)
    rows = accepted.order_by().values_list("submission", "submission__input", "submission__account")
    return [(pk, bytes(content), account) for pk, content, account in rows]


def _source(account: int | None, owner: Owner) -> Source:
    return Source.ACCEPTED if owner.is_staff and account != owner.account else Source.YOURS


def _closest(image: ModelInput, signed: Signatures, most: int) -> list[tuple[int, float]]:
    """Return (index, similarity) of the most similar drawings, highest similarity first."""
    similarity = signed @ signatures(image[None])[0]
    return [(int(place), float(similarity[place])) for place in np.argsort(-similarity, kind="stable")[:most]]


def _from_mnist(image: ModelInput, digit: int | None, most: int) -> list[Neighbour]:
    """Return the MNIST test digits most similar to an input; an empty list if MNIST cannot be read."""
    if digit is None or not most:
        return []
    try:
        folder = find_mnist()
        if folder is None:
            return []
        digits, signed = _test_digits(folder)
    except (MnistError, OSError):
        return []
    images, of_digit = digits.images[digits.labels == digit], signed[digits.labels == digit]
    return [Neighbour(images[place], Source.MNIST, similarity) for place, similarity in _closest(image, of_digit, most)]


@lru_cache(maxsize=1)
def _test_digits(folder: Path) -> tuple[Digits, Signatures]:
    """Load the test digits with their signatures, once per process: 16 MB.

    The signatures are computed in parts, because float copies of all digits at once would stay in memory.
    """
    digits = load_test_digits(folder)
    return digits, np.concatenate([signatures(part) for part in np.array_split(digits.images, 40)])
