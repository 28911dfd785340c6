"""What a run learns from: the accepted labels, split by owner, weighed so that nobody's word is most of it.

Nothing of it is copied: a deleted submission is in no later set.
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

ASKED_AT_ONCE = 500  # numbers in one query
NOBODY = "nobody"  # the owner of what only staff can label: imported drawings, and those sent without a cookie
NEWCOMERS = "newcomers"  # all owners whom reviewers do not know: for each of them, another one costs nothing
FETCHED_AT_ONCE = 50  # labels with their ink, of which some is half a megabyte


@dataclass(frozen=True, slots=True)
class DatasetRules:
    """How labels become a dataset. Shares are of what the network sees while it learns."""

    holdout_owners: float = 0.1  # of the owners: none of their drawings is learned, all judge
    validation_drawings: float = 0.12  # of the other owners' drawings: they choose between candidates
    labels_share: float = 0.25  # of what is seen, at most, from people; the rest is replay
    owner_share: float = 0.06  # of what is seen, at most, from one owner
    correction_weight: float = 0.3  # at least; a label weighs as much as the champion doubts it, 0 to 1
    confirmation_weight: float = 0.1  # at least, of a label that the model had right when it was drawn
    most_labels: int = 20_000  # the newest, people's before imported ones


@dataclass(frozen=True, slots=True)
class Labelled:
    """A drawing of somebody's, and what it is."""

    submission: int
    owner: str
    voice: str  # the owner, or `NEWCOMERS`: whose word it counts as where models are compared
    budget: str  # the owner, or `NEWCOMERS`: whose share of what is learned it takes
    digit: Label
    confirms: bool  # the model had it right
    image: ModelInput
    ink: PackedInk | None  # None: it came as a picture, or is learned as one
    part: Part
    share: float = 0.0  # of what the network sees; 0 unless it is trained on


@dataclass(frozen=True, slots=True)
class Dataset:
    """The labels of one run, by part, with what tells it from another."""

    labels: list[Labelled]
    left_out: dict[str, int]  # reason: drawings
    fingerprint: str

    def part(self, part: Part) -> list[Labelled]:
        return [label for label in self.labels if label.part == part]

    def counts(self) -> dict[str, Any]:
        """Say how many drawings went where, for people."""
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
    """Gather the accepted labels, part and weigh them.

    Args:
        champion: what it doubts weighs more.
        reserved: images `(n, 28, 28)` uint8 that judge candidates, such as MNIST's test set; whoever sends one of
            them, or nearly, does not get it learned.
        ingredients: whatever else shapes the result (recipe, replay), for the fingerprint.
    """
    left_out: Counter[str] = Counter()
    known = set(known_accounts(now()).values_list("pk", flat=True))
    labels = []
    for row in _accepted(rules.most_labels):
        try:
            labels.append(_labelled(row, rules, known))
        except PreprocessingError:  # some imports have neither ink nor picture that could be brought to a new input
            left_out["drawn before the preprocessing changed, and kept as its input only"] += 1
    fingerprint = _fingerprint(labels, rules, *ingredients)
    if labels:
        labels = _never_learned(labels, left_out)
        labels = _without_duplicates(labels, reserved, left_out)
        labels = _validation_apart(labels, rules)
        labels = _weighed(labels, rules, champion)
    return Dataset(labels, dict(left_out), fingerprint)


def _accepted(most: int) -> Iterator[Correction]:
    """Fetch the accepted corrections, few at a time.

    Each comes with its ink as JSON text, in `ink`, and with whether a rule accepted it, in `by_rule`.
    """
    accepted = Correction.objects.standing().filter(state=Correction.State.ACCEPTED)
    # Neither a large import nor what anybody can have accepted by rules, thousands a day, pushes the others out.
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
    """Name whose a drawing is: an account, an anonymous session, or nobody, who counts as one owner."""
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
    """Return the drawing in today's preprocessing, whatever it was drawn under."""
    if submission.preprocessing_version == PREPROCESSING_VERSION:
        return np.frombuffer(submission.input, np.uint8).reshape(28, 28)
    if strokes:
        return ink_to_input(strokes, surface)
    return picture_to_input(decode_picture(bytes(submission.picture or b"")))


def _keyed_share(text: str) -> float:
    """Map a text to 0…1: the same on every host and in every run of a site, and unknown to whoever lacks its key."""
    return int.from_bytes(salted_hmac("training.dataset", text, algorithm="sha256").digest()[:6], "big") / 2**48


def _never_learned(labels: list[Labelled], left_out: Counter[str]) -> list[Labelled]:
    """Leave out of the holdout what a run learned before its owner took it into an account that is on that side."""
    held = [label.submission for label in labels if label.part == Part.HOLDOUT]
    learned: set[int] = set()
    for start in range(0, len(held), ASKED_AT_ONCE):
        used = TrainingSample.objects.filter(submission__in=held[start : start + ASKED_AT_ONCE])
        learned |= set(used.exclude(part=Part.HOLDOUT).values_list("submission", flat=True))
    if learned:
        left_out["in the holdout, but learned before"] = len(learned)
    return [label for label in labels if label.submission not in learned]


def _without_duplicates(
    labels: list[Labelled], reserved: Sequence[npt.NDArray[np.uint8]], left_out: Counter[str]
) -> list[Labelled]:
    """Leave out what judges candidates elsewhere, what is labelled in two ways, and copies across the split."""
    if not labels:
        return []
    signed = signatures(np.stack([label.image for label in labels]))
    judges = np.zeros(len(labels), np.bool_)
    for images in reserved:
        judges |= has_neighbour(signed, signatures(images), SAME_DRAWING)
    learned = np.array([label.part == Part.TRAIN for label in labels]) & ~judges
    copies = ~learned & has_neighbour(signed, signed[learned])
    disputed = _disputed(labels, groups(signed, SAME_DRAWING))
    kept = []
    for index, label in enumerate(labels):
        if judges[index]:
            left_out["the same as a digit of a test set"] += 1
        elif disputed[index]:
            left_out["the same as one with another label"] += 1
        elif copies[index]:
            left_out["in the holdout, like one to learn"] += 1
        else:
            kept.append(label)
    return kept


def _disputed(labels: list[Labelled], group: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Find the labels that most owners of the same drawing contradict; in a draw, all of them."""
    said: dict[int, Counter[int | None]] = defaultdict(Counter)
    for number, digit, _ in {
        (int(number), label.digit, label.owner) for number, label in zip(group, labels, strict=True)
    }:
        said[number][digit] += 1
    return np.array(
        [
            2 * said[int(number)][label.digit] <= said[int(number)].total()
            for number, label in zip(group, labels, strict=True)
        ]
    )


def _validation_apart(labels: list[Labelled], rules: DatasetRules) -> list[Labelled]:
    """Put some of the drawings to learn aside, copies of one drawing together."""
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


def _weighed(labels: list[Labelled], rules: DatasetRules, champion: DigitModel) -> list[Labelled]:
    """Give each label to learn its share of what the network sees, no owner's total above the bound.

    What rules accepted of newcomers has one owner's share together: they may be one person with many cookies.
    """
    weights = {
        label.submission: max(
            rules.confirmation_weight if label.confirms else rules.correction_weight,
            1 - _belief(champion, label),
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


def _belief(champion: DigitModel, label: Labelled) -> float:
    """The probability that the champion gives a label."""
    answer = champion.probabilities(label.image)
    is_digit = is_digit_part(answer)
    return float(1 - is_digit if label.digit is None else answer[label.digit] * is_digit)


def bounded_shares(totals: dict[str, float], whole: float, most: float) -> dict[str, float]:
    """Part `whole` in proportion to the totals, nobody above `most`; what one may not have goes to the others.

    With too few to take it all, less than `whole` is given out.
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
    """Digest everything that shapes what is learned: (ids, labels, owners' parts), preprocessing, replay, recipe."""
    rows = sorted((label.submission, encode(label.digit), label.part.value) for label in labels)
    everything = [rows, PREPROCESSING_VERSION, asdict(rules), [repr(ingredient) for ingredient in ingredients]]
    return hashlib.sha256(json.dumps(everything).encode()).hexdigest()
