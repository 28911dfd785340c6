"""Training data of the bundled model: MNIST, pen strokes, letters and scribbles, mixed and augmented for each epoch."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recognizer.mnist import Digits, load_mnist
from training.augment import Distortion, distort_image, distort_strokes
from training.scribbles import scribble
from training.strokes import BUNDLED_FOLD, PenDrawing, load_drawings
from training.styles import Styles, restyle


@dataclass(frozen=True, slots=True)
class Mixture:
    """How often each source occurs in an epoch, and how it is augmented."""

    fold: int = BUNDLED_FOLD  # which writers to hold out
    stroke_repeats: int = 4  # copies of each pen digit per epoch, each augmented differently
    letter_repeats: int = 3  # the same for letters
    scribbles: int = 9000  # per epoch
    mnist_validation: int = 5000  # MNIST training digits, from the end, kept for validation
    image_distortion: Distortion = field(
        default_factory=lambda: Distortion(rotation=12, shear=0.22, scale=0.14, shift=1.6, elastic=1.2)
    )
    ink_distortion: Distortion = field(default_factory=Distortion)
    styles: Styles = field(default_factory=Styles)
    eased_share: float = 0.15  # last share of the epochs with weaker augmentation, closer to what the site sees
    eased_strength: float = 0.5

    def in_epoch(self, epoch: int, epochs: int) -> "Mixture":
        """Return the mixture of one of `epochs` epochs; the last ones distort less."""
        if epoch < round(epochs * (1 - self.eased_share)):
            return self
        image, ink = (
            distortion.eased(self.eased_strength) for distortion in (self.image_distortion, self.ink_distortion)
        )
        return replace(self, image_distortion=image, ink_distortion=ink)


@dataclass(frozen=True, slots=True)
class BaseData:
    """All data sources of one training, split."""

    mnist: Digits
    mnist_validation: Digits
    mnist_test: Digits
    digits: dict[str, list[PenDrawing]]  # by split
    letters: dict[str, list[PenDrawing]]  # by split; without look-alikes of digits


def load_base_data(mnist_folder: Path, strokes_file: Path, letters_file: Path, mixture: Mixture) -> BaseData:
    """Load all sources; a writer is in the same split of both stroke files."""
    train, test = load_mnist(mnist_folder)
    cut = len(train.labels) - mixture.mnist_validation
    splits = ("train", "validation", "test")
    return BaseData(
        mnist=Digits(train.images[:cut], train.labels[:cut]),
        mnist_validation=Digits(train.images[cut:], train.labels[cut:]),
        mnist_test=test,
        digits={split: load_drawings(strokes_file, split, mixture.fold) for split in splits},
        letters={split: load_drawings(letters_file, split, mixture.fold) for split in splits},
    )


class EpochMaker:
    """Builds batches; each depends on (seed, epoch, batch) only."""

    def __init__(self, data: BaseData, mixture: Mixture, epochs: int, batch_size: int, seed: int) -> None:
        self._data, self._mixture, self._epochs = data, mixture, epochs
        self._batch_size, self._seed = batch_size, seed
        self._inks = [(drawing.digit or 0, drawing.strokes) for drawing in data.digits["train"]]
        self._drawings = data.digits["train"] * mixture.stroke_repeats + data.letters["train"] * mixture.letter_repeats
        self._size = len(data.mnist.labels) + len(self._drawings) + mixture.scribbles
        self._order: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    @property
    def batches_per_epoch(self) -> int:
        return self._size // self._batch_size

    def __call__(self, epoch: int, batch: int) -> tuple[npt.NDArray[np.uint8], list[int | None]]:
        """Return images `(batch size, 28, 28)` uint8 and their labels, None for "not a digit"."""
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self._seed, epoch)).permutation(self._size))
        rng = np.random.default_rng((self._seed, epoch, batch))
        mixture = self._mixture.in_epoch(epoch, self._epochs)
        chosen = self._order[1][batch * self._batch_size : (batch + 1) * self._batch_size]
        samples = [self._sample(int(index), mixture, rng) for index in chosen]
        return np.stack([image for image, _ in samples]), [label for _, label in samples]

    def _sample(
        self, index: int, mixture: Mixture, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], int | None]:
        mnist = self._data.mnist
        if index < len(mnist.labels):
            return distort_image(mnist.images[index], mixture.image_distortion, rng), int(mnist.labels[index])
        index -= len(mnist.labels)
        if index < len(self._drawings):
            drawing = self._drawings[index]
            strokes = restyle(drawing.digit, drawing.strokes, mixture.styles, rng)
            return distort_strokes(strokes, mixture.ink_distortion, rng), drawing.digit
        return distort_strokes(scribble(rng, self._inks), mixture.ink_distortion, rng), None
