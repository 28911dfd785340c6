"""The fine-tune: learns a handful of corrections without forgetting what the champion knows.

Each batch is part people's labels, distorted as ink where there is ink, part replay with the champion's own softened
answers as targets. Batch normalisation is frozen. At the end the weights are averaged with the champion's, with as many
of the new ones as stay close to the champion on replay that neither learned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recognizer.labels import ANSWER_SIZE, digit_part, is_digit_part
from recognizer.mnist import Digits
from training import network
from training.augment import distort_image, distort_strokes
from training.calibration import log_softmax
from training.dataset import Labelled
from training.eval_suite import PeopleSamples, gains_of_voices
from training.recipe import FineTuneConfig, Recipe

Images = npt.NDArray[np.uint8]


class TrainingBatches:
    """Makes any batch of an epoch from (seed, epoch, batch) and the odds of that epoch.

    Args:
        labels: to learn, with the share of what is seen that each has.
        replay: `(n, 28, 28)` uint8.
        answers: the champion's `(n, ANSWER_SIZE)` logits on the replay.
    """

    def __init__(
        self, labels: Sequence[Labelled], replay: Images, answers: npt.NDArray[np.float32], recipe: Recipe
    ) -> None:
        self._labels, self._replay, self._answers, self._recipe = labels, replay, answers, recipe
        shares = np.array([label.share for label in labels])
        self._odds = shares / shares.sum()
        self._people = max(1, round(float(shares.sum()) * recipe.tune.batch_size))
        self._targets = network.pack_targets([label.digit for label in labels])
        self._replay_odds = np.full(len(replay), 1 / len(replay))

    def epoch(self, number: int, student: Any) -> network.EpochBatches:
        """Return an epoch's batches.

        From the second one on, most of the replay is what the student's answers have moved away from the champion's on
        most: maximally interfered retrieval (Aljundi et al. 2019). What is about to be forgotten depends on what is
        being learned, so it is looked for while that goes on.
        """
        if number in self._recipe.tune.look_before:
            away = divergences(self._answers, network.rough_logits_of(student, self._replay)).astype(np.float64)
            interfered = self._recipe.tune.interfered
            self._replay_odds = (1 - interfered) / len(away) + interfered * away / away.sum()
        odds = self._replay_odds
        return network.EpochBatches(self._recipe.tune.batches, lambda _, batch: self._batch(number, batch, odds))

    def _batch(self, epoch: int, batch: int, odds: npt.NDArray[np.float64]) -> network.Batch:
        rng = np.random.default_rng((self._recipe.seed, epoch, batch))
        chosen = rng.choice(len(self._labels), self._people, p=self._odds)
        replayed = rng.choice(len(self._replay), self._recipe.tune.batch_size - self._people, p=odds)
        drawn = np.stack([self._draw(self._labels[index], rng) for index in chosen])
        images = network.pack_inputs(np.concatenate([drawn, self._replay[replayed]]))
        untaught = np.zeros((len(chosen), ANSWER_SIZE), np.float32)
        unlabelled = np.zeros((len(replayed), ANSWER_SIZE), np.float32)
        targets = np.block([[self._targets[chosen], untaught], [unlabelled, self._answers[replayed]]])
        return images, targets.astype(np.float32)

    def _draw(self, label: Labelled, rng: np.random.Generator) -> Images:
        if label.ink is not None:
            return distort_strokes(label.ink.strokes(), self._recipe.distortion, rng)
        return distort_image(label.image, self._recipe.distortion, rng)


def fine_tune(champion: Any, batches: TrainingBatches, recipe: Recipe, report: network.Report) -> Any:
    """Return the tuned network, before it is averaged with the champion."""
    return network.tune_network(champion, batches.epoch, recipe.tune, recipe.seed, report)


@dataclass(frozen=True, slots=True)
class BlendTrial:
    """How an average of champion's and new weights does on what neither learned."""

    new_share: float
    divergence: float  # from the champion's answers on unseen replay, nats
    forgotten: float  # of MNIST's digits that were kept back, more wrong than the champion has
    validation: int  # voices that it reads worse than the champion, less those that it reads better

    def keeps(self, tune: FineTuneConfig) -> bool:
        """Say whether so little was forgotten that the gates may see it."""
        return (
            self.divergence <= tune.most_divergence and self.forgotten <= tune.most_forgotten and self.validation <= 0
        )


def choose_blend(
    champion: Any, tuned: Any, tune: FineTuneConfig, validation: PeopleSamples, kept: Digits, unseen: Images
) -> tuple[Any, list[BlendTrial]]:
    """Average the weights with as many of the new ones as forgetting allows.

    Args:
        validation: people's digits of which the champion is sure, right or wrong. How nearly it or a blend answers
            otherwise is no matter: people mostly confirm, and any change is away from what was confirmed.

    Returns:
        The network, and what was tried, the one taken last. If even the least share forgets too much, it is that: the
        gates will say so.
    """

    def right(candidate: Any, digits: Digits | PeopleSamples) -> npt.NDArray[np.bool_]:
        answers = digit_part(network.logits_of(candidate, digits.images)).argmax(axis=1)
        return np.asarray(answers == digits.labels, np.bool_)

    answers = network.logits_of(champion, unseen)
    kept_right, people_right = right(champion, kept), right(champion, validation)
    tried: list[BlendTrial] = []
    for share in tune.new_shares:
        blend = network.blend(champion, tuned, share)
        away = divergences(answers, network.logits_of(blend, unseen)).mean()
        forgotten = float(kept_right.mean() - right(blend, kept).mean())
        gains = gains_of_voices(validation.voices, people_right, right(blend, validation))
        worse = int((gains < 0).sum() - (gains > 0).sum())
        tried.append(BlendTrial(share, round(float(away), 5), round(forgotten, 5), worse))
        if tried[-1].keeps(tune):
            break
    return blend, tried


def divergences(champion: npt.NDArray[np.float32], candidate: npt.NDArray[np.float32]) -> npt.NDArray[np.floating[Any]]:
    """How far a candidate's answers are from the champion's, in nats: `(n, ANSWER_SIZE)` logits of each → `(n,)`."""
    answers = _answers(champion)
    return np.maximum(_cross_entropies(answers, candidate) - _cross_entropies(answers, champion), 0)


def _answers(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.floating[Any]]:
    """Turn `(n, ANSWER_SIZE)` logits into packed probabilities: of being a digit, and times that, of each one."""
    is_digit = 1 / (1 + np.exp(-is_digit_part(logits)[:, None]))
    return np.hstack([np.exp(log_softmax(digit_part(logits))) * is_digit, is_digit])


def _cross_entropies(
    targets: npt.NDArray[np.floating[Any]], logits: npt.NDArray[np.float32]
) -> npt.NDArray[np.floating[Any]]:
    """The cross-entropy of packed targets, of the digit and of being one together, in nats: `(n,)`."""
    digits, is_digit, of_one = digit_part(targets), is_digit_part(targets), is_digit_part(logits)
    of_digit = -(digits * log_softmax(digit_part(logits))).sum(axis=1)
    both: npt.NDArray[np.floating[Any]] = of_digit + np.logaddexp(0, of_one) - is_digit * of_one
    return both
