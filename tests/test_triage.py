"""Triage rules accept plausible corrections and hold suspicious ones; attackers get little accepted."""

import itertools
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client
from django.utils.timezone import now

from hdr_site import environment
from recognizer import evidence, registry, submissions, tasks, triage
from recognizer.engine import Reading, engine
from recognizer.models import Correction, ModelVersion, PastDecision, Submission, Verdict
from recognizer.owners import Owner
from recognizer.preprocessing import ModelInput, ink_to_input
from recognizer.similarity import NEAR_DUPLICATE, SAME_MANNER, signatures
from recognizer.triage import ACCEPT, HOLD, LIMITS, Cap
from tests.conftest import Visitor
from tests.drawings import CANARIES
from training.augment import Distortion, distort_strokes

pytestmark = pytest.mark.django_db

Person = uuid.UUID | User
Label = Callable[[int, Reading], int | None]  # from the digit drawn and the model's answer

INKS = [(drawn["digit"], [np.array(stroke, np.float64) for stroke in drawn["strokes"]]) for drawn in CANARIES]
LONG_AGO = timedelta(hours=6)


def drawings(
    seed: int, digit: int | None = None, verdict: str | None = None, strength: float = 1.0
) -> Iterable[tuple[int, ModelInput, Reading]]:
    """Yield distorted canary drawings without end: digit, input, and the active model's reading."""
    distortion = Distortion(
        rotation=12 * strength, shear=0.25 * strength, pen_widths=(2.0, 2.8)
    )  # the site has one pen
    rng = np.random.default_rng(seed)
    inks = [(drawn, ink) for drawn, ink in INKS if digit is None or drawn == digit]
    while True:
        drawn, ink = inks[rng.integers(len(inks))]
        image = distort_strokes(ink, distortion, rng)
        reading = engine.model.read(image)
        if verdict is None or reading.verdict == verdict:
            yield drawn, image, reading


@cache
def many_drawings(digit: int | None = None) -> list[tuple[int, ModelInput, Reading]]:
    return list(itertools.islice(drawings(0, digit), 1000))


@cache
def rare_style() -> list[tuple[int, ModelInput, Reading]]:
    """Drawings that the model doubts, and that could be something else."""
    return list(itertools.islice(drawings(0, verdict=Verdict.UNSURE, strength=2.5), 200))


@cache
def plain(digit: int) -> ModelInput:
    return ink_to_input(next(ink for drawn, ink in INKS if drawn == digit), 100)


def say(
    owner: Person | None,
    drawn: Iterable[tuple[int, ModelInput, Reading]],
    label: Label = lambda drawn, _: drawn,
    ago: timedelta = LONG_AGO,
    every: timedelta = timedelta(seconds=15),
) -> list[Correction]:
    """Store drawings and their labels in the past, one after another."""
    whose = {"account": owner} if isinstance(owner, User) else {"session": owner}
    rows, labels = [], []
    for number, (digit, image, reading) in enumerate(drawn):
        labels.append(label(digit, reading))
        rows.append(
            Submission(
                created=now() - ago + number * every,
                input=image.tobytes(),
                digit=reading.digit,
                confidence=reading.confidence,
                probabilities=reading.probabilities,
                verdict=reading.verdict,
                model_version_id=engine.model.pk,
                preprocessing_version=1,
                **whose,
            )
        )
    Submission.objects.bulk_create(rows)
    said = [
        Correction(submission=row, digit=digit, created=row.created, **whose)
        for row, digit in zip(rows, labels, strict=True)
    ]
    return Correction.objects.bulk_create(said)


def outcome(corrections: Iterable[Correction]) -> list[tuple[str, str]]:
    rows = Correction.objects.filter(pk__in=[row.pk for row in corrections]).order_by("pk")
    return list(rows.values_list("state", "triage"))


def doubtful(digit: int = 7, runner_up: int = 1, probability: float = 0.3) -> Reading:
    probabilities = [0.0] * 10
    probabilities[digit], probabilities[runner_up] = 1 - probability, probability
    return Reading(digit, 1 - probability, probabilities, Verdict.UNSURE)


def sure(digit: int) -> Reading:
    return Reading(digit, 0.999, [0.999 if d == digit else 0.0001 for d in range(10)], Verdict.SURE)


def different(count: int, reading: Reading | None = None, seed: int = 0) -> list[tuple[int, ModelInput, Reading]]:
    """Drawings that are not near-duplicates of each other, with a given reading."""
    noise = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), np.uint8) * (
        np.random.default_rng(seed + 1).random((count, 28, 28)) < 0.1
    )
    return [(7, image.astype(np.uint8), reading or doubtful()) for image in noise]


def model_is_right(_: int, reading: Reading) -> int | None:
    return reading.digit


def it_is(digit: int | None) -> Label:
    return lambda _drawn, _reading: digit


@pytest.fixture
def somebody(active_model: ModelVersion) -> uuid.UUID:
    return uuid.uuid4()


# --- Each rule --------------------------------------------------------------------------------------------------------


def test_confirmation_is_accepted_after_settling(visitor: Visitor) -> None:
    visitor.say(visitor.draw()["id"], 3)
    tasks.triage_corrections()
    settling = outcome(Correction.objects.all())
    Correction.objects.update(created=now() - LIMITS.settling)
    tasks.triage_corrections()

    assert settling == [("pending", "")]
    row = Correction.objects.get()
    assert (row.state, row.triage, row.decided_by) == ("accepted", "confirmed", None)
    assert row.decided is not None
    assert visitor.say(row.submission_id, 8).status_code == 409


def test_correction_of_doubtful_answer_is_accepted(somebody: uuid.UUID) -> None:
    said = say(somebody, different(1), it_is(1))
    triage.triage()

    assert outcome(said) == [("accepted", "model_doubted")]


def test_doubtful_drawing_can_be_labelled_not_a_digit(somebody: uuid.UUID) -> None:
    said = say(somebody, different(1), it_is(None))
    triage.triage()

    assert outcome(said) == [("accepted", "model_doubted")]


def test_implausible_correction_waits_for_review(somebody: uuid.UUID) -> None:
    said = say(somebody, different(1), it_is(4))
    triage.triage()

    assert outcome(said) == [("pending", "")]


@pytest.mark.parametrize("label", [1, None])
def test_contradiction_of_sure_answer_is_held_and_staff_can_accept_it(
    somebody: uuid.UUID, staff: Client, label: int | None
) -> None:
    (said,) = say(somebody, different(1, sure(7)), it_is(label))
    triage.triage()
    held = outcome([said])
    (row,) = staff.get("/api/v1/corrections?status=pending").json()["results"]

    assert held == [("pending", "sure_of_another")]
    assert row["triage"] == "sure_of_another"
    assert staff.post(f"/api/v1/corrections/{said.pk}/accept").status_code == 200


def test_digit_label_for_certain_non_digit_is_held(somebody: uuid.UUID) -> None:
    certain = Reading(None, 0.995, doubtful().probabilities, Verdict.NOT_A_DIGIT)
    unsure = Reading(None, 0.95, doubtful().probabilities, Verdict.NOT_A_DIGIT)
    said = say(somebody, [*different(1, certain), *different(1, unsure, seed=5)], it_is(7))
    triage.triage()

    assert outcome(said) == [("pending", "sure_of_another"), ("accepted", "model_doubted")]


def test_burst_is_held(somebody: uuid.UUID) -> None:
    said = say(somebody, different(60), model_is_right, every=timedelta(seconds=1))
    triage.triage()

    assert set(outcome(said)) == {("pending", "burst")}


def test_owner_with_rejected_corrections_is_held(somebody: uuid.UUID, admin_user: User) -> None:
    before = say(somebody, different(1), it_is(1), ago=timedelta(days=3))
    submissions.decide(before[0], Correction.State.REJECTED, admin_user)
    said = say(somebody, different(2, seed=1), model_is_right)
    triage.triage()

    assert outcome(said) == [("pending", "rejected_before")] * 2


Replace = Callable[[Correction, User], None]


def relabelled(said: Correction, reviewer: User) -> None:
    submissions.relabel(said, 7, reviewer)


def overruled(said: Correction, reviewer: User) -> None:
    """Staff give another label over the API, which a rule accepts."""
    submissions.correct(said.submission, 7, Owner(account=reviewer.pk, is_staff=True))
    Correction.objects.filter(account=reviewer, state="pending").update(created=now() - LONG_AGO)


@pytest.mark.parametrize("replace", [relabelled, overruled])
def test_correction_replaced_by_reviewer_counts_as_rejected(
    somebody: uuid.UUID, admin_user: User, replace: Replace
) -> None:
    lies = say(somebody, different(20, sure(7)), it_is(1), ago=timedelta(days=3))
    for lie in lies:
        replace(lie, admin_user)
    triage.triage()
    said = say(somebody, different(16, seed=1), model_is_right)
    triage.triage()

    assert outcome(said) == [("pending", "rejected_before")] * 16


@pytest.mark.parametrize("kept", [True, False])
def test_undone_replacement_does_not_count_as_rejection(somebody: uuid.UUID, admin_user: User, kept: bool) -> None:
    (lie,) = say(somebody, different(1), it_is(1), ago=timedelta(days=3))
    submissions.relabel(lie, 7, admin_user)
    if not kept:
        submissions.undo_latest(admin_user)
    said = say(somebody, different(2, seed=1), model_is_right)
    triage.triage()

    assert {rule for _, rule in outcome(said)} == {"rejected_before" if kept else "confirmed"}


def test_staff_who_agree_or_change_their_own_label_reject_nothing(somebody: uuid.UUID, admin_user: User) -> None:
    staff = Owner(account=admin_user.pk, is_staff=True)
    before = say(somebody, different(2), it_is(1), ago=timedelta(days=3))
    submissions.correct(before[0].submission, 1, staff)
    submissions.correct(before[1].submission, 7, staff)
    submissions.correct(before[1].submission, 1, staff)
    Correction.objects.filter(account=admin_user).update(created=now() - LONG_AGO)
    triage.triage()
    said = say(somebody, different(2, seed=1), model_is_right)
    triage.triage()

    assert outcome(said) == [("accepted", "confirmed")] * 2


def test_undoing_acceptance_of_staff_label_leaves_it_pending(somebody: uuid.UUID, admin_user: User) -> None:
    (lie,) = say(somebody, different(1), it_is(1))
    word, _ = submissions.correct(lie.submission, 7, Owner(account=admin_user.pk, is_staff=True))
    submissions.decide(word, Correction.State.ACCEPTED, admin_user)

    assert submissions.undo_latest(admin_user) == word
    assert outcome([lie, word]) == [("pending", ""), ("pending", "")]
    assert Correction.objects.waiting().get() == word


Deletion = Callable[[Client, list[Correction]], Any]


def one_by_one(client: Client, said: list[Correction]) -> None:
    for row in said:
        assert client.delete(f"/api/v1/submissions/{row.submission_id}").status_code == 204


def on_its_card(client: Client, said: list[Correction]) -> None:
    for row in said:
        assert client.post(f"/mine/{row.submission_id}/deletion").status_code == 302


def all_at_once(client: Client, _: list[Correction]) -> None:
    assert client.post("/mine/deletion").status_code == 302


def by_an_admin(client: Client, said: list[Correction]) -> None:
    client.force_login(User.objects.get(username="boss"))
    body = {"action": "delete_selected", "_selected_action": [row.submission_id for row in said], "post": "yes"}
    assert client.post("/admin/recognizer/submission/", body).status_code == 302


@pytest.mark.parametrize("delete", [one_by_one, on_its_card, all_at_once, by_an_admin])
def test_deleting_rejected_drawings_does_not_clear_the_record(
    active_model: ModelVersion, admin_user: User, delete: Deletion
) -> None:
    liar, client = User.objects.create(username="liar", date_joined=now() - timedelta(days=30)), Client()
    client.force_login(liar)
    rejected, replaced, accepted = say(liar, different(3), it_is(1), ago=timedelta(days=3))
    submissions.decide(rejected, Correction.State.REJECTED, admin_user)
    submissions.relabel(replaced, 7, admin_user)
    submissions.decide(accepted, Correction.State.ACCEPTED, admin_user)
    delete(client, [rejected, replaced, accepted])
    assert not Correction.objects.filter(account=liar).exists()
    said = say(liar, different(2, seed=1), model_is_right)
    triage.triage()

    assert outcome(said) == [("pending", "rejected_before")] * 2
    assert set(PastDecision.objects.filter(account=liar).values_list("rejected", flat=True)) == {True, False}


def test_deleting_accepted_drawings_keeps_a_good_record(somebody: uuid.UUID, admin_user: User) -> None:
    before = say(somebody, different(25), model_is_right, ago=timedelta(days=3))
    for correction in before:
        state = Correction.State.REJECTED if correction is before[0] else Correction.State.ACCEPTED
        submissions.decide(correction, state, admin_user)
    submissions.delete_all(Owner(session=somebody))
    said = say(somebody, different(2, seed=1), model_is_right)
    triage.triage()

    assert outcome(said) == [("accepted", "confirmed")] * 2


def test_record_of_deleted_drawings_moves_to_account_and_expires(somebody: uuid.UUID, admin_user: User) -> None:
    account = User.objects.create(username="ada", date_joined=now() - timedelta(days=8))
    (lie,) = say(somebody, different(1), it_is(1))
    submissions.decide(lie, Correction.State.REJECTED, admin_user)
    submissions.delete(lie.submission)
    submissions.adopt(somebody, account.pk)
    held = say(account, different(1, seed=1), model_is_right)
    triage.triage()
    PastDecision.objects.update(decided=now() - evidence.REMEMBERED)
    later = say(account, different(1, seed=2), model_is_right)
    triage.triage()
    tasks.delete_old_drawings()

    assert outcome([*held, *later]) == [("pending", "rejected_before"), ("accepted", "confirmed")]
    assert not PastDecision.objects.exists()


def test_only_decisions_by_people_are_remembered_until_account_is_deleted(
    somebody: uuid.UUID, admin_user: User
) -> None:
    account = User.objects.create(username="ada", date_joined=now() - timedelta(days=8))
    say(somebody, different(2), model_is_right)
    (lie,) = say(account, different(1, seed=3), it_is(1))
    submissions.decide(lie, Correction.State.REJECTED, admin_user)
    triage.triage()
    submissions.delete_all(Owner(session=somebody))
    submissions.delete_all(Owner(account=account.pk))
    assert PastDecision.objects.get().account == account
    account.delete()

    assert not PastDecision.objects.exists()


def test_one_rejection_among_many_acceptances_is_forgiven(somebody: uuid.UUID, admin_user: User) -> None:
    before = say(somebody, different(25), model_is_right, ago=timedelta(days=3))
    for correction in before:
        rejected = correction is before[0]
        state = Correction.State.REJECTED if rejected else Correction.State.ACCEPTED
        submissions.decide(correction, state, admin_user)
    said = say(somebody, different(2, seed=1), model_is_right)
    triage.triage()

    assert outcome(said) == [("accepted", "confirmed")] * 2


def test_contradicting_label_of_same_drawing_is_held(somebody: uuid.UUID) -> None:
    here = [(7, plain(7), doubtful())]
    first = say(somebody, here, it_is(7))
    triage.triage()
    second = say(uuid.uuid4(), here, it_is(1))
    triage.triage()

    assert outcome(first) == [("accepted", "confirmed")]
    assert outcome(second) == [("pending", "other_label")]


def in_one_manner(count: int) -> list[tuple[int, ModelInput, Reading]]:
    """Doubtful drawings that resemble each other without being near-duplicates."""
    strokes = np.zeros((count, 28, 28), np.uint8)
    strokes[:, 3:17, 6:22] = 170
    for number in range(count):
        row, column = divmod(number, 6)
        strokes[number, 20 + 4 * row : 24 + 4 * row, 1 + 4 * column : 5 + 4 * column] = 255
    pairs = np.triu(similarity(strokes), 1)
    assert SAME_MANNER < pairs[pairs > 0].min() <= pairs.max() < NEAR_DUPLICATE
    return [(7, image, doubtful()) for image in strokes]


def similarity(images: Any) -> Any:
    signed = signatures(images)
    return signed @ signed.T


@pytest.mark.parametrize("together", [True, False])
def test_labels_of_one_owner_do_not_outvote_twelve_owners(somebody: uuid.UUID, together: bool) -> None:
    """Each of the twelve owners labels a copy of a different drawing of the liar's."""
    border = in_one_manner(12)
    lies = say(somebody, border, it_is(7))
    triage.triage()
    honest = []
    for drawing in border:
        honest += say(uuid.uuid4(), [drawing], it_is(1))
        if not together:
            triage.triage()
    triage.triage()

    assert set(outcome(lies)) == {("accepted", "confirmed")}
    assert [row for row in outcome(honest) if row[1] == "other_label"] == ([] if together else outcome(honest)[:1])
    assert accepted(honest) == (12 if together else 11)


def test_held_labels_do_not_contradict_others(somebody: uuid.UUID) -> None:
    here = [(7, plain(7), doubtful())]
    say(somebody, here, it_is(7))
    triage.triage()
    outvoted = say(uuid.uuid4(), here, it_is(1))
    triage.triage()
    elsewhere = say(uuid.uuid4(), here, it_is(7))
    triage.triage()
    siding = say(uuid.uuid4(), here, it_is(1))
    triage.triage()

    assert outcome(outvoted) == [("pending", "other_label")]
    assert outcome(elsewhere) == [("accepted", "confirmed")]
    assert outcome(siding) == [("pending", "other_label")]


def test_contradiction_of_sure_answer_does_not_affect_others(somebody: uuid.UUID) -> None:
    here = [(7, plain(7), sure(7))]
    lies = [row for _ in range(5) for row in say(uuid.uuid4(), here, it_is(1))]
    honest = say(somebody, here, it_is(7))
    triage.triage()

    assert set(outcome(lies)) == {("pending", "sure_of_another")}
    assert outcome(honest) == [("accepted", "confirmed")]


def test_repeated_drawing_is_held(somebody: uuid.UUID) -> None:
    said = say(somebody, [(7, plain(7), sure(7))] * 5)
    triage.triage()

    assert outcome(said) == [("accepted", "confirmed")] * 2 + [("pending", "same_drawing_again")] * 3


def test_agreement_of_several_owners_is_accepted(active_model: ModelVersion) -> None:
    here = [(4, plain(4), doubtful(9, 7))]
    said = [row for _ in range(3) for row in say(uuid.uuid4(), here)]
    alone = say(uuid.uuid4(), [(6, plain(6), doubtful(9, 7))])
    triage.triage()

    assert outcome(said) == [("accepted", "owners_agree")] * 3
    assert outcome(alone) == [("pending", "")]


def test_one_owner_does_not_agree_with_itself(somebody: uuid.UUID) -> None:
    said = say(somebody, [(4, plain(4), doubtful(9, 7))] * 2)
    triage.triage()

    assert outcome(said) == [("pending", "")] * 2


def test_staff_labels_are_accepted_without_a_cap(admin_user: User, active_model: ModelVersion) -> None:
    said = say(admin_user, different(LIMITS.account.corrections + 5, sure(7)), it_is(1))
    triage.triage()

    assert set(outcome(said)) == {("accepted", "staff")}


def test_correction_without_owner_is_held(active_model: ModelVersion) -> None:
    said = say(None, different(1), model_is_right)
    triage.triage()

    assert outcome(said) == [("pending", "no_owner")]


# --- Caps, and the operator's setting ---------------------------------------------------------------------------------


def accepted(corrections: Iterable[Correction]) -> int:
    return sum(state == "accepted" for state, _ in outcome(corrections))


def mostly_confirming(count: int) -> Label:
    """Correct `count` doubtful answers, then confirm the rest."""
    turns = itertools.count()
    return lambda _, reading: 1 if next(turns) < count else reading.digit


def test_daily_cap_per_owner_delays_the_rest(somebody: uuid.UUID) -> None:
    many = LIMITS.session.corrections + 10
    said = say(somebody, different(2 * many), mostly_confirming(many), ago=timedelta(hours=12))[:many]
    triage.triage()
    today = accepted(said)
    left = {row for row in outcome(said) if row[0] == "pending"}
    triage.triage()
    still = accepted(said)
    Correction.objects.filter(state="accepted").update(decided=now() - timedelta(days=1))
    triage.triage()

    assert today == still == LIMITS.session.corrections
    assert left == {("pending", "")}
    assert accepted(said) == many


@pytest.mark.parametrize(
    ("reading", "most"), [(doubtful(), LIMITS.session.corrections), (sure(7), LIMITS.session.confirmations)]
)
def test_cap_on_confirmations_depends_on_verdict(somebody: uuid.UUID, reading: Reading, most: int) -> None:
    said = say(somebody, different(120, reading), model_is_right)
    triage.triage()
    first = accepted(said)
    triage.triage()

    assert first == accepted(said) == most


def test_account_has_higher_cap_than_session(active_model: ModelVersion) -> None:
    many = LIMITS.account.corrections + 10
    account = User.objects.create(username="ada", date_joined=now() - timedelta(days=8))
    said = say(account, different(2 * many), mostly_confirming(many), ago=timedelta(hours=12))[:many]
    triage.triage()

    assert accepted(said) == LIMITS.account.corrections > LIMITS.session.corrections


def test_new_accounts_share_the_cap_of_sessions(active_model: ModelVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triage, "LIMITS", replace(LIMITS, sessions=Cap(corrections=20, confirmations=20)))
    ada, eve = (User.objects.create(username=name) for name in ("ada", "eve"))
    owners: list[Person] = [uuid.uuid4(), ada, eve]
    said = [say(owner, different(20, seed=n), mostly_confirming(10))[:10] for n, owner in enumerate(owners)]
    triage.triage()

    assert sum(map(accepted, said)) == 20
    assert all(6 <= accepted(rows) <= 7 for rows in said)


def test_moving_drawings_into_account_does_not_raise_the_cap(
    active_model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triage, "LIMITS", replace(LIMITS, sessions=Cap(corrections=20, confirmations=20)))
    account = User.objects.create(username="ada", date_joined=now() - timedelta(days=8))
    first, second = uuid.uuid4(), uuid.uuid4()
    before = say(first, different(40), mostly_confirming(20))[:20]
    triage.triage()
    submissions.adopt(first, account.pk)
    after = say(second, different(40, seed=9), mostly_confirming(20))[:20]
    triage.triage()

    assert (accepted(before), accepted(after)) == (20, 0)


def test_bad_record_moves_into_account(active_model: ModelVersion, admin_user: User) -> None:
    account, session = User.objects.create(username="ada", date_joined=now() - timedelta(days=8)), uuid.uuid4()
    for correction in say(session, different(10), it_is(1)):
        submissions.decide(correction, Correction.State.REJECTED, admin_user)
    submissions.adopt(session, account.pk)
    said = say(account, different(5, seed=9), it_is(1))
    triage.triage()

    assert outcome(said) == [("pending", "rejected_before")] * 5


def test_anonymous_owners_share_a_cap_and_take_turns(
    active_model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = 20
    limits = replace(LIMITS, sessions=Cap(corrections=shared, confirmations=shared))
    monkeypatch.setattr(triage, "LIMITS", limits)
    said = [say(uuid.uuid4(), different(20, seed=number), mostly_confirming(10))[:10] for number in range(4)]
    triage.triage()

    assert [accepted(rows) for rows in said] == [5, 5, 5, 5]


def test_operator_can_require_review_of_everything(somebody: uuid.UUID, admin_user: User, settings: Any) -> None:
    settings.REVIEW = "all"
    said = say(somebody, [*different(1), *different(1, sure(7), seed=5)], it_is(1))
    by_staff = say(admin_user, different(1, seed=9), it_is(1))
    triage.triage()

    assert outcome(said) == [("pending", ""), ("pending", "sure_of_another")]
    assert outcome(by_staff) == [("pending", "")]


def test_unknown_review_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDR_REVIEW", "none")

    with pytest.raises(SystemExit, match=r"HDR_REVIEW must be one of triage, all; got 'none'\."):
        environment.choice("HDR_REVIEW", ("triage", "all"))


# --- At the same time -------------------------------------------------------------------------------------------------


def test_concurrent_decisions_and_changes_are_not_overruled(
    somebody: uuid.UUID, admin_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = say(somebody, different(3), it_is(1))
    compared = evidence.compared

    def meanwhile(*args: Any) -> Any:
        submissions.decide(said[0], Correction.State.REJECTED, admin_user)
        submissions.correct(said[1].submission, 4, Owner(session=somebody))
        said[2].submission.delete()
        return compared(*args)

    monkeypatch.setattr(evidence, "compared", meanwhile)

    assert triage.triage().total() == 0
    assert outcome(said) == [("rejected", ""), ("pending", "")]
    assert Correction.objects.standing().filter(state="pending").get().digit == 4


@pytest.mark.django_db(transaction=True)
def test_two_concurrent_runs_share_the_caps() -> None:
    registry.ensure_bundled()
    engine.refresh()
    many = LIMITS.session.corrections + 10
    said = say(uuid.uuid4(), different(2 * many), mostly_confirming(many), ago=timedelta(hours=12))[:many]

    def run(_: int) -> None:
        try:
            triage.triage()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, range(2)))

    assert accepted(said) == LIMITS.session.corrections


# --- People -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_honest_owner_gets_everything_accepted(somebody: uuid.UUID) -> None:
    """They confirm nearly all answers, and correct doubtful ones that are wrong."""
    usual = (one for one in drawings(1) if one[2].digit == one[0])
    misread = (one for one in drawings(2, verdict=Verdict.UNSURE, strength=1.5) if plausible(one) and wrong(one))
    said = say(somebody, [*itertools.islice(usual, 98), *itertools.islice(misread, 2)])
    triage.triage()

    assert {state for state, _ in outcome(said)} == {"accepted"}


def test_honest_owner_whose_hand_is_misread_is_held_for_review(somebody: uuid.UUID) -> None:
    misread = [(1, image, sure(7)) for _, image, _ in itertools.islice(drawings(3), 10)]
    said = say(somebody, misread)
    triage.triage()

    assert {state for state, _ in outcome(said)} == {"pending"}
    assert "" not in {rule for _, rule in outcome(said)}


def test_misread_owner_is_in_good_standing_after_review(somebody: uuid.UUID, admin_user: User) -> None:
    before = say(somebody, different(10, sure(7)), it_is(1), ago=timedelta(days=1))
    for correction in before:
        submissions.decide(correction, Correction.State.ACCEPTED, admin_user)
    said = say(somebody, different(3, seed=5), model_is_right)
    triage.triage()

    assert outcome(said) == [("accepted", "confirmed")] * 3


def wrong(one: tuple[int, ModelInput, Reading]) -> bool:
    return one[2].digit != one[0]


def plausible(one: tuple[int, ModelInput, Reading]) -> bool:
    return one[2].probabilities[one[0]] >= LIMITS.plausible


# --- Attacks ----------------------------------------------------------------------------------------------------------


def another_digit(drawn: int, reading: Reading) -> int:
    """Return a digit that is neither drawn nor read: surely wrong."""
    return next(d for d in range(10) if d not in (drawn, reading.digit, (drawn + 3) % 10))


def the_likeliest_lie(drawn: int, reading: Reading) -> int:
    """Return the likeliest digit according to the model, except for the truth and its answer."""
    order: list[int] = np.argsort(reading.probabilities)[::-1].tolist()
    return next(digit for digit in order if digit not in (drawn, reading.digit))


def attack(sessions: int, drawn: list[tuple[int, ModelInput, Reading]], label: Label) -> list[Correction]:
    """Let sessions share drawings and lie about them, with triage in between, as on a real site."""
    said: list[Correction] = []
    owners = [uuid.uuid4() for _ in range(sessions)]
    for turn in range(5):
        for number, owner in enumerate(owners):
            share = drawn[number::sessions]
            said += say(owner, share[turn * len(share) // 5 : (turn + 1) * len(share) // 5], label, timedelta(hours=20))
        triage.triage()
    while triage.triage():
        pass
    assert len(said) == len(drawn)
    return said


@pytest.mark.slow
@pytest.mark.parametrize("sessions", [1, 10])
def test_thousand_wrong_labels_are_not_accepted(active_model: ModelVersion, sessions: int) -> None:
    assert accepted(attack(sessions, many_drawings(), another_digit)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("sessions", [1, 10])
def test_thousand_sevens_labelled_one_are_rarely_accepted(active_model: ModelVersion, sessions: int) -> None:
    said = attack(sessions, many_drawings(7), it_is(1))

    assert not Correction.objects.filter(state="accepted", submission__verdict="sure").exists()
    assert accepted(said) <= sessions


@pytest.mark.slow
@pytest.mark.parametrize("sessions", [1, 10])
def test_lies_about_a_rare_style_are_soon_noticed(active_model: ModelVersion, sessions: int) -> None:
    said = attack(sessions, rare_style(), the_likeliest_lie)

    assert accepted(said) < LIMITS.contradicted_doubtful * sessions
    assert "contradicts_doubtful_answers" in {rule for _, rule in outcome(said)}


@pytest.mark.slow
def test_ten_sessions_that_know_the_rules_stay_under_the_caps(active_model: ModelVersion) -> None:
    """They label only doubtful drawings wrongly, and confirm as many."""
    turns = itertools.count()
    label: Label = lambda _, reading: 1 if next(turns) % 2 else reading.digit  # noqa: E731
    said = attack(10, different(1000), label)
    lies = said[1::2]

    assert 0 < accepted(lies) <= LIMITS.sessions.corrections
    through = Correction.objects.filter(pk__in=[row.pk for row in lies], state="accepted").values_list("session")
    assert max(Counter(through).values()) <= LIMITS.session.corrections


# --- Presentation -----------------------------------------------------------------------------------------------------


@pytest.fixture
def admin_browser(admin_user: User) -> Client:
    client = Client()
    client.force_login(admin_user)
    return client


def test_admin_list_shows_rules_and_can_be_filtered(somebody: uuid.UUID, admin_browser: Client) -> None:
    say(somebody, different(1, sure(7)), it_is(1))
    say(somebody, different(2, seed=5), model_is_right)
    say(somebody, different(1, seed=7), it_is(4))
    triage.triage()
    url = "/admin/recognizer/correction/"

    page = admin_browser.get(url)
    shown = [row.confidence for row in page.context["cl"].result_list]
    assert shown == sorted(shown)
    assert '<span title="The model was sure of another answer.">sure of another</span>' in page.content.decode()
    for query, count in (("held", 1), ("none", 1), ("sure_of_another", 1), ("confirmed", 2), ("burst", 0)):
        assert len(admin_browser.get(f"{url}?triage={query}").context["cl"].result_list) == count


def test_admin_list_uses_constant_number_of_queries(
    somebody: uuid.UUID, admin_browser: Client, django_assert_max_num_queries: Any
) -> None:
    say(somebody, different(40), model_is_right)
    triage.triage()

    with django_assert_max_num_queries(12):
        admin_browser.get("/admin/recognizer/correction/")


def test_triage_run_uses_constant_number_of_queries(
    active_model: ModelVersion, django_assert_max_num_queries: Any
) -> None:
    for number in range(30):
        say(uuid.uuid4(), different(3, seed=number), model_is_right)

    with django_assert_max_num_queries(12):
        assert triage.triage()["confirmed"] == 90
    with django_assert_max_num_queries(1):
        triage.triage()


def test_docs_page_names_every_rule() -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "triage.md").read_text()

    assert {rule.name for rule in (*HOLD, *ACCEPT) if f"`{rule.name}`" not in page} == set()
    assert all(len(rule.name) <= 40 for rule in (*HOLD, *ACCEPT))
