"""The fine-tune: learns a handful of corrections without forgetting what the champion knows.

Each batch is part people's labels, distorted as ink where there is ink, part replay with the champion's own softened
answers as targets. Batch normalisation is frozen. At the end the weights are averaged with the champion's: the share of
the new ones is the one that does best on validation labels and unseen replay together.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from training import network
from training.augment import distort_image, distort_strokes
from training.calibration import log_softmax
from training.dataset import Labelled
from training.examination import Samples
from training.recipe import Recipe, Tune

Images = npt.NDArray[np.uint8]


class Batches:
    """Makes any batch of any epoch from (seed, epoch, batch) alone.

    Args:
        labels: to learn, with the share of what is seen that each has.
        replay: `(n, 28, 28)` uint8.
        answers: the champion's `(n, 11)` logits on the replay.
    """

    def __init__(
        self, labels: Sequence[Labelled], replay: Images, answers: npt.NDArray[np.float32], recipe: Recipe
    ) -> None:
        self._labels, self._replay, self._answers, self._recipe = labels, replay, answers, recipe
        shares = np.array([label.share for label in labels])
        self._odds = shares / shares.sum()
        self._people = max(1, round(float(shares.sum()) * recipe.tune.batch_size))
        self._targets = network.pack_targets([label.digit for label in labels])

    def __call__(self, epoch: int, batch: int) -> network.Batch:
        rng = np.random.default_rng((self._recipe.seed, epoch, batch))
        chosen = rng.choice(len(self._labels), self._people, p=self._odds)
        replayed = rng.choice(len(self._replay), self._recipe.tune.batch_size - self._people)
        drawn = np.stack([self._draw(self._labels[index], rng) for index in chosen])
        images = network.pack_inputs(np.concatenate([drawn, self._replay[replayed]]))
        untaught = np.zeros((len(chosen), network.DIGITS + 1), np.float32)
        unlabelled = np.zeros((len(replayed), network.DIGITS + 1), np.float32)
        targets = np.block([[self._targets[chosen], untaught], [unlabelled, self._answers[replayed]]])
        return images, targets.astype(np.float32)

    def _draw(self, label: Labelled, rng: np.random.Generator) -> Images:
        if label.strokes is not None:
            return distort_strokes(label.strokes, self._recipe.distortion, rng)
        return distort_image(label.image, self._recipe.distortion, rng)


def fine_tune(champion: Any, batches: Batches, recipe: Recipe, report: network.Report) -> Any:
    """Return the tuned network, before it is averaged with the champion."""
    epochs = network.EpochBatches(recipe.tune.batches, batches)
    return network.tune_network(champion, epochs, recipe.tune, recipe.seed, report)


def choose_blend(
    champion: Any, tuned: Any, tune: Tune, score: Callable[[Any], float]
) -> tuple[Any, dict[float, float]]:
    """Average the weights in each proportion and keep the network with the least score.

    Returns:
        The network, and every share's score.
    """
    blends = {share: network.blend(champion, tuned, share) for share in tune.new_shares}
    scores = {share: round(score(blend), 5) for share, blend in blends.items()}
    return blends[min(scores, key=scores.__getitem__)], scores


def validation_score(
    champion: Any, validation: Samples, unseen: Images, forgetting_weight: float
) -> Callable[[Any], float]:
    """Return a function of a network: its error on people's validation labels, plus how far it went from the champion.

    Both in nats: the cross-entropy with the labels, and the divergence from the champion's answers on unseen replay.
    """
    before = network.logits_of(champion, unseen)
    targets = network.pack_targets([None if label < 0 else int(label) for label in validation.labels])

    def score(candidate: Any) -> float:
        after = network.logits_of(candidate, unseen)
        divergence = _cross_entropy(_answers(before), after) - _cross_entropy(_answers(before), before)
        if not len(validation.labels):
            return forgetting_weight * divergence
        return _cross_entropy(targets, network.logits_of(candidate, validation.images)) + forgetting_weight * divergence

    return score


def _answers(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.floating[Any]]:
    """Turn `(n, 11)` logits into packed probabilities: of being a digit, and times that, of each one."""
    is_digit = 1 / (1 + np.exp(-logits[:, network.DIGITS :]))
    return np.hstack([np.exp(log_softmax(logits[:, : network.DIGITS])) * is_digit, is_digit])


def _cross_entropy(targets: npt.NDArray[np.floating[Any]], logits: npt.NDArray[np.float32]) -> float:
    """The mean cross-entropy of packed targets, in nats: of the digit, and of being one."""
    digits, is_digit, of_one = targets[:, : network.DIGITS], targets[:, network.DIGITS], logits[:, network.DIGITS]
    of_digit = -(digits * log_softmax(logits[:, : network.DIGITS])).sum(axis=1)
    of_being_one = np.logaddexp(0, of_one) - is_digit * of_one
    return float((of_digit + of_being_one).mean())
