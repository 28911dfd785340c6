"""The accepted drawings of a digit that are most like a drawing, among those that the asker may see, else MNIST's."""

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

MOST = 4
NEWEST = 2000  # of the drawings that the asker may see: so far back is searched, however many there are


class Source(TextChoices):
    """Where a drawing is from."""

    YOURS = "yours"
    ACCEPTED = "accepted"  # somebody's; only staff see those
    MNIST = "mnist"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A drawing of the same digit, and how alike the two are: 0…1."""

    input: ModelInput
    source: Source
    similarity: float
    submission: int | None = None  # None: MNIST's


def nearest_drawings(image: ModelInput, digit: int | None, owner: Owner, leave_out: int) -> list[Neighbour]:
    """Find the drawings most like an input among those accepted as a digit, or as none: at most `MOST`.

    What the owner may see comes first, but for the submission to leave out; where that is fewer, MNIST's test digits
    follow if this host has them. The most alike of each come first.
    """
    rows = _accepted(digit, owner, leave_out)
    inputs = np.frombuffer(b"".join(content for _, content, _ in rows), np.uint8).reshape(-1, *image.shape)
    seen = [
        Neighbour(inputs[place], _source(rows[place][2], owner), similarity, rows[place][0])
        for place, similarity in _most_alike(image, signatures(inputs), MOST)
    ]
    return seen + _from_mnist(image, digit, MOST - len(seen))


def _accepted(digit: int | None, owner: Owner, leave_out: int) -> list[tuple[int, bytes, int | None]]:
    """Fetch number, input and account of what was accepted among the newest that an owner may see."""
    newest = Submission.objects.visible_to(owner).exclude(pk=leave_out).order_by("-pk").values("pk")[:NEWEST]
    accepted = Correction.objects.standing().filter(submission__in=newest, state=Correction.State.ACCEPTED, digit=digit)
    rows = accepted.order_by().values_list("submission", "submission__input", "submission__account")
    return [(pk, bytes(content), account) for pk, content, account in rows]


def _source(account: int | None, owner: Owner) -> Source:
    return Source.ACCEPTED if owner.is_staff and account != owner.account else Source.YOURS


def _most_alike(image: ModelInput, signed: Signatures, most: int) -> list[tuple[int, float]]:
    """Return the places of the most similar, with their similarities, the most alike first."""
    alike = signed @ signatures(image[None])[0]
    return [(int(place), float(alike[place])) for place in np.argsort(-alike, kind="stable")[:most]]


def _from_mnist(image: ModelInput, digit: int | None, most: int) -> list[Neighbour]:
    """Find MNIST's test digits most like an input; whatever keeps them from being read, there are none."""
    if digit is None or not most:
        return []
    try:
        folder = find_mnist()
        if folder is None:
            return []
        digits, signed = _test_digits(folder)
    except (MnistError, OSError):
        return []
    images, of_it = digits.images[digits.labels == digit], signed[digits.labels == digit]
    return [Neighbour(images[place], Source.MNIST, alike) for place, alike in _most_alike(image, of_it, most)]


@lru_cache(maxsize=1)
def _test_digits(folder: Path) -> tuple[Digits, Signatures]:
    """Read and sign them once per process: 16 MB. In parts, for of all at once the float copies would stay behind."""
    digits = load_test_digits(folder)
    return digits, np.concatenate([signatures(part) for part in np.array_split(digits.images, 40)])
