"""Statistics: counts that follow drawings, corrections, decisions and deletions, and the page that shows them."""

import re
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from recognizer import counting
from recognizer.models import Correction, CountedDay, DailyCount, ModelVersion, Submission
from recognizer.tasks import recount_statistics
from tests.conftest import Visitor, main_of
from tests.drawings import SEVEN, THREE, encoded, picture_of
from web.statistics import figures
from web.statistics.measures import index_by_chance, stability_index, wilson

pytestmark = pytest.mark.django_db

State = Correction.State


def counted() -> Counter[str]:
    """Return the totals of the daily counts."""
    total: Counter[str] = Counter()
    for row in DailyCount.objects.all():
        names = ("drawings", "confirmed", "corrected", "rejected")
        total.update({name: getattr(row, name) for name in names} | {f"in {row.kind}": row.drawings})
    return +total


def snapshot() -> Any:
    """Return everything counted, without the times of counting."""
    days = list(CountedDay.objects.values_list("day", "stored", "last", "confidence", "ink", "pairs"))
    fields = [field.attname for field in DailyCount._meta.concrete_fields if field.name != "id"]
    return days, sorted(map(repr, DailyCount.objects.values_list(*fields)))


def drew(version: ModelVersion, days_ago: float, count: int = 1, said: Any = ..., **columns: Any) -> list[Submission]:
    """Store drawings of some days ago, corrected at once if `said` is given."""
    at = now() - timedelta(days=days_ago)
    owner = uuid.uuid4()
    drawing: dict[str, Any] = {
        "created": at,
        "session": owner,
        "ink": {"strokes": [], "width": 1, "height": 1},
        "input": bytes([51]) * 784,  # a fifth of all ink
        "digit": 3,
        "confidence": 0.9991,
        "probabilities": [],
        "verdict": "sure",
        "model_version": version,
        "preprocessing_version": 1,
    }
    rows = Submission.objects.bulk_create([Submission(**(drawing | columns)) for _ in range(count)])
    if said is not ...:
        Correction.objects.bulk_create(
            [Correction(submission=row, digit=said, session=owner, created=at) for row in rows]
        )
    return rows


def queries(read: Callable[[], Any]) -> int:
    with CaptureQueriesContext(connection) as captured:
        read()
    return len(captured)


def test_counts_follow_drawing_correction_decision_and_deletion(visitor: Visitor, staff: Client) -> None:
    three, seven = visitor.draw(THREE)["id"], visitor.draw(SEVEN)["id"]
    picture = encoded(picture_of(SEVEN["strokes"], scale=1, left=0, top=0))
    visitor.post("/api/v1/submissions", {"image": SimpleUploadedFile("seven.png", picture)})
    recount_statistics()
    assert counted() == {"drawings": 3, "in ink": 2, "in picture": 1}

    visitor.say(three, 3)
    visitor.say(seven, 1)
    recount_statistics()
    assert counted() == {"drawings": 3, "in ink": 2, "in picture": 1, "confirmed": 1, "corrected": 1}
    assert CountedDay.objects.get().pairs == [[7, 1, 1]]

    visitor.say(three, 8)
    assert visitor.delete(f"/api/v1/submissions/{seven}/correction").status_code == 204
    recount_statistics()
    assert (counted()["confirmed"], counted()["corrected"]) == (0, 1)
    assert CountedDay.objects.get().pairs == [[3, 8, 1]]

    said = Correction.objects.standing().get()
    assert staff.post(f"/api/v1/corrections/{said.pk}/reject").status_code == 200
    recount_statistics()
    assert (counted()["rejected"], counted()["corrected"]) == (1, 0)
    assert CountedDay.objects.get().pairs == []

    for drawing in Submission.objects.values_list("pk", flat=True):
        assert visitor.delete(f"/api/v1/submissions/{drawing}").status_code == 204
    recount_statistics()
    assert counted() == {}
    day = CountedDay.objects.get()
    assert (sum(day.confidence), sum(day.ink), day.pairs) == (0, 0, [])


def test_old_days_are_recounted_after_changes(active_model: ModelVersion) -> None:
    old, older = drew(active_model, 20, said=8)[0], drew(active_model, 40, count=3)
    recount_statistics()
    assert counted() == {"drawings": 4, "in ink": 4, "corrected": 1}

    Correction.objects.filter(submission=old).update(state=State.REJECTED, decided=now())
    Correction.objects.create(submission=older[0], digit=3)
    older[1].delete()
    recount_statistics()

    assert counted() == {"drawings": 3, "in ink": 3, "rejected": 1, "confirmed": 1}


def test_deleted_drawings_of_owner_are_not_counted(visitor: Visitor, active_model: ModelVersion) -> None:
    drew(active_model, 3, count=2)
    visitor.draw()
    recount_statistics()
    visitor.post("/mine/deletion", {"csrfmiddlewaretoken": visitor.csrf})
    drew(active_model, 0)  # as many as before, but today is always counted
    Submission.objects.filter(created__lt=now() - timedelta(days=1)).delete()
    recount_statistics()

    assert counted() == {"drawings": 1, "in ink": 1}


def test_recounting_is_idempotent(active_model: ModelVersion) -> None:
    for days_ago, digit in ((0, 3), (1, 3), (5, None)):
        drew(active_model, days_ago, count=3, said=3, digit=digit)
    recount_statistics()
    first = snapshot()

    recount_statistics()
    call_command("recount_statistics")
    assert snapshot() == first
    call_command("recount_statistics", "--all")
    assert snapshot() == first


def test_only_changed_days_are_recounted(active_model: ModelVersion) -> None:
    for days_ago in range(30):
        drew(active_model, days_ago)
    assert counting.recount() == 30
    CountedDay.objects.update(counted=now())  # after all corrections
    Correction.objects.update(created=now() - timedelta(days=1))

    assert counting.recount() == 1  # today
    assert counting.recount(whole=True) == 30
    Submission.objects.filter(created__lt=now() - timedelta(days=20)).delete()
    assert counting.recount() == 11  # nine days now empty, the partly deleted one, and today


def test_next_pass_finishes_interrupted_one(active_model: ModelVersion) -> None:
    rows = [*drew(active_model, 9), *drew(active_model, 4), *drew(active_model, 0)]
    recount_statistics()
    CountedDay.objects.update(counted=now() - timedelta(hours=1))
    for row in rows:
        Correction.objects.create(submission=row, digit=8)

    def stop(day: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        counting.recount(progress=stop)
    assert counted()["corrected"] == 1
    recount_statistics()
    assert counted()["corrected"] == 3


def test_older_pass_does_not_overwrite_newer_counts(active_model: ModelVersion) -> None:
    drew(active_model, 0)
    CountedDay.objects.create(day=now().date(), counted=now() + timedelta(minutes=1), stored=7)

    assert counting.recount() == 0
    assert CountedDay.objects.get().stored == 7


def test_sums_and_bins_match_drawings(active_model: ModelVersion) -> None:
    drew(active_model, 1, count=2, confidence=0.75)
    drew(active_model, 1, confidence=0.25, digit=None, verdict="not_a_digit", input=bytes(784))
    recount_statistics()

    day = CountedDay.objects.get(stored=3)
    assert day.confidence == [1, 0, 0, 2, 0, 0, 0, 0, 0, 0]
    assert day.ink == [1, 0, 0, 0, 0, 0, 0, 2, 0, 0]
    sure, none = DailyCount.objects.order_by("-drawings")
    assert (sure.digit, sure.verdict, sure.drawings, sure.confidence) == (3, "sure", 2, 1.5)
    assert sure.ink == pytest.approx(0.4)
    assert (none.digit, none.verdict, none.ink) == (None, "not_a_digit", 0)


def test_imported_drawings_are_not_counted(active_model: ModelVersion) -> None:
    drew(active_model, 2, count=5, said=3)
    Correction.objects.update(triage="import", state=State.ACCEPTED)
    recount_statistics()

    assert counted() == {}


def test_wilson_interval() -> None:
    assert wilson(8, 10) == pytest.approx((0.490162, 0.943318), abs=1e-5)
    assert wilson(0, 10) == pytest.approx((0.0, 0.277533), abs=1e-5)
    assert wilson(10, 10) == pytest.approx((0.722467, 1.0), abs=1e-5)


def test_stability_index() -> None:
    # (0.5 − 0.797030) ln(0.5 / 0.797030) + (0.5 − 0.202970) ln(0.5 / 0.202970), half a drawing added to each bin
    assert stability_index([50, 50], [80, 20]) == pytest.approx(0.406287, abs=1e-5)
    assert stability_index([50, 0, 50], [80, 0, 20]) == stability_index([50, 50], [80, 20])
    assert stability_index([30, 10], [300, 100]) == pytest.approx(0, abs=1e-3)
    assert 3 < stability_index([100, 0], [0, 100]) < 12


def test_stability_index_expected_by_chance() -> None:
    # 21.666 is the 99 % quantile of χ² with 9 degrees of freedom, 6.635 that with one
    assert index_by_chance([50] * 10, [100] * 10) == pytest.approx(21.666 * 0.003, rel=0.005)
    assert index_by_chance([50, 50], [80, 20]) == pytest.approx(6.635 * 0.02, rel=0.05)
    assert index_by_chance([50, 0], [80, 0]) == 0


def test_drift_is_detected(active_model: ModelVersion) -> None:
    for days_ago in range(35):
        drew(active_model, days_ago, count=20, confidence=0.9991 if days_ago % 2 else 0.95)
        if days_ago < 7:
            drew(active_model, days_ago, count=20, input=bytes([90]) * 784, digit=5)
    recount_statistics()

    found = {feature.name: feature for feature in figures.drift(figures.read_counts(now())) or []}
    assert {name: feature.state for name, feature in found.items()} == {
        "confidence": "steady" if found["confidence"].index < 0.1 else "moved",
        "ink": "changed",
        "digit": "changed",
    }
    assert sum(found["ink"].recent) == 280 and sum(found["ink"].reference) == 560


def test_page_without_drawings_says_so(active_model: ModelVersion, client: Client) -> None:
    page = main_of(client.get("/statistics"))
    assert "Nothing was drawn in this period." in page

    recount_statistics()
    assert "Nothing was drawn in this period." in main_of(client.get("/statistics"))


def test_page_works_without_a_model(db: None, client: Client) -> None:
    assert client.get("/statistics").status_code == 200
    assert client.post("/statistics").status_code == 405


def test_page_shows_new_drawings_and_corrections_at_once(visitor: Visitor) -> None:
    drawing = visitor.draw(SEVEN)["id"]
    page = main_of(visitor.get("/statistics"))
    assert "Nobody has judged an answer yet." in page
    assert "Nobody corrected an answer in this period." in page
    assert "Too few drawings to compare" in page

    visitor.say(drawing, 1)
    page = main_of(visitor.get("/statistics"))
    assert "read as <strong>7</strong>, corrected to <strong>1</strong>" in page
    recount_statistics()
    assert "read as <strong>7</strong>, corrected to <strong>1</strong>" in main_of(visitor.get("/statistics"))


def test_stored_counts_and_later_drawings_add_up(active_model: ModelVersion, client: Client) -> None:
    drew(active_model, 2, count=4, said=3)
    recount_statistics()
    drew(active_model, 0, count=3, said=8)

    counts = figures.read_counts(now())
    share = figures.accuracy(counts.lines)
    assert (counts.drawings, counts.complete) == (7, True)
    assert share is not None and (share.part, share.whole) == (4, 7)
    assert sum(figures.confidence(counts)) == 7
    assert re.search(r"<dt>Drawings</dt><dd>7</dd>", main_of(client.get("/statistics")))


def test_many_new_drawings_wait_for_next_count(
    active_model: ModelVersion, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "REMAINDER", 5)
    drew(active_model, 0, count=6)
    assert "have not been counted yet" in main_of(client.get("/statistics"))

    recount_statistics()
    assert "<dt>Drawings</dt><dd>6</dd>" in main_of(client.get("/statistics"))
    drew(active_model, 0, count=6)
    page = main_of(client.get("/statistics"))
    assert "<dt>Drawings</dt><dd>6</dd>" in page and "will be in the next count" in page


def test_each_chart_has_a_table(active_model: ModelVersion, client: Client) -> None:
    for days_ago in range(35):
        drew(active_model, days_ago, count=20, said=3 if days_ago % 3 else 8)
    recount_statistics()

    page = main_of(client.get("/statistics"))
    assert page.count('role="img"') == 8  # the chart of days twice, for wide and narrow screens
    assert page.count("<details") == page.count("<table") - 1 == 7  # verdicts are a table anyway
    assert f'<th scope="row">{now().date()}</th>' in page
    identities = re.findall(r'id="([^"]+)"', page)
    assert len(identities) == len(set(identities))
    assert "style=" not in page and "<script" not in page


def test_page_covers_ninety_days(active_model: ModelVersion, client: Client) -> None:
    drew(active_model, 89)
    drew(active_model, 91)
    drew(active_model, -1)  # the clock of a host was wrong
    recount_statistics()

    assert "<dt>Drawings</dt><dd>1</dd>" in main_of(client.get("/statistics"))


def test_pictures_come_from_mnist_only(
    active_model: ModelVersion, client: Client, small_mnist: Path, settings: Any
) -> None:
    drew(active_model, 1, said=8)
    drew(active_model, 1, said=None)
    settings.MNIST_DIR = str(small_mnist / "nowhere")
    assert "<img" not in main_of(client.get("/statistics"))

    settings.MNIST_DIR = str(small_mnist)
    page = main_of(client.get("/statistics"))
    assert page.count("<img") in (0, 3)  # none if a digit is missing in the small set


def test_page_shows_no_personal_drawing(visitor: Visitor, stranger: Visitor) -> None:
    drawing = visitor.draw(THREE)
    visitor.say(drawing["id"], 8)
    recount_statistics()

    page = main_of(stranger.get("/statistics"))
    assert drawing["input"] not in page
    assert main_of(visitor.get("/statistics")) == page


def test_number_of_queries_does_not_grow(active_model: ModelVersion, client: Client) -> None:
    drew(active_model, 0, said=8)
    little = queries(lambda: client.get("/statistics"))
    for days_ago in range(40):
        drew(active_model, days_ago, count=5, said=8, digit=days_ago % 10)
    recount_statistics()
    drew(active_model, 0, count=40, said=8)

    assert queries(lambda: client.get("/statistics")) <= little <= 6
