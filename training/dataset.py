"""The dataset of a training run: accepted labels, split by owner, with each owner's weight capped.

Each run reads the labels from the database anew, so a deleted submission is in no later dataset.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from django.db.models import Case, Q, TextField, When
from django.db.models.functions import Cast
from django.utils.crypto import salted_hmac
from django.utils.timezone import now

from recognizer.engine import DigitModel
from recognizer.evidence import CONFIRMS, anonymous
from recognizer.labels import Label, encode, is_digit_part, word
from recognizer.models import IMPORTED, Correction, Submission
from recognizer.preprocessing import PREPROCESSING_VERSION, ModelInput, PreprocessingError, Stroke, ink_to_input
from recognizer.preprocessing.decoding import decode_picture
from recognizer.preprocessing.picture import picture_to_input
from recognizer.similarity import SAME_DRAWING, groups, has_neighbour, signatures
from recognizer.triage import BY_RULE
from recognizer.voices import known_accounts
from training.models import TrainingSample
from training.packed import PackedInk, stored_strokes

Part = TrainingSample.Part

ASKED_AT_ONCE = 500  # submission ids per query
NOBODY = "nobody"  # owner of drawings that have no account and no session: only staff can label them
NEWCOMERS = "newcomers"  # all owners whom reviewers do not know: one person can create many of them for free
FETCHED_AT_ONCE = 50  # labels with their ink per query; some ink takes half a megabyte


@dataclass(frozen=True, slots=True)
class DatasetRules:
    """Split and weights of a dataset. Shares are fractions of the samples that the network sees in training."""

    holdout_owners: float = 0.1  # of owners; all their drawings are in the holdout, none is trained on
    validation_drawings: float = 0.12  # of the other owners' drawings; used for validation
    labels_share: float = 0.25  # maximum share of people's labels; the rest is replay
    owner_share: float = 0.06  # maximum share of one owner's labels
    correction_weight: float = 0.3  # minimum; a label's weight is 1 - the champion's probability of it
    confirmation_weight: float = 0.1  # minimum weight of a label that confirms the model's answer
    most_labels: int = 20_000  # cap: newest first, imported ones and cheap confirmations last


@dataclass(frozen=True, slots=True)
class Labelled:
    """A labelled drawing."""

    submission: int
    owner: str
    voice: str  # the owner, or `NEWCOMERS`: whose vote it is when models are compared (`recognizer.voices`)
    budget: str  # the owner, or `NEWCOMERS`: whose `owner_share` it counts towards
    digit: Label
    confirms: bool  # the label is the model's answer
    image: ModelInput
    ink: PackedInk | None  # None: trained on as a picture
    part: Part
    share: float = 0.0  # of all training samples; 0 outside the train part


@dataclass(frozen=True, slots=True)
class Dataset:
    """The labels of one run by part, and the fingerprint of everything that shaped them."""

    labels: list[Labelled]
    left_out: dict[str, int]  # reason → number of drawings
    fingerprint: str

    def part(self, part: Part) -> list[Labelled]:
        return [label for label in self.labels if label.part == part]

    def counts(self) -> dict[str, Any]:
        """Return the statistics that are stored and shown with the run."""
        train = self.part(Part.TRAIN)
        return {
            **{part.value: len(self.part(part)) for part in Part},
            "corrections": sum(not label.confirms for label in self.labels),
            "confirmations": sum(label.confirms for label in self.labels),
            "owners": len({label.owner for label in self.labels}),
            "labels_share": round(sum(label.share for label in train), 4),
            "largest_owner_share": round(max(_by_owner(train).values(), default=0.0), 4),
            "corrections_of": _by_digit(label for label in train if not label.confirms),
            "confirmations_of": _by_digit(label for label in train if label.confirms),
            "left_out": self.left_out,
        }


def _by_digit(labels: Iterable[Labelled]) -> dict[str, int]:
    counts = Counter(word(label.digit) for label in labels)
    return dict(sorted(counts.items()))


def build_dataset(
    rules: DatasetRules, champion: DigitModel, reserved: Sequence[npt.NDArray[np.uint8]], *ingredients: object
) -> Dataset:
    """Build the dataset: fetch the accepted labels, remove duplicates, split them and weight them.

    Args:
        champion: the active model; labels that it finds unlikely get more weight.
        reserved: images `(n, 28, 28)` uint8 of other evaluation sets, such as MNIST's test set. Drawings that are
            (nearly) the same are left out, so that nobody can train the model on its test data.
        ingredients: everything else that shapes the training (recipe, replay), for the fingerprint.
    """
    left_out: Counter[str] = Counter()
    known = set(known_accounts(now()).values_list("pk", flat=True))
    labels = []
    for row in _accepted(rules.most_labels):
        try:
            labels.append(_labelled(row, rules, known))
        except PreprocessingError:  # some imports have neither ink nor picture to preprocess again
            left_out["drawn before the preprocessing changed, and kept as its input only"] += 1
    fingerprint = _fingerprint(labels, rules, *ingredients)
    if labels:
        labels = _remove_trained(labels, left_out)
        labels = _remove_duplicates(labels, reserved, left_out)
        labels = _split_validation(labels, rules)
        labels = _set_shares(labels, rules, champion)
    return Dataset(labels, dict(left_out), fingerprint)


def _accepted(most: int) -> Iterator[Correction]:
    """Fetch at most `most` accepted corrections, in batches that bound the memory.

    Two attributes are added: `ink`, the ink as JSON text, and `by_rule`, whether a rule accepted the correction.
    """
    accepted = Correction.objects.standing().filter(state=Correction.State.ACCEPTED)
    # A large import, or the thousands a day that rules accept from anybody, must not push out the other labels.
    cheap = BY_RULE & Q(agrees=True, newcomer=True)
    last = Case(When(cheap, then=2), When(triage=IMPORTED, then=1), default=0)
    ordered = accepted.alias(agrees=CONFIRMS, newcomer=anonymous(now())).order_by(last, "-id")
    chosen = list(ordered.values_list("pk", flat=True)[:most])
    rows = accepted.with_submissions().annotate(
        ink=Cast("submission__ink", TextField()), by_rule=Case(When(BY_RULE, then=True), default=False)
    )
    for start in range(0, len(chosen), FETCHED_AT_ONCE):
        found = rows.in_bulk(chosen[start : start + FETCHED_AT_ONCE])
        yield from (found[pk] for pk in chosen[start : start + FETCHED_AT_ONCE] if pk in found)


def owner_of(submission: Submission) -> str:
    """Return the key of a drawing's owner: an account, a session, or `NOBODY`, which counts as one owner."""
    if submission.account_id:
        return f"account {submission.account_id}"
    return f"session {submission.session}" if submission.session else NOBODY


def _labelled(correction: Correction, rules: DatasetRules, known: set[int]) -> Labelled:
    submission = correction.submission
    text: str | None = correction.ink  # type: ignore[attr-defined]
    strokes, surface = stored_strokes(text) if text else ([], 0.0)
    owner = owner_of(submission)
    voice = owner if owner == NOBODY or submission.account_id in known else NEWCOMERS
    return Labelled(
        submission=submission.pk,
        owner=owner,
        voice=voice,
        budget=voice if correction.by_rule else owner,  # type: ignore[attr-defined]
        digit=correction.digit,
        confirms=correction.digit == submission.digit,
        image=_input(submission, strokes, surface),
        ink=PackedInk.pack(strokes),
        part=Part.HOLDOUT if _keyed_share(owner) < rules.holdout_owners else Part.TRAIN,
    )


def _input(submission: Submission, strokes: list[Stroke], surface: float) -> ModelInput:
    """Return the drawing as model input, preprocessed again if its preprocessing version is outdated."""
    if submission.preprocessing_version == PREPROCESSING_VERSION:
        return np.frombuffer(submission.input, np.uint8).reshape(28, 28)
    if strokes:
        return ink_to_input(strokes, surface)
    return picture_to_input(decode_picture(bytes(submission.picture or b"")))


def _keyed_share(text: str) -> float:
    """Map a text to 0…1 by a keyed hash: stable on one site, and unpredictable without its secret key."""
    return int.from_bytes(salted_hmac("training.dataset", text, algorithm="sha256").digest()[:6], "big") / 2**48


def _remove_trained(labels: list[Labelled], left_out: Counter[str]) -> list[Labelled]:
    """Remove holdout drawings that an earlier run trained on, before their owner moved them into a holdout account."""
    held = [label.submission for label in labels if label.part == Part.HOLDOUT]
    trained: set[int] = set()
    for start in range(0, len(held), ASKED_AT_ONCE):
        used = TrainingSample.objects.filter(submission__in=held[start : start + ASKED_AT_ONCE])
        trained |= set(used.exclude(part=Part.HOLDOUT).values_list("submission", flat=True))
    if trained:
        left_out["in the holdout, but learned before"] = len(trained)
    return [label for label in labels if label.submission not in trained]


def _remove_duplicates(
    labels: list[Labelled], reserved: Sequence[npt.NDArray[np.uint8]], left_out: Counter[str]
) -> list[Labelled]:
    """Remove copies of test data, drawings with contradictory labels, and holdout copies of training drawings."""
    if not labels:
        return []
    signed = signatures(np.stack([label.image for label in labels]))
    is_reserved = np.zeros(len(labels), np.bool_)
    for images in reserved:
        is_reserved |= has_neighbour(signed, signatures(images), SAME_DRAWING)
    trained = np.array([label.part == Part.TRAIN for label in labels]) & ~is_reserved
    copies = ~trained & has_neighbour(signed, signed[trained])
    disputed = _disputed(labels, groups(signed, SAME_DRAWING))
    kept = []
    for index, label in enumerate(labels):
        if is_reserved[index]:
            left_out["the same as a digit of a test set"] += 1
        elif disputed[index]:
            left_out["the same as one with another label"] += 1
        elif copies[index]:
            left_out["in the holdout, like one to learn"] += 1
        else:
            kept.append(label)
    return kept


def _disputed(labels: list[Labelled], group: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Return the mask of labels without a majority among the owners of the same drawing; in a tie, no label has one."""
    votes: dict[int, Counter[int | None]] = defaultdict(Counter)
    for number, digit, _ in {
        (int(number), label.digit, label.owner) for number, label in zip(group, labels, strict=True)
    }:
        votes[number][digit] += 1
    return np.array(
        [
            2 * votes[int(number)][label.digit] <= votes[int(number)].total()
            for number, label in zip(group, labels, strict=True)
        ]
    )


def _split_validation(labels: list[Labelled], rules: DatasetRules) -> list[Labelled]:
    """Move a share of the training drawings to validation; copies of one drawing stay together."""
    if not labels:
        return []
    group = groups(signatures(np.stack([label.image for label in labels])), SAME_DRAWING)
    first: dict[int, int] = {}
    for number, label in zip(group, labels, strict=True):
        first[int(number)] = min(label.submission, first.get(int(number), label.submission))
    return [
        replace(label, part=Part.VALIDATION)
        if label.part == Part.TRAIN and _keyed_share(f"drawing {first[int(number)]}") < rules.validation_drawings
        else label
        for number, label in zip(group, labels, strict=True)
    ]


def _set_shares(labels: list[Labelled], rules: DatasetRules, champion: DigitModel) -> list[Labelled]:
    """Set each training label's share of the training samples, with each owner's total capped.

    Newcomers' labels that rules accepted share one owner's cap: they may be one person with many cookies.
    """
    weights = {
        label.submission: max(
            rules.confirmation_weight if label.confirms else rules.correction_weight,
            1 - _probability(champion, label),
        )
        for label in labels
        if label.part == Part.TRAIN
    }
    totals: dict[str, float] = defaultdict(float)
    for label in labels:
        totals[label.budget] += weights.get(label.submission, 0.0)
    totals = {budget: total for budget, total in totals.items() if total}
    shares = bounded_shares(totals, rules.labels_share, rules.owner_share)
    return [
        replace(label, share=shares[label.budget] * weights[label.submission] / totals[label.budget])
        if label.part == Part.TRAIN
        else label
        for label in labels
    ]


def _probability(champion: DigitModel, label: Labelled) -> float:
    """Return the probability that the champion gives to a label."""
    answer = champion.probabilities(label.image)
    is_digit = is_digit_part(answer)
    return float(1 - is_digit if label.digit is None else answer[label.digit] * is_digit)


def bounded_shares(totals: dict[str, float], whole: float, most: float) -> dict[str, float]:
    """Divide `whole` in proportion to the totals, each share capped at `most`; the excess goes to the others.

    If all shares reach the cap, their sum is less than `whole`.
    """
    given: dict[str, float] = {}
    left, rest = whole, dict(totals)
    while rest:
        scale = left / sum(rest.values())
        over = [name for name, total in rest.items() if total * scale > most]
        if not over:
            return given | {name: total * scale for name, total in rest.items()}
        for name in over:
            given[name] = most
            del rest[name]
        left -= most * len(over)
        if left <= 0:
            return given | dict.fromkeys(rest, 0.0)
    return given


def _by_owner(labels: Iterable[Labelled]) -> dict[str, float]:
    shares: dict[str, float] = defaultdict(float)
    for label in labels:
        shares[label.owner] += label.share
    return shares


def _fingerprint(labels: Sequence[Labelled], rules: DatasetRules, *ingredients: object) -> str:
    """Hash everything that shapes the training: (id, label, part) of each row, preprocessing, rules, ingredients."""
    rows = sorted((label.submission, encode(label.digit), label.part.value) for label in labels)
    everything = [rows, PREPROCESSING_VERSION, asdict(rules), [repr(ingredient) for ingredient in ingredients]]
    return hashlib.sha256(json.dumps(everything).encode()).hexdigest()
