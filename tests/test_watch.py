"""A promoted version that people correct clearly more often than the previous one is rolled back; others stay."""

import uuid
from datetime import timedelta
from math import comb
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils.timezone import now
from pytest_django import DjangoAssertNumQueries

from recognizer import registry, watch
from recognizer.engine import engine
from recognizer.models import Correction, ModelFile, ModelVersion, Promotion, Submission
from recognizer.preprocessing import ink_to_input
from recognizer.tasks import watch_promotion
from recognizer.watch import SampledDrawing, WatchLimits
from tests.drawings import canary

pytestmark = pytest.mark.django_db

IMAGE = ink_to_input([np.array(stroke, np.float64) for stroke in canary(3)], 100).tobytes()  # the bundled model reads 3


@pytest.fixture
def promoted(active_model: ModelVersion) -> ModelVersion:
    """A version that passed its gates, after 300 drawings by the bundled one with 6 corrections."""
    people_draw(active_model, people=60, each=5, corrected=6)
    return promote_next(active_model)


def promote_next(parent: ModelVersion, cause: Promotion.Cause = Promotion.Cause.GATES) -> ModelVersion:
    version = registry.register(
        bytes(parent.files.get(kind="tflite").content),
        None,
        preprocessing_version=parent.preprocessing_version,
        thresholds=parent.thresholds,
        metrics={},
        parent=parent,
    )
    registry.promote(version, cause)
    return version


def people_draw(
    version: ModelVersion,
    people: int,
    each: int,
    corrected: int,
    image: bytes = IMAGE,
    said: int | None = 3,
    known: bool = True,
) -> list[Correction]:
    """Store threes; `corrected` of them, spread over the people, were read as 8."""
    owners = known_people(version, people) if known else [{"session": uuid.uuid4()} for _ in range(people)]
    submissions = [drawing_of(version, image, **owner) for owner in owners * each]
    for submission in submissions[:corrected]:
        submission.digit = 8
    stored = Submission.objects.bulk_create(submissions)
    return Correction.objects.bulk_create(
        Correction(submission=row, account=row.account, session=row.session, digit=said) for row in stored[:corrected]
    )


def known_people(version: ModelVersion, people: int) -> list[dict[str, Any]]:
    """Return accounts, each with a label that a reviewer accepted a month ago."""
    month_ago = now() - timedelta(days=30)
    reviewer, _ = User.objects.get_or_create(username="reviewer", is_staff=True)
    accounts = User.objects.bulk_create(
        User(username=uuid.uuid4().hex, date_joined=now() - timedelta(days=60)) for _ in range(people)
    )
    reviewed = Submission.objects.bulk_create(drawing_of(version, IMAGE) for _ in accounts)
    Correction.objects.bulk_create(
        Correction(submission=row, account=account, digit=3, state="accepted", decided=month_ago, decided_by=reviewer)
        for row, account in zip(reviewed, accounts, strict=True)
    )
    return [{"account": account} for account in accounts]


def drawing_of(version: ModelVersion, image: bytes, **owner: Any) -> Submission:
    return Submission(
        **owner,
        input=image,
        digit=3,
        confidence=0.9,
        probabilities=[],
        verdict="sure",
        model_version=version,
        preprocessing_version=1,
    )


def active() -> int:
    return ModelVersion.objects.get(state="active").version


def test_version_with_more_corrections_is_rolled_back_once(promoted: ModelVersion) -> None:
    people_draw(promoted, people=60, each=4, corrected=48)
    watch_promotion()
    watch_promotion()
    engine.refresh()

    assert engine.version == active() == 1
    moves = Promotion.objects.order_by("id").values_list("version__version", "cause")
    assert list(moves) == [(1, "bundled"), (2, "gates"), (1, "rollback")]
    reason = Promotion.objects.all()[0].reason
    assert "before 6 of 300 drawings by 60 people (2.0%)" in reason
    assert "corrected 48 of 195 drawings" in reason  # there are 240; the last look was after 195
    assert "version 1 reads 48 of these as people say" in reason


def test_anonymous_corrections_only_warn_staff(
    promoted: ModelVersion, staff: Client, caplog: pytest.LogCaptureFixture
) -> None:
    before = ModelVersion.objects.get(version=1)
    people_draw(before, people=60, each=5, corrected=6, known=False)
    Submission.objects.filter(model_version=before).update(created=now() - timedelta(days=1))
    people_draw(promoted, people=60, each=4, corrected=48, known=False)

    assert not watch.watch() and not watch.watch()
    assert active() == 2
    assert "people (24.6%)" in Promotion.objects.all()[0].doubt
    assert caplog.text.count("stays until staff decide") == 1
    assert "digits_promotion_doubted 1.0" in staff.get("/metrics").content.decode()


def test_accounts_unknown_to_reviewers_do_not_count(promoted: ModelVersion) -> None:
    people_draw(promoted, people=60, each=4, corrected=48)
    Correction.objects.filter(state="accepted").update(decided=now() + timedelta(hours=1))  # after the promotion
    assert not watch.watch()

    Correction.objects.filter(state="accepted").update(decided=now() - timedelta(days=1), state="rejected")
    assert not watch.watch()


@pytest.mark.slow
def test_flood_of_uncorrected_drawings_does_not_hide_a_rise(promoted: ModelVersion) -> None:
    people_draw(promoted, people=800, each=10, corrected=0, known=False)
    people_draw(promoted, people=60, each=4, corrected=48)

    assert watch.watch()


def test_equal_rate_changes_nothing(promoted: ModelVersion) -> None:
    people_draw(promoted, people=60, each=5, corrected=9)

    assert not watch.watch()
    assert active() == 2


def test_too_few_drawings_or_people_change_nothing(promoted: ModelVersion) -> None:
    people_draw(promoted, people=90, each=1, corrected=45)
    assert not watch.watch()

    Submission.objects.filter(model_version=promoted).delete()
    people_draw(promoted, people=15, each=10, corrected=75)
    assert not watch.watch()


def test_one_person_is_not_enough(promoted: ModelVersion) -> None:
    people_draw(promoted, people=1, each=500, corrected=500)
    people_draw(promoted, people=60, each=4, corrected=4)

    assert not watch.watch()
    assert active() == 2


def test_nonsense_corrections_by_many_are_not_enough(promoted: ModelVersion, caplog: pytest.LogCaptureFixture) -> None:
    people_draw(promoted, people=100, each=3, corrected=200, said=5)

    assert not watch.watch()
    assert active() == 2
    assert "version 1 would read only 0 of these right" in caplog.text


def test_rejected_or_superseded_corrections_do_not_count(promoted: ModelVersion) -> None:
    said = people_draw(promoted, people=60, each=4, corrected=60)
    Correction.objects.filter(pk__in=[row.pk for row in said[:30]]).update(state="rejected")
    Correction.objects.filter(pk__in=[row.pk for row in said[30:56]]).update(superseded=now())

    assert not watch.watch()


def test_version_activated_by_hand_is_left_alone(active_model: ModelVersion) -> None:
    people_draw(active_model, people=60, each=5, corrected=6)
    by_hand = promote_next(active_model, Promotion.Cause.HAND)
    people_draw(by_hand, people=60, each=4, corrected=48)

    assert not watch.watch()
    assert active() == 2


def test_version_that_served_for_long_is_left_alone(promoted: ModelVersion) -> None:
    people_draw(promoted, people=60, each=4, corrected=48)
    Promotion.objects.filter(version=promoted).update(created=now() - timedelta(days=31))

    assert not watch.watch()


@pytest.mark.parametrize("loss", ["gone", "damaged"])
def test_bundled_version_serves_if_previous_one_cannot(promoted: ModelVersion, loss: str) -> None:
    people_draw(promoted, people=60, each=4, corrected=5)
    third = promote_next(promoted)
    people_draw(third, people=60, each=4, corrected=48)
    files = ModelFile.objects.filter(version=promoted)
    files.delete() if loss == "gone" else files.update(content=b"TFL3")

    assert watch.watch()
    assert active() == 1


def test_nothing_changes_if_no_earlier_version_can_serve(
    promoted: ModelVersion, caplog: pytest.LogCaptureFixture
) -> None:
    people_draw(promoted, people=60, each=4, corrected=48)
    ModelFile.objects.filter(version__version=1).delete()

    assert not watch.watch()
    assert active() == 2
    assert "no earlier version" in caplog.text


def test_late_rollback_does_nothing(promoted: ModelVersion, active_model: ModelVersion) -> None:
    seen = Promotion.objects.all()[0]
    promote_next(promoted)

    assert not registry.roll_back(seen, active_model, "late")
    assert active() == 3


def test_watching_uses_few_queries(
    promoted: ModelVersion, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    people_draw(promoted, people=60, each=5, corrected=9)

    with django_assert_max_num_queries(8):
        watch.watch()


def test_fishers_test_is_exact() -> None:
    def exact(marked: int, drawn: int, other_marked: int, other_drawn: int) -> float:
        both = marked + other_marked
        ways = (comb(drawn, k) * comb(other_drawn, both - k) for k in range(marked, min(both, drawn) + 1))
        return sum(ways) / comb(drawn + other_drawn, both)

    for table in [(10, 100, 20, 1000), (3, 100, 2, 100), (5, 5, 0, 5), (300, 7000, 140, 7000), (0, 50, 0, 50)]:
        assert watch.fisher_tail(*table) == pytest.approx(exact(*table), rel=1e-9)
    assert watch.fisher_tail(2200, 100_000, 2000, 100_000) == pytest.approx(0.000955, rel=1e-2)


def test_similar_drawings_of_one_person_count_less() -> None:
    alike = watch.tally(
        [SampledDrawing(pk, owner=pk // 10, wrong=pk < 100) for pk in range(1000)]
    )  # ten people, all wrong
    mixed = watch.tally([SampledDrawing(pk, owner=pk // 10, wrong=pk % 10 == 0) for pk in range(1000)])

    assert alike.design_effect == pytest.approx(10, rel=0.02)
    assert mixed.design_effect == 1


def test_equal_rates_hardly_ever_raise_an_alarm() -> None:
    limits, rng = WatchLimits(looks=8), np.random.default_rng(3)

    def drawings(count: int) -> list[SampledDrawing]:
        """Drawings of people who draw five each: 5 % wrong, and correlated within a person."""
        share = rng.beta(0.45, 8.55, count // 5).repeat(5)
        return [SampledDrawing(pk, pk // 5, bool(wrong)) for pk, wrong in enumerate(rng.random(len(share)) < share)]

    def alarm() -> bool:
        before, after = watch.tally(drawings(1000)), drawings(limits.sizes[-1])
        looks = (watch.judge(before, watch.tally(after[:size]), limits) for size in limits.sizes)
        return any(finding is not None and finding.risen for finding in looks)

    assert sum(alarm() for _ in range(100)) <= 1
