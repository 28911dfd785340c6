"""What keeps a fine-tune from forgetting: digits that the champion reads already, with its own answers as targets.

Three sources: MNIST's training digits, characters drawn by the bundled pen model, and scribbles. None of them is
anybody's drawing on this site.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recognizer.preprocessing import ink_to_input
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
    ones: OneStyle = field(default_factory=OneStyle)
    distortion: Distortion = field(default_factory=Distortion)


def make_replay(mnist: Digits, pens: Pens, mix: ReplayMix, seed: int) -> Images:
    """Draw the pool, distorted as the bundled model's own training was: `(n, 28, 28)` uint8."""
    rng = np.random.default_rng(seed)
    images, inks = [], []
    for index in rng.choice(len(mnist.labels), min(mix.mnist, len(mnist.labels)), replace=False):
        image = mnist.images[index]
        images.append(image if rng.random() < mix.plain else distort_image(image, mix.distortion, rng))
    for number in range(mix.pens):
        digit = number % 10
        ink = pens.draw(digit, rng)
        inks.append(ink)
        ink = restyle_one(ink, mix.ones, rng) if digit == 1 else ink
        plain = rng.random() < mix.plain
        images.append(ink_to_input(ink, 1.0) if plain else distort_strokes(ink, mix.distortion, rng))
    images += [distort_strokes(pens.draw(None, rng), mix.distortion, rng) for _ in range(mix.others)]
    images += [distort_strokes(scribble(rng, inks), mix.distortion, rng) for _ in range(mix.scribbles)]
    return np.stack(images)
