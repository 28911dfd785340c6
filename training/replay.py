"""What keeps a fine-tune from forgetting: digits that the champion reads already, with its own answers as targets.

Three sources: MNIST's training digits, characters drawn by the bundled pen model, and scribbles. None of them is
anybody's drawing on this site.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recognizer.engine import DigitModel
from recognizer.preprocessing import Stroke, ink_to_input
from training.augment import Distortion, distort_image, distort_strokes
from training.mnist import Digits
from training.pens import Pens
from training.scribbles import scribble
from training.styles import OneStyle, restyle_one

PENS_FILE = Path(__file__).parent / "pens.npz"
"""The pen model of the writers that the bundled model was trained on."""

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ReplayMix:
    """How many of each go into the pool that a fine-tune draws its replay from."""

    mnist: int = 4500
    pens: int = 4000
    others: int = 2600  # characters that are no digits
    scribbles: int = 700
    plain: float = 0.5  # of MNIST's digits and the pens', as they are; the others distorted
    hard: float = 0.67  # of MNIST's digits and the pens', those that the champion is least sure of …
    among: int = 5  # … among so many times as many: what is near a boundary is lost first
    ones: OneStyle = field(default_factory=OneStyle)
    distortion: Distortion = field(default_factory=Distortion)


def make_replay(mnist: Digits, pens: Pens, champion: DigitModel, mix: ReplayMix, seed: int) -> Images:
    """Make the pool: `(n, 28, 28)` uint8. The champion only says which digits it is unsure of."""
    rng = np.random.default_rng(seed)
    images = []
    some = mnist.images[rng.permutation(len(mnist.images))[: mix.mnist * mix.among]]
    for index in _choose(some, mix.mnist, champion, mix, rng):
        image = some[index]
        images.append(image if rng.random() < mix.plain else distort_image(image, mix.distortion, rng))
    inks = [pens.draw(number % 10, rng) for number in range(mix.pens * mix.among)]
    drawn = np.stack([ink_to_input(ink, 1.0) for ink in inks])
    for index in _choose(drawn, mix.pens, champion, mix, rng):
        plain = rng.random() < mix.plain
        images.append(drawn[index] if plain else _distorted(inks[index], index % 10, mix, rng))
    images += [distort_strokes(pens.draw(None, rng), mix.distortion, rng) for _ in range(mix.others)]
    images += [distort_strokes(scribble(rng, inks[:1000]), mix.distortion, rng) for _ in range(mix.scribbles)]
    return np.stack(images)


def _choose(images: Images, count: int, champion: DigitModel, mix: ReplayMix, rng: np.random.Generator) -> list[int]:
    """Choose images by row: the least sure ones, and for the rest any."""
    confidence = np.array([champion.probabilities(image)[:10].max() for image in images])
    order = np.argsort(confidence, kind="stable")
    hard = min(round(count * mix.hard), len(order))
    return [*order[:hard].tolist(), *rng.permutation(order[hard:])[: count - hard].tolist()]


def _distorted(ink: list[Stroke], digit: int, mix: ReplayMix, rng: np.random.Generator) -> Images:
    return distort_strokes(restyle_one(ink, mix.ones, rng) if digit == 1 else ink, mix.distortion, rng)
