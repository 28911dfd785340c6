"""What the bundled model learns from: MNIST, pen strokes, letters and scribbles, mixed and distorted epoch by epoch."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.augment import Distortion, distort_image, distort_strokes
from training.mnist import Digits, load_mnist
from training.scribbles import scribble
from training.strokes import Drawing, load_drawings
from training.styles import OneStyle, restyle_one


@dataclass(frozen=True, slots=True)
class Mixture:
    """How often each source is seen in an epoch, and how it is distorted."""

    stroke_repeats: int = 3  # each pen digit is drawn so often, differently every time
    letter_repeats: int = 2
    scribbles: int = 5000
    mnist_validation: int = 5000  # the last of MNIST's training digits are kept for validation
    image_distortion: Distortion = field(default_factory=Distortion)
    ones: OneStyle = field(default_factory=OneStyle)
    ink_distortion: Distortion = field(default_factory=Distortion)


@dataclass(frozen=True, slots=True)
class BaseData:
    """All sources of one training, split."""

    mnist: Digits
    mnist_validation: Digits
    mnist_test: Digits
    digits: dict[str, list[Drawing]]  # by split
    letters: dict[str, list[Drawing]]  # by split; none of them a look-alike of a digit


def load_base_data(mnist_folder: Path, strokes_file: Path, letters_file: Path, mixture: Mixture) -> BaseData:
    """Read every source; a writer is in the same split of both stroke files."""
    train, test = load_mnist(mnist_folder)
    cut = len(train.labels) - mixture.mnist_validation
    splits = ("train", "validation", "test")
    return BaseData(
        mnist=Digits(train.images[:cut], train.labels[:cut]),
        mnist_validation=Digits(train.images[cut:], train.labels[cut:]),
        mnist_test=test,
        digits={split: load_drawings(strokes_file, split) for split in splits},
        letters={split: load_drawings(letters_file, split) for split in splits},
    )


class EpochMaker:
    """Makes any batch of any epoch from (seed, epoch, batch) alone."""

    def __init__(self, data: BaseData, mixture: Mixture, batch_size: int, seed: int) -> None:
        self._data, self._mixture, self._batch_size, self._seed = data, mixture, batch_size, seed
        self._inks = [drawing.strokes for drawing in data.digits["train"]]
        self._drawings = data.digits["train"] * mixture.stroke_repeats + data.letters["train"] * mixture.letter_repeats
        self._size = len(data.mnist.labels) + len(self._drawings) + mixture.scribbles
        self._order: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    @property
    def batches_per_epoch(self) -> int:
        return self._size // self._batch_size

    def __call__(self, epoch: int, batch: int) -> tuple[npt.NDArray[np.uint8], list[int | None]]:
        """Return images `(batch size, 28, 28)` uint8 and their labels, None for what is not a digit."""
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self._seed, epoch)).permutation(self._size))
        rng = np.random.default_rng((self._seed, epoch, batch))
        chosen = self._order[1][batch * self._batch_size : (batch + 1) * self._batch_size]
        made = [self._sample(int(index), rng) for index in chosen]
        return np.stack([image for image, _ in made]), [label for _, label in made]

    def _sample(self, index: int, rng: np.random.Generator) -> tuple[npt.NDArray[np.uint8], int | None]:
        mnist = self._data.mnist
        if index < len(mnist.labels):
            return distort_image(mnist.images[index], self._mixture.image_distortion, rng), int(mnist.labels[index])
        index -= len(mnist.labels)
        if index < len(self._drawings):
            drawing = self._drawings[index]
            strokes = restyle_one(drawing.strokes, self._mixture.ones, rng) if drawing.digit == 1 else drawing.strokes
            return distort_strokes(strokes, self._mixture.ink_distortion, rng), drawing.digit
        return distort_strokes(scribble(rng, self._inks), self._mixture.ink_distortion, rng), None
