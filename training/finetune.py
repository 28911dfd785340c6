"""Fine-tuning: learn a few corrections without forgetting what the champion knows.

Each batch mixes people's labels, augmented as ink where ink is stored, with replay, whose soft targets are the
champion's answers. Batch normalisation is frozen. At the end the weights are averaged with the champion's; the share
of new weights is the largest that stays close to the champion on unseen replay.
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
    """Builds an epoch's batches. A batch depends on (seed, epoch, batch) and the epoch's replay probabilities only.

    Args:
        labels: the training labels, each with its share of the samples.
        replay: images `(n, 28, 28)` uint8.
        answers: the champion's logits on the replay, `(n, ANSWER_SIZE)`.
    """

    def __init__(
        self, labels: Sequence[Labelled], replay: Images, answers: npt.NDArray[np.float32], recipe: Recipe
    ) -> None:
        self._labels, self._replay, self._answers, self._recipe = labels, replay, answers, recipe
        shares = np.array([label.share for label in labels])
        self._label_odds = shares / shares.sum()
        self._labels_per_batch = max(1, round(float(shares.sum()) * recipe.tune.batch_size))
        self._targets = network.pack_targets([label.digit for label in labels])
        self._replay_odds = np.full(len(replay), 1 / len(replay))

    def epoch(self, number: int, student: Any) -> network.EpochBatches:
        """Return the batches of epoch `number`, counted from 0.

        From the first epoch in `look_before` on, most of the replay is sampled in proportion to the divergence between
        the student's and the champion's answers: maximally interfered retrieval (Aljundi et al. 2019). What is being
        forgotten depends on what is being learned, so the divergence is measured during the fine-tune.
        """
        if number in self._recipe.tune.look_before:
            divergence = divergences(self._answers, network.fast_logits_of(student, self._replay)).astype(np.float64)
            interfered = self._recipe.tune.interfered
            self._replay_odds = (1 - interfered) / len(divergence) + interfered * divergence / divergence.sum()
        odds = self._replay_odds
        return network.EpochBatches(self._recipe.tune.batches, lambda _, batch: self._batch(number, batch, odds))

    def _batch(self, epoch: int, batch: int, odds: npt.NDArray[np.float64]) -> network.Batch:
        rng = np.random.default_rng((self._recipe.seed, epoch, batch))
        chosen = rng.choice(len(self._labels), self._labels_per_batch, p=self._label_odds)
        replayed = rng.choice(len(self._replay), self._recipe.tune.batch_size - self._labels_per_batch, p=odds)
        augmented = np.stack([self._augment(self._labels[index], rng) for index in chosen])
        images = network.pack_inputs(np.concatenate([augmented, self._replay[replayed]]))
        no_answers = np.zeros((len(chosen), ANSWER_SIZE), np.float32)
        no_labels = np.zeros((len(replayed), ANSWER_SIZE), np.float32)
        targets = np.block([[self._targets[chosen], no_answers], [no_labels, self._answers[replayed]]])
        return images, targets.astype(np.float32)

    def _augment(self, label: Labelled, rng: np.random.Generator) -> Images:
        if label.ink is not None:
            return distort_strokes(label.ink.strokes(), self._recipe.distortion, rng)
        return distort_image(label.image, self._recipe.distortion, rng)


def fine_tune(champion: Any, batches: TrainingBatches, recipe: Recipe, report: network.Report) -> Any:
    """Fine-tune a copy of the champion and return it, before weight averaging."""
    return network.tune_network(champion, batches.epoch, recipe.tune, recipe.seed, report)


@dataclass(frozen=True, slots=True)
class BlendTrial:
    """Measurements of one average of the champion's and the new weights, on unseen data."""

    new_share: float
    divergence: float  # mean, from the champion's answers on unseen replay, nats
    forgotten: float  # drop in accuracy on MNIST's validation digits, against the champion
    validation: int  # voices read worse than by the champion, minus voices read better

    def is_within_limits(self, tune: FineTuneConfig) -> bool:
        """Return whether forgetting is within the limits of the fine-tune."""
        return (
            self.divergence <= tune.most_divergence and self.forgotten <= tune.most_forgotten and self.validation <= 0
        )


def choose_blend(
    champion: Any, tuned: Any, tune: FineTuneConfig, validation: PeopleSamples, kept: Digits, unseen: Images
) -> tuple[Any, list[BlendTrial]]:
    """Average the champion's and the new weights, with the largest share of new ones that forgets little enough.

    Args:
        validation: people's digits on which the champion is sure, right or wrong. Unsure ones are left out: most of
            their labels only confirm the champion's answer, so any change would count against the blend.
        kept: MNIST's validation digits.
        unseen: replay that was not trained on, `(n, 28, 28)` uint8.

    Returns:
        The network, and the trials, the chosen one last. If even the smallest share forgets too much, that one is
        returned and the gates reject it.
    """

    def right(candidate: Any, digits: Digits | PeopleSamples) -> npt.NDArray[np.bool_]:
        answers = digit_part(network.logits_of(candidate, digits.images)).argmax(axis=1)
        return np.asarray(answers == digits.labels, np.bool_)

    answers = network.logits_of(champion, unseen)
    kept_right, people_right = right(champion, kept), right(champion, validation)
    trials: list[BlendTrial] = []
    for share in tune.new_shares:
        blend = network.blend(champion, tuned, share)
        divergence = divergences(answers, network.logits_of(blend, unseen)).mean()
        forgotten = float(kept_right.mean() - right(blend, kept).mean())
        gains = gains_of_voices(validation.voices, people_right, right(blend, validation))
        worse = int((gains < 0).sum() - (gains > 0).sum())
        trials.append(BlendTrial(share, round(float(divergence), 5), round(forgotten, 5), worse))
        if trials[-1].is_within_limits(tune):
            break
    return blend, trials


def divergences(champion: npt.NDArray[np.float32], candidate: npt.NDArray[np.float32]) -> npt.NDArray[np.floating[Any]]:
    """Return the KL divergence from the champion's to the candidate's answers, nats: logits `(n, …)` each → `(n,)`."""
    answers = _answers(champion)
    return np.maximum(_cross_entropies(answers, candidate) - _cross_entropies(answers, champion), 0)


def _answers(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.floating[Any]]:
    """Return packed probabilities for `(n, ANSWER_SIZE)` logits: of each digit, and of being a digit; same shape."""
    is_digit = 1 / (1 + np.exp(-is_digit_part(logits)[:, None]))
    return np.hstack([np.exp(log_softmax(digit_part(logits))) * is_digit, is_digit])


def _cross_entropies(
    targets: npt.NDArray[np.floating[Any]], logits: npt.NDArray[np.float32]
) -> npt.NDArray[np.floating[Any]]:
    """Return the cross-entropy of packed targets, nats: the digit's plus that of being a digit, `(n,)`."""
    digits, is_digit, of_one = digit_part(targets), is_digit_part(targets), is_digit_part(logits)
    of_digit = -(digits * log_softmax(digit_part(logits))).sum(axis=1)
    total: npt.NDArray[np.floating[Any]] = of_digit + np.logaddexp(0, of_one) - is_digit * of_one
    return total
