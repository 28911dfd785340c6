"""Explains an answer of the network by occlusion: erase ink, read again, and see which ink supported the answer.

LiteRT has no gradients, so this is occlusion (M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional
Networks", ECCV 2014), with patches that lie on the ink. A second pass starts without the most important patch of the
first: of two redundant parts of the ink, neither matters while the other is there. Each explanation is verified: the
network reads the drawing again without the marked ink. Quality and limits: docs/measurements/explain.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recognizer.engine import DigitModel, Reading
from recognizer.labels import DIGITS, digit_part, is_digit_part
from recognizer.preprocessing import INPUT_SIDE, ModelInput

Heat = npt.NDArray[np.float64]  # (28, 28)
Ink = npt.NDArray[np.bool_]  # (28, 28), mask of a part of the ink
Answers = npt.NDArray[np.float64]  # (n, ANSWER_SIZE), as the network gives them
Odds = npt.NDArray[np.float64]  # (n,), log-odds or their increase
Indices = npt.NDArray[np.intp]  # (n,), along an axis
Masks = npt.NDArray[np.float32]  # (n, 28, 28), 1 where ink is erased

PATCH_RADIUS = 3.0  # pixels of the input; a stroke is 2 to 3 pixels wide
PATCH_EDGE = 1.5  # pixels over which a patch fades
PATCHES = 28  # in the first pass, spread over all ink
PATCHES_AGAIN = 14  # in the second pass
SHARES = (0.1, 0.2, 0.3)  # of the ink, tried in this order until the answer changes
SOLID = 64  # of 255: minimum level of ink that patches are centred on

LEAST = 1e-7  # lower limit of the probability of being a digit, or not; float32 cannot resolve less near 1
TINY = 1e-12  # lower limit of other probabilities

SMALLEST_BOX = 12  # pixels; in narrower drawings, left and right mean nothing
PLACES = ("upper left", "top", "upper right", "left", "middle", "right", "lower left", "bottom", "lower right")


@dataclass(frozen=True, slots=True)
class Erasure:
    """A part of the ink, and the reading without it."""

    ink: Ink
    share: float  # minimum share of all ink
    reading: Reading


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of a reading.

    `heat` is `(28, 28)`: 1 where the ink supports the answer most, 0 where it does not support it and where there is no
    ink. For the verdict `not_a_digit`, the answer is "not a digit".
    """

    reading: Reading
    heat: Heat
    marked: Erasure  # the hottest ink, the smallest share that changes the answer, else the largest tried
    places: list[tuple[str, float]]  # parts of the drawing with their share of the marked ink, largest first
    runner_up: int  # the most likely digit except the answer
    overtaking: Erasure | None  # ink without which the model answers the runner-up, if found


def explain(model: DigitModel, image: ModelInput) -> Explanation:
    """Explain the reading of an input `(28, 28)` uint8, with at most 64 runs of the network."""
    reading = model.read(image)
    digit, probabilities = reading.digit, reading.probabilities
    runner_up = max((other for other in DIGITS if other != digit), key=probabilities.__getitem__)
    first = _erase_each(model, image, PATCHES)
    speaking = _heat(model, image, first, lambda answers: -_log_odds(answers, digit))
    against = _heat(model, image, first, lambda answers: _log_odds(answers, runner_up))
    marked = _first(model, image, speaking, lambda answer: answer != digit)
    overtaking = _first(model, image, against, lambda answer: answer == runner_up)
    return Explanation(
        reading=reading,
        heat=speaking.clip(0) / max(speaking.max(), LEAST),
        marked=marked,
        places=_places(image, marked.ink),
        runner_up=runner_up,
        overtaking=overtaking if overtaking.reading.digit == runner_up else None,
    )


def _log_odds(answers: Answers, digit: int | None) -> Odds:
    """Return the log-odds of being this digit, or not a digit: `(n,)`. Probabilities near 1 would hardly change."""
    is_digit = is_digit_part(answers).clip(LEAST, 1 - LEAST)
    if digit is None:
        none: Odds = np.log((1 - is_digit) / is_digit)
        return none
    others = digit_part(answers).sum(axis=1) - answers[:, digit]
    this: Odds = np.log((is_digit * answers[:, digit]).clip(TINY) / (1 - is_digit + is_digit * others))
    return this


def _erase_each(model: DigitModel, image: ModelInput, patches: int) -> tuple[Masks, Answers]:
    """Erase nothing, then one patch at a time, spread over all ink; return the masks and the answers."""
    centres = _far_apart(np.argwhere(image >= min(SOLID, max(image.max(), 1))), patches)
    squares = (np.arange(INPUT_SIDE, dtype=np.float32) - centres[:, :, None].astype(np.float32)) ** 2
    distances = np.sqrt(squares[:, 0, :, None] + squares[:, 1, None, :])
    masks = np.zeros((1 + len(centres), *image.shape), np.float32)
    masks[1:] = ((PATCH_RADIUS - distances) / PATCH_EDGE + 0.5).clip(0, 1)
    return masks, np.array([model.probabilities(part) for part in _without(image, masks)], np.float64)


def _without(image: ModelInput, masks: Masks) -> npt.NDArray[np.uint8]:
    rest: npt.NDArray[np.uint8] = np.rint(image * (1 - masks)).astype(np.uint8)
    return rest


def _far_apart(points: npt.NDArray[np.intp], most: int) -> npt.NDArray[np.intp]:
    """Return at most `most` points, each the farthest from those before (T. F. Gonzalez 1985): `(≤ most, 2)`."""
    if not len(points):
        return points
    chosen = [int(((points - points.mean(axis=0)) ** 2).sum(axis=1).argmax())]
    distances = ((points - points[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < min(most, len(points)):
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, ((points - points[chosen[-1]]) ** 2).sum(axis=1))
    return points[chosen]


def _heat(model: DigitModel, image: ModelInput, first: tuple[Masks, Answers], odds: Callable[[Answers], Odds]) -> Heat:
    """Return the heat map of both passes; the patch erased before the second pass gets that pass's maximum added."""
    heat = _spread(first, odds)
    best = first[0][odds(first[1]).argmax()]
    again = _spread(_erase_each(model, _without(image, best), PATCHES_AGAIN), odds)
    return (heat + np.where(best > 0.5, again.max(), again)) * (image > 0)


def _spread(erased: tuple[Masks, Answers], odds: Callable[[Answers], Odds]) -> Heat:
    """Return for each pixel the mean increase of the log-odds over the patches that cover it."""
    masks, answers = erased
    rises = odds(answers) - odds(answers[:1])
    spread: Heat = np.tensordot(rises, masks, 1) / (masks.sum(axis=0) + 1e-3)
    return spread


def _first(model: DigitModel, image: ModelInput, heat: Heat, is_it: Callable[[int | None], bool]) -> Erasure:
    """Erase increasing shares of the hottest ink until the answer satisfies `is_it`, or none is left to try."""
    for share in SHARES:
        erasure = _erase(model, image, heat, share)
        if is_it(erasure.reading.digit):
            break
    return erasure


def _erase(model: DigitModel, image: ModelInput, heat: Heat, share: float) -> Erasure:
    """Erase a share of the ink, hottest first, and read the rest."""
    order = np.argsort(-heat[image > 0], kind="stable")
    mass = image[image > 0][order].cumsum(dtype=np.int64)
    ranks = np.empty(len(order), np.intp)
    ranks[order] = np.arange(len(order))
    ink = np.zeros(image.shape, np.bool_)
    ink[image > 0] = ranks <= np.searchsorted(mass, share * image.sum(dtype=np.int64))
    return Erasure(ink, share, model.read(np.where(ink, 0, image).astype(np.uint8)))


def _places(image: ModelInput, ink: Ink) -> list[tuple[str, float]]:
    """Return the ninths of the drawing's box that contain `ink`, as (name, share of that ink), largest first."""
    rows, columns = np.nonzero(ink)
    ninths = 3 * _third(rows, np.nonzero(image)[0]) + _third(columns, np.nonzero(image)[1])
    mass = np.bincount(ninths, weights=image[ink], minlength=len(PLACES))
    return [(PLACES[ninth], float(mass[ninth] / mass.sum())) for ninth in np.argsort(-mass) if mass[ninth] > 0]


def _third(places: Indices, inked: Indices) -> Indices:
    """Return the third (0, 1 or 2) of the ink's extent along an axis for each place."""
    if not len(inked):
        return places
    length = max(int(np.ptp(inked)) + 1, SMALLEST_BOX)
    start = (int(inked.min()) + int(inked.max()) + 1 - length) / 2
    return ((places - start) * 3 // length).astype(np.intp)
