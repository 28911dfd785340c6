"""What candidates are judged on, and what models say to it. Nothing of it is ever learned from."""

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
"""The pen model of writers whose manner no replay has."""

MOST_CHANGES = 48  # of MNIST's digits, listed with a version that answers them differently than the one before


@dataclass(frozen=True, slots=True)
class Samples:
    """Images `(n, 28, 28)` uint8 and what they are: `(n,)` digits, or `NOT_A_DIGIT`."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PeopleSamples(Samples):
    """Labels that people gave: also whose word each is, and how much of what is learned."""

    voices: npt.NDArray[np.int64]  # (n,) a number per voice
    shares: npt.NDArray[np.float64]  # (n,) of what the network sees; 0 unless it is trained on


@dataclass(frozen=True, slots=True)
class EvalSuite:
    """All that candidates are judged on."""

    mnist: Samples  # the test set
    strangers: Samples  # pen digits in the manner of people whom neither labels nor replay know
    negatives: Samples  # characters that are no digits, in the manner of the same people
    holdout: PeopleSamples  # labels of the owners who are only ever judged on
    validation: PeopleSamples  # labels put aside from the owners who are learned from
    train: PeopleSamples  # what was learned: a candidate should at least know that


@dataclass(frozen=True, slots=True)
class StrangersMix:
    """How many drawings of strangers there are; the same ones in every run."""

    of_each_digit: int = 400
    negatives: int = 1500
    seed: int = 2026


@dataclass(frozen=True, slots=True)
class EvalResult:
    """A model with what it says to everything in an examination."""

    model: DigitModel
    readings: dict[str, Readings]

    def right(self, samples: Samples, name: str) -> npt.NDArray[np.bool_]:
        right: npt.NDArray[np.bool_] = self.readings[name].digits == samples.labels
        return right

    def wrong_count(self, samples: Samples, name: str) -> int:
        return int((~self.right(samples, name)).sum())

    def guessed_right(self, samples: Samples, name: str) -> npt.NDArray[np.bool_]:
        """Tell what it read right without being sure.

        Such labels are no evidence against a successor. Where the border runs is public: whoever draws there chooses
        what another model reads differently, and need only confirm the answers.
        """
        return self.right(samples, name) & ~self.readings[name].sure


def make_eval_suite(dataset: Dataset, mnist_test: Digits, strangers: Pens, mix: StrangersMix) -> EvalSuite:
    """Gather everything that a candidate is judged on."""
    rng = np.random.default_rng(mix.seed)
    digits = [digit for digit in DIGITS for _ in range(mix.of_each_digit)]
    return EvalSuite(
        mnist=Samples(mnist_test.images, mnist_test.labels.astype(np.int64)),
        strangers=Samples(_drawn(strangers, digits, rng), np.array(digits)),
        negatives=Samples(_drawn(strangers, [None] * mix.negatives, rng), np.full(mix.negatives, NOT_A_DIGIT)),
        **{
            name: _samples(dataset.part(part))
            for name, part in (("holdout", Part.HOLDOUT), ("validation", Part.VALIDATION), ("train", Part.TRAIN))
        },
    )


def evaluate(model: DigitModel, suite: EvalSuite) -> EvalResult:
    """Have a model read everything in an examination."""
    names = EvalSuite.__dataclass_fields__
    return EvalResult(model, {name: evaluation.read_all(model, getattr(suite, name).images) for name in names})


def mnist_changes(before: EvalResult, after: EvalResult, labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    """List where two models answer MNIST's test set differently: `[place, label, before, after]`, encoded.

    All are counted, and the first `MOST_CHANGES` of those lost, those won and the others listed, in this order.
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


def _drawn(pens: Pens, digits: Sequence[int | None], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    return np.stack([ink_to_input(pens.draw(digit, rng), 1.0) for digit in digits])


def stacked(images: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
    """Stack inputs, perhaps none: `(n, 28, 28)` uint8."""
    return np.stack(images) if images else np.empty((0, 28, 28), np.uint8)


def gains_of_voices(
    voices: npt.NDArray[np.int64], before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]
) -> npt.NDArray[Any]:
    """Count by how many drawings more each voice is read right after than before: one number per voice."""
    different, voice = np.unique(voices, return_inverse=True)
    return np.bincount(voice, after.astype(np.float64) - before, len(different))


def only(samples: PeopleSamples, wanted: npt.NDArray[np.bool_]) -> PeopleSamples:
    """Keep some samples: `wanted` is `(n,)`."""
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
