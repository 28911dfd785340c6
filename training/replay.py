"""Replay: samples that the champion already reads correctly, with its answers as soft targets, to prevent forgetting.

There are three sources: MNIST's training digits, characters from the bundled pen model, and scribbles. None of them is
a visitor's drawing.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recognizer.labels import DIGITS
from recognizer.mnist import Digits
from recognizer.preprocessing import ink_to_input
from recognizer.similarity import signatures
from training.augment import Distortion, distort_image, distort_strokes
from training.pens import Pens
from training.scribbles import scribble
from training.styles import Styles, restyle

PENS_FILE = Path(__file__).parent / "pens.npz"
"""Pen model fitted on writers that the bundled model was trained on."""

Images = npt.NDArray[np.uint8]

AT_ONCE = 64  # misread drawings compared with all of MNIST at a time: about 40 MB


@dataclass(frozen=True, slots=True)
class ReplayMix:
    """Composition of the pool that a fine-tune samples its replay from."""

    mnist: int = 6000
    contrasts: int = 60  # MNIST digits per misread drawing: the most similar ones with another label
    most_contrasts: int = 5000  # cap on their total, and on the misread drawings considered
    pens: int = 5000
    negatives: int = 4000  # characters that are not digits
    scribbles: int = 700
    plain: float = 0.7  # share of MNIST and pen digits without distortion
    styles: Styles = field(default_factory=Styles)
    distortion: Distortion = field(default_factory=Distortion)

    @property
    def non_digits(self) -> int:
        """The number of non-digits; they are the last of the pool."""
        return self.negatives + self.scribbles


def make_replay(mnist: Digits, pens: Pens, misread: Digits, mix: ReplayMix, seed: int) -> Images:
    """Build the replay pool, `(n, 28, 28)` uint8.

    Args:
        mnist: digits to sample from.
        pens: draws digits and other characters.
        misread: drawings that the champion misreads, with their labels. Similar drawings with another label are at
            risk: after training on a one with a level bar, a model may read sevens as ones.
        mix: how many of each.
        seed: of the sampling.
    """
    rng = np.random.default_rng(seed)
    inks = []
    images = list(_contrasts(mnist, misread, mix))
    for index in rng.permutation(len(mnist.labels))[: mix.mnist]:
        image = mnist.images[index]
        images.append(image if rng.random() < mix.plain else distort_image(image, mix.distortion, rng))
    for number in range(mix.pens):
        digit = DIGITS[number % len(DIGITS)]
        ink = pens.draw(digit, rng)
        inks.append((digit, ink))
        ink = restyle(digit, ink, mix.styles, rng)
        images.append(ink_to_input(ink, 1.0) if rng.random() < mix.plain else distort_strokes(ink, mix.distortion, rng))
    images += [distort_strokes(pens.draw(None, rng), mix.distortion, rng) for _ in range(mix.negatives)]
    images += [distort_strokes(scribble(rng, inks), mix.distortion, rng) for _ in range(mix.scribbles)]
    return np.stack(images)


def _contrasts(mnist: Digits, misread: Digits, mix: ReplayMix) -> Images:
    """Return the MNIST digits most similar to a misread drawing that have another label, `(n, 28, 28)` uint8."""
    if not len(misread.labels):
        return mnist.images[:0]
    most = max(1, min(mix.contrasts, mix.most_contrasts // len(misread.labels)))
    signed, chosen = signatures(mnist.images), []
    for start in range(0, min(len(misread.labels), mix.most_contrasts), AT_ONCE):
        labels = misread.labels[start : start + AT_ONCE]
        likeness = signed @ signatures(misread.images[start : start + AT_ONCE]).T  # (MNIST's, misread)
        likeness[mnist.labels[:, None] == labels[None]] = -1
        chosen.append(np.argpartition(-likeness, most, axis=0)[:most].flatten())  # a copy: a view keeps all of it
    return mnist.images[np.unique(np.concatenate(chosen))]
