"""Training data: accepted labels only, split by owner, with a bounded share for each owner."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.utils.timezone import now
from hypothesis import given
from hypothesis import strategies as st

from recognizer import submissions
from recognizer.engine import canary_digits, engine
from recognizer.models import Correction, ModelVersion, Submission
from recognizer.preprocessing import ink_to_input
from tests.labels import labelled, person
from training.dataset import Dataset, DatasetRules, Part, bounded_shares, build_dataset
from training.models import TrainingRun, TrainingSample

pytestmark = pytest.mark.django_db

RULES = DatasetRules()
HELD_OUT, LEARNED = "person 7", "person 0"  # where the split puts them with `KEY`
ACCOUNT_HELD_OUT = 10  # likewise
KEY = "the key of the tests of the split"


@pytest.fixture(autouse=True)
def _key(settings: LazySettings) -> None:
    settings.SECRET_KEY = KEY


def build(*ingredients: object, reserved: list[np.ndarray] | None = None, rules: DatasetRules = RULES) -> Dataset:
    return build_dataset(rules, engine.model, reserved or [], *ingredients)


def used(dataset: Dataset) -> set[int]:
    return {label.submission for label in dataset.labels}


def test_only_accepted_standing_labels_are_used(active_model: ModelVersion) -> None:
    accepted = labelled(LEARNED, 3)
    labelled(LEARNED, 4, state=Correction.State.PENDING)
    labelled(LEARNED, 5, state=Correction.State.REJECTED)

    assert used(build()) == {accepted.pk}


def test_deleted_submission_is_in_no_later_dataset(active_model: ModelVersion) -> None:
    kept, deleted = labelled(LEARNED, 3), labelled(LEARNED, 4)
    before = build()
    deleted_pk = deleted.pk
    deleted.delete()

    assert used(before) == {kept.pk, deleted_pk}
    assert used(build()) == {kept.pk}
    assert build().fingerprint != before.fingerprint


def test_owner_stays_on_one_side_of_the_split(active_model: ModelVersion) -> None:
    for number in range(40):
        labelled(f"person {number}", number % 10, seed=number)
        labelled(f"person {number}", (number + 3) % 10, seed=number + 50)
    sides: dict[str, set[bool]] = {}
    for label in build().labels:
        sides.setdefault(label.owner, set()).add(label.part == Part.HOLDOUT)

    assert all(len(side) == 1 for side in sides.values())
    assert sides[f"session {person(HELD_OUT)}"] == {True}
    assert sides[f"session {person(LEARNED)}"] == {False}
    assert {True, False} == {side for (side,) in sides.values()}


def test_split_depends_on_secret_key(active_model: ModelVersion, settings: LazySettings) -> None:
    for number in range(40):
        labelled(f"person {number}", number % 10, seed=number)

    def held_out() -> set[str]:
        return {label.owner for label in build().labels if label.part == Part.HOLDOUT}

    ours = held_out()
    settings.SECRET_KEY = "the key of another site"
    assert held_out() != ours


def test_owners_unknown_to_reviewers_share_one_voice(active_model: ModelVersion) -> None:
    boss = User.objects.create(username="boss", is_staff=True)
    known, untried = (User.objects.create(username=name, date_joined=now() - timedelta(days=8)) for name in "ab")
    newcomer = User.objects.create(username="c")
    for number, account in enumerate([known, untried, newcomer, boss]):
        labelled("unused", number, seed=number, session=None, account=account)
    for account in (known, newcomer):
        Correction.objects.create(
            submission=labelled("unused", 4, seed=9 + account.pk, session=None, account=account, said=False),
            digit=4,
            account=account,
            state="accepted",
            decided=now(),
            decided_by=boss,
        )
    labelled("somebody", 5, seed=5)
    labelled("somebody else", 6, seed=6)
    voices = {label.owner: label.voice for label in build().labels}

    assert {owner for owner, voice in voices.items() if owner == voice} == {f"account {known.pk}", f"account {boss.pk}"}
    assert len(set(voices.values())) == 3 and len(voices) == 6


def test_copies_by_one_owner_do_not_outvote_two_owners(active_model: ModelVersion) -> None:
    agreed = [labelled(f"person {n}", 1, seed=3) for n in (0, 1)]
    for _ in range(3):
        labelled("person 3", 7, drawn=1, seed=3)

    assert used(build()) == {submission.pk for submission in agreed}


def test_canary_drawing_is_not_learned(active_model: ModelVersion) -> None:
    other = labelled(LEARNED, 2, seed=2)
    labelled(LEARNED, 6, input=canary_digits().images[0].tobytes())

    assert used(build(reserved=[canary_digits().images])) == {other.pk}


def test_learned_drawing_is_left_out_when_its_account_is_in_the_holdout(active_model: ModelVersion) -> None:
    learned, unused = labelled(LEARNED, 3), labelled(LEARNED, 4)
    run = TrainingRun.objects.create(state=TrainingRun.State.SUCCEEDED, trigger=TrainingRun.Trigger.COMMAND)
    TrainingSample.objects.create(run=run, submission=learned, part=Part.TRAIN, digit=3, weight=1)
    account = User.objects.create(pk=ACCOUNT_HELD_OUT, username="ada")

    assert used(build()) == {learned.pk, unused.pk}
    assert submissions.adopt(person(LEARNED), account.pk) == (2, True)
    dataset = build()

    assert [(label.submission, label.part) for label in dataset.labels] == [(unused.pk, Part.HOLDOUT)]
    assert dataset.left_out == {"in the holdout, but learned before": 1}


def test_same_drawing_is_not_on_both_sides(active_model: ModelVersion) -> None:
    learned = labelled(LEARNED, 8, seed=7)
    labelled(HELD_OUT, 8, seed=7)
    apart = labelled(HELD_OUT, 2, seed=9)
    dataset = build()

    assert used(dataset) == {learned.pk, apart.pk}
    assert dataset.left_out == {"in the holdout, like one to learn": 1}


def test_contradicted_label_of_a_drawing_is_left_out(active_model: ModelVersion) -> None:
    agreed = [labelled(f"person {n}", 1, seed=3) for n in (0, 1, 2)]
    labelled("person 3", 7, drawn=1, seed=3)
    dataset = build()

    assert used(dataset) == {submission.pk for submission in agreed}
    assert dataset.left_out == {"the same as one with another label": 1}


def test_tied_labels_are_both_left_out(active_model: ModelVersion) -> None:
    labelled("person 0", 1, seed=3)
    labelled("person 1", 7, drawn=1, seed=3)

    assert used(build()) == set()


def test_drawing_from_a_test_set_is_not_learned(active_model: ModelVersion) -> None:
    labelled(LEARNED, 6, seed=1)
    other = labelled(LEARNED, 2, seed=2)
    test_set = np.stack([np.frombuffer(Submission.objects.order_by("id")[0].input, np.uint8).reshape(28, 28)])

    assert used(build(reserved=[test_set])) == {other.pk}


def test_share_of_one_owner_is_bounded(active_model: ModelVersion) -> None:
    for seed in range(60):
        labelled(LEARNED, seed % 10, answered=(seed + 1) % 10, seed=seed)
    labelled("person 1", 5, seed=3)
    dataset = build()
    shares: dict[str, float] = {}
    for label in dataset.part(Part.TRAIN):
        shares[label.owner] = shares.get(label.owner, 0) + label.share

    assert shares[f"session {person(LEARNED)}"] == pytest.approx(RULES.owner_share)
    assert max(shares.values()) <= RULES.owner_share + 1e-9
    assert dataset.counts()["largest_owner_share"] == pytest.approx(RULES.owner_share, abs=1e-4)


def test_rule_accepted_labels_of_newcomers_share_one_owners_share(active_model: ModelVersion) -> None:
    learned = [number for number in range(30) if number not in (7, 13)]  # the others are in the holdout
    for number in learned:
        labelled(f"person {number}", number % 10, answered=(number + 1) % 10, seed=number)
    everything_learned = replace(RULES, validation_drawings=0)
    assert sum(label.share for label in build(rules=everything_learned).labels) == pytest.approx(RULES.labels_share)

    Correction.objects.update(triage="model_doubted")
    labels = build(rules=everything_learned).labels
    assert sum(label.share for label in labels) == pytest.approx(RULES.owner_share)
    assert all(label.share > 0 for label in labels)


def test_confirmations_do_not_displace_reviewed_labels(active_model: ModelVersion) -> None:
    reviewed = [labelled(LEARNED, 3, seed=1), labelled("person 1", 4, answered=5, seed=2)]
    for seed in range(3, 9):
        labelled(f"person {seed}", seed, seed=seed)
    Correction.objects.exclude(submission__in=reviewed).update(triage="confirmed")

    assert used(build(rules=replace(RULES, most_labels=2))) == {submission.pk for submission in reviewed}


def test_learned_labels_are_counted_by_label_and_kind(active_model: ModelVersion) -> None:
    for seed, (digit, answered) in enumerate([(3, 3), (3, 3), (3, 5), (None, 4)]):
        labelled(LEARNED, digit, answered=answered, seed=seed)
    labelled(HELD_OUT, 6, answered=0, seed=9)
    counts = build_dataset(DatasetRules(validation_drawings=0), engine.model, []).counts()

    assert (counts["corrections_of"], counts["confirmations_of"]) == ({"3": 1, "not a digit": 1}, {"3": 2})


def test_labels_that_champion_misreads_weigh_more(active_model: ModelVersion) -> None:
    wrong = labelled(LEARNED, 4, drawn=3, answered=3)  # the champion would say 3
    right = labelled(LEARNED, 3, seed=1)
    settled = labelled(LEARNED, 3, answered=5, seed=2)  # corrected once, read rightly since
    all_learned = replace(RULES, validation_drawings=0)
    shares = {label.submission: label.share for label in build(rules=all_learned).part(Part.TRAIN)}

    assert shares[right.pk] == pytest.approx(shares[wrong.pk] * RULES.confirmation_weight, rel=0.01)
    assert shares[settled.pk] == pytest.approx(shares[wrong.pk] * RULES.correction_weight, rel=0.01)


def test_fingerprint_depends_on_labels_and_recipe_only(active_model: ModelVersion) -> None:
    submission = labelled(LEARNED, 4, seed=1)
    first = build("recipe").fingerprint

    assert build("recipe").fingerprint == first
    assert build("another recipe").fingerprint != first
    Correction.objects.filter(submission=submission).update(digit=9)
    assert build("recipe").fingerprint != first
    Correction.objects.filter(submission=submission).update(digit=4)
    assert build("recipe").fingerprint == first


def test_outdated_input_is_redrawn_from_ink(active_model: ModelVersion) -> None:
    submission = labelled(LEARNED, 4, preprocessing_version=0, input=bytes(784))
    assert submission.ink is not None
    strokes = [np.array(stroke) for stroke in submission.ink["strokes"]]
    (label,) = build().labels

    assert (label.image == ink_to_input(strokes, 140)).all()


def test_outdated_import_without_ink_is_left_out(active_model: ModelVersion) -> None:
    labelled(LEARNED, 4, preprocessing_version=0, ink=None)
    other = labelled(LEARNED, 5, seed=1)
    dataset = build()

    assert used(dataset) == {other.pk}
    assert list(dataset.left_out.values()) == [1]


def test_drawings_without_owner_count_as_one_owner(active_model: ModelVersion) -> None:
    for seed in range(4):
        labelled("unused", seed, seed=seed, session=None)

    assert {label.owner for label in build().labels} == {"nobody"}


@given(st.dictionaries(st.text(max_size=3), st.floats(0.01, 1000), min_size=1, max_size=30))
def test_bounded_shares_add_up_to_the_whole_where_possible(totals: dict[str, float]) -> None:
    shares = bounded_shares(totals, whole=0.25, most=0.06)

    assert shares.keys() == totals.keys()
    assert max(shares.values()) <= 0.06 + 1e-9
    assert sum(shares.values()) == pytest.approx(min(0.25, 0.06 * len(totals)))
    assert sorted(totals, key=totals.__getitem__) == sorted(totals, key=lambda name: (shares[name], totals[name]))
