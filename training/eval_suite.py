"""The evaluation suite of candidates, and the models' results on it. Only its `train` part is ever trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recognizer.engine import DigitModel
from recognizer.labels import DIGITS, NOT_A_DIGIT, encode
from recognizer.mnist import Digits
from recognizer.preprocessing import ink_to_input
from training import evaluation
from training.dataset import Dataset, Labelled, Part
from training.evaluation import Readings
from training.pens import Pens

STRANGERS_FILE = Path(__file__).parent / "strangers.npz"
"""Pen model fitted on writers that the replay never uses."""

MOST_CHANGES = 48  # cap on the changed MNIST answers that are listed with a version


@dataclass(frozen=True, slots=True)
class Samples:
    """Images `(n, 28, 28)` uint8 and their labels `(n,)`: digits, or `NOT_A_DIGIT`."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PeopleSamples(Samples):
    """Samples with people's labels, each with its voter and its share in training."""

    voices: npt.NDArray[np.int64]  # (n,) index of the voice that labelled it
    shares: npt.NDArray[np.float64]  # (n,) of all training samples; 0 outside the train part


@dataclass(frozen=True, slots=True)
class EvalSuite:
    """All samples that candidates are evaluated on."""

    mnist: Samples  # the test set
    strangers: Samples  # digits from the strangers' pen model, whose writers are in neither labels nor replay
    negatives: Samples  # characters that are not digits, from the same pen model
    holdout: PeopleSamples  # labels of owners that are never trained on
    validation: PeopleSamples  # labels set aside from the training owners
    train: PeopleSamples  # the training labels: a candidate should at least have learned these


@dataclass(frozen=True, slots=True)
class StrangersMix:
    """Number of drawings from the strangers' pen model. The seed is fixed, so every run has the same ones."""

    of_each_digit: int = 400
    negatives: int = 1500
    seed: int = 2026


@dataclass(frozen=True, slots=True)
class EvalResult:
    """A model and its readings of all parts of the evaluation suite."""

    model: DigitModel
    readings: dict[str, Readings]

    def right(self, samples: Samples, name: str) -> npt.NDArray[np.bool_]:
        right: npt.NDArray[np.bool_] = self.readings[name].digits == samples.labels
        return right

    def wrong_count(self, samples: Samples, name: str) -> int:
        return int((~self.right(samples, name)).sum())

    def guessed_right(self, samples: Samples, name: str) -> npt.NDArray[np.bool_]:
        """Return the mask of samples that the model read right without being sure.

        Such labels are no evidence against a later model. The decision boundary is public: an attacker can draw near
        it, where another model answers differently, and only has to confirm the answers.
        """
        return self.right(samples, name) & ~self.readings[name].sure


def make_eval_suite(dataset: Dataset, mnist_test: Digits, strangers: Pens, mix: StrangersMix) -> EvalSuite:
    """Build the evaluation suite."""
    rng = np.random.default_rng(mix.seed)
    digits = [digit for digit in DIGITS for _ in range(mix.of_each_digit)]
    return EvalSuite(
        mnist=Samples(mnist_test.images, mnist_test.labels.astype(np.int64)),
        strangers=Samples(_draw_all(strangers, digits, rng), np.array(digits)),
        negatives=Samples(_draw_all(strangers, [None] * mix.negatives, rng), np.full(mix.negatives, NOT_A_DIGIT)),
        **{
            name: _samples(dataset.part(part))
            for name, part in (("holdout", Part.HOLDOUT), ("validation", Part.VALIDATION), ("train", Part.TRAIN))
        },
    )


def evaluate(model: DigitModel, suite: EvalSuite) -> EvalResult:
    """Read every sample of the suite with a model."""
    names = EvalSuite.__dataclass_fields__
    return EvalResult(model, {name: evaluation.read_all(model, getattr(suite, name).images) for name in names})


def mnist_changes(before: EvalResult, after: EvalResult, labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    """List the MNIST test digits that two models answer differently, as `[index, label, before, after]`, encoded.

    All of them are counted. At most `MOST_CHANGES` are listed: first lost ones, then won ones, then others.
    """
    was, now = (result.readings["mnist"].digits for result in (before, after))
    kinds = {
        "lost": (was == labels) & (now != labels),
        "won": (was != labels) & (now == labels),
        "other": (was != now) & (was != labels) & (now != labels),
    }
    places = np.concatenate([np.flatnonzero(kind)[: MOST_CHANGES // len(kinds)] for kind in kinds.values()])
    return {
        "from": before.model.version,
        **{name: int(kind.sum()) for name, kind in kinds.items()},
        "digits": np.stack([places, labels[places], was[places], now[places]], axis=1).tolist(),
    }


def _draw_all(pens: Pens, digits: Sequence[int | None], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    return np.stack([ink_to_input(pens.draw(digit, rng), 1.0) for digit in digits])


def stacked(images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Stack inputs into `(n, 28, 28)` uint8; the list may be empty."""
    return np.stack(images) if images else np.empty((0, 28, 28), np.uint8)


def gains_of_voices(
    voices: npt.NDArray[np.int64], before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]
) -> npt.NDArray[Any]:
    """Return for each voice how many more of its drawings are read right after than before."""
    different, voice = np.unique(voices, return_inverse=True)
    return np.bincount(voice, after.astype(np.float64) - before, len(different))


def only(samples: PeopleSamples, wanted: npt.NDArray[np.bool_]) -> PeopleSamples:
    """Return the samples that the mask `wanted` `(n,)` selects."""
    names = PeopleSamples.__dataclass_fields__
    return PeopleSamples(**{name: getattr(samples, name)[wanted] for name in names})


def _samples(labels: Sequence[Labelled]) -> PeopleSamples:
    numbers: dict[str, int] = {}
    voices = [numbers.setdefault(label.voice, len(numbers)) for label in labels]
    return PeopleSamples(
        images=stacked([label.image for label in labels]),
        labels=np.array([encode(label.digit) for label in labels], np.int64),
        voices=np.array(voices, np.int64),
        shares=np.array([label.share for label in labels], np.float64),
    )
