"""My digits: a visitor's own drawings, the outcome of their corrections, and that nobody else sees them."""

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from recognizer import history
from recognizer.models import Correction, ModelVersion, Submission, Verdict
from recognizer.owners import Owner
from tests.conftest import Visitor
from tests.drawings import SEVEN, THREE, canary, encoded, picture_of
from training.models import TrainingRun, TrainingSample
from web.rates import Rate
from web.throttles import counter

pytestmark = pytest.mark.django_db

State = Correction.State


def cards(page: Any) -> list[int]:
    """Return the ids of the drawings on a page, in order."""
    text = page.content.decode()
    return [int(part.split('"')[0]) for part in text.split('id="drawing-')[1:]]


def copies(of: int, count: int, **changes: Any) -> list[Submission]:
    """Store more drawings like a stored one."""
    row = Submission.objects.get(pk=of)
    same = {
        field.attname: getattr(row, field.attname) for field in Submission._meta.concrete_fields if field.name != "id"
    }
    return Submission.objects.bulk_create([Submission(**(same | changes)) for _ in range(count)])


def say(visitor: Visitor, drawing: int, word: str, query: str = "") -> Any:
    return visitor.post(f"/mine/{drawing}/correction{query}", {"digit": word, "csrfmiddlewaretoken": visitor.csrf})


def decide(drawing: int, state: State) -> None:
    Correction.objects.standing().filter(submission=drawing).update(state=state, decided=now())


def learn(drawing: int, version: ModelVersion, part: TrainingSample.Part) -> None:
    """Record that the run that made a version used a drawing."""
    run, _ = TrainingRun.objects.get_or_create(
        version=version, defaults={"state": TrainingRun.State.SUCCEEDED, "trigger": TrainingRun.Trigger.COMMAND}
    )
    TrainingSample.objects.create(run=run, submission_id=drawing, part=part, digit=8, weight=1)


def version(number: int, like: ModelVersion, **changes: Any) -> ModelVersion:
    return ModelVersion.objects.create(
        version=number,
        state=ModelVersion.State.RETIRED,
        preprocessing_version=like.preprocessing_version,
        thresholds=like.thresholds,
        **changes,
    )


def test_visitor_without_drawings_is_invited_to_draw(active_model: ModelVersion, client: Client) -> None:
    page = client.get("/mine")

    assert page.status_code == 200
    assert "Nothing here yet" in page.content.decode()
    assert "no-store" in page["Cache-Control"]


def test_drawing_is_shown_with_picture_and_correction(visitor: Visitor) -> None:
    three, seven = visitor.draw(), visitor.draw(SEVEN)
    visitor.say(three["id"], 8)

    page = visitor.get("/mine")
    text = page.content.decode()

    assert cards(page) == [seven["id"], three["id"]]
    assert three["input"] in text and seven["input"] in text
    for words in ("It is 3", "It is 7", "You said: 8", "Waiting for review", "by version 1"):
        assert words in text


def test_outcome_of_correction_is_shown(visitor: Visitor, active_model: ModelVersion) -> None:
    accepted, rejected, learned, judged = (visitor.draw()["id"] for _ in range(4))
    for drawing, state in ((accepted, "accepted"), (rejected, "rejected"), (learned, "accepted"), (judged, "accepted")):
        visitor.say(drawing, 8)
        decide(drawing, State(state))
    for number in (13, 12):
        learn(learned, version(number, active_model, activated=now()), TrainingSample.Part.TRAIN)
    learn(learned, version(11, active_model), TrainingSample.Part.TRAIN)  # its gates refused it
    learn(judged, ModelVersion.objects.get(version=12), TrainingSample.Part.HOLDOUT)

    text = visitor.get("/mine").content.decode()

    assert text.count("Accepted; version 12 learned from it") == 1
    assert "learned by version 11" not in text and "learned by version 13" not in text
    assert text.count("Not accepted") == 2  # a filter and a card
    assert text.count(">Accepted</p>") == 2


def test_pages_are_limited_and_linked_both_ways(visitor: Visitor) -> None:
    first = visitor.draw()["id"]
    copies(first, 60)
    everything = list(Submission.objects.values_list("pk", flat=True))

    newest = visitor.get("/mine")
    older = visitor.get(f"/mine?before={cards(newest)[-1]}")
    oldest = visitor.get(f"/mine?before={cards(older)[-1]}")

    assert cards(newest) + cards(older) + cards(oldest) == everything
    assert len(cards(newest)) == history.PER_PAGE
    assert 'rel="next"' not in oldest.content.decode() and 'rel="prev"' not in newest.content.decode()
    assert cards(visitor.get(f"/mine?after={cards(oldest)[0]}")) == cards(older)
    assert cards(visitor.get(f"/mine?after={cards(older)[0]}")) == cards(newest)
    assert cards(visitor.get(f"/mine?after={everything[5]}")) == cards(newest)  # never a short page


def test_shown_count_is_limited(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "COUNTED", 5)
    copies(visitor.draw()["id"], 4)
    assert '<span class="figure">5</span> drawings' in visitor.get("/mine").content.decode()

    visitor.draw()
    assert 'More than <span class="figure">5</span> drawings' in visitor.get("/mine").content.decode()
    assert "Delete 6 drawings" in visitor.get("/mine/deletion").content.decode()


def test_filters_show_matching_drawings(visitor: Visitor) -> None:
    waiting, accepted, rejected, confirmed, plain, unsure = (visitor.draw()["id"] for _ in range(6))
    seven = visitor.draw(SEVEN)["id"]
    for drawing, digit in ((waiting, 8), (accepted, 8), (rejected, 5), (confirmed, 3)):
        visitor.say(drawing, digit)
    decide(accepted, State.ACCEPTED)
    decide(rejected, State.REJECTED)
    Submission.objects.filter(pk=unsure).update(verdict=Verdict.UNSURE)
    scribble = copies(plain, 1, digit=None, verdict=Verdict.NOT_A_DIGIT)[0].pk
    visitor.say(scribble, None)

    def shown(query: str) -> set[int]:
        return set(cards(visitor.get(f"/mine?{query}")))

    assert shown("show=corrected") == {waiting, accepted, rejected}
    assert shown("show=waiting") == {waiting, confirmed, scribble}
    assert shown("show=accepted") == {accepted}
    assert shown("show=rejected") == {rejected}
    assert shown("show=unsure") == {unsure}
    assert shown("digit=7") == {seven}
    assert shown("show=unsure&digit=7") == set()
    assert "No drawings match." in visitor.get("/mine?show=unsure&digit=7").content.decode()


@pytest.mark.parametrize(
    "query",
    [
        "show=nonsense", "digit=10", "digit=-1", "digit=x", "before=x", "before=-3", f"before={'9' * 30}", "after=%00",
        f"after={'9' * 18}", "before=٣", "show=&digit=", "before=1.5", "show=all&show=all&show", "before=99999&after=x",
    ],
)  # fmt: skip
def test_invalid_query_parameters_are_ignored(visitor: Visitor, query: str) -> None:
    drawn = visitor.draw()["id"]

    page = visitor.get(f"/mine?{query}")

    assert page.status_code == 200
    assert cards(page) == [drawn]


def test_filter_searches_limited_number_and_offers_to_continue(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "LOOKED_THROUGH", 10)
    seven, three = visitor.draw(SEVEN)["id"], visitor.draw()["id"]
    copies(three, 24)

    found, pages = [], [visitor.get("/mine?digit=7")]
    while 'rel="next"' in (text := pages[-1].content.decode()):
        pages.append(visitor.get(text.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")))
    for page in pages:
        found += cards(page)

    assert found == [seven]
    assert len(pages) == 3
    assert "There are older ones to search" in pages[0].content.decode()


def test_correction_can_be_made_changed_and_withdrawn_later(visitor: Visitor) -> None:
    drawn = visitor.draw()["id"]

    answer = say(visitor, drawn, "8", "?show=corrected&evil=//elsewhere.example")
    assert (answer.status_code, answer["Location"]) == (302, f"/mine?show=corrected#drawing-{drawn}")
    say(visitor, drawn, "none")
    assert Correction.objects.standing().get().digit is None
    assert "You said: not a digit" in visitor.get("/mine").content.decode()

    say(visitor, drawn, "withdraw")
    assert not Correction.objects.standing().exists()
    assert Correction.objects.count() == 2
    assert "No answer from you yet" in visitor.get("/mine").content.decode()


@pytest.mark.parametrize("word", ["10", "-1", "", "x", "٣", "\x00", "9" * 5000])
def test_invalid_digit_is_not_saved(visitor: Visitor, word: str) -> None:
    say(visitor, visitor.draw()["id"], word)

    assert not Correction.objects.exists()
    assert "Nothing was saved" in visitor.get("/mine").content.decode()


def test_reviewed_correction_cannot_be_changed(visitor: Visitor) -> None:
    drawn = visitor.draw()["id"]
    visitor.say(drawn, 8)
    decide(drawn, State.ACCEPTED)

    for word in ("5", "withdraw"):
        say(visitor, drawn, word)
        assert "can no longer be changed" in visitor.get("/mine").content.decode()
    assert Correction.objects.get().digit == 8
    assert "Is that right" not in visitor.get("/mine").content.decode()


def test_deleting_drawing_deletes_corrections_and_samples(visitor: Visitor, active_model: ModelVersion) -> None:
    gone, kept = visitor.draw()["id"], visitor.draw()["id"]
    visitor.say(gone, 8)
    learn(gone, active_model, TrainingSample.Part.TRAIN)

    answer = visitor.post(f"/mine/{gone}/deletion?digit=3")

    assert answer["Location"] == "/mine?digit=3"
    assert cards(visitor.get("/mine")) == [kept]
    assert not Correction.objects.exists() and not TrainingSample.objects.exists()


def test_all_drawings_are_deleted_after_confirmation(visitor: Visitor, stranger: Visitor) -> None:
    copies(visitor.draw()["id"], 1199)
    visitor.say(Submission.objects.latest("pk").pk, 8)
    others = stranger.draw()["id"]

    asked = visitor.get("/mine/deletion").content.decode()
    assert "Delete 1,200 drawings" in asked
    assert Submission.objects.count() == 1201

    assert "1,200 drawings deleted" in visitor.post("/mine/deletion", follow=True).content.decode()
    assert list(Submission.objects.values_list("pk", flat=True)) == [others]
    assert not Correction.objects.exists()
    assert "There is nothing to delete" in visitor.get("/mine/deletion").content.decode()
    assert "0 drawings deleted" in visitor.post("/mine/deletion", follow=True).content.decode()


def test_drawings_of_others_are_404_even_for_staff(visitor: Visitor, stranger: Visitor, admin_user: User) -> None:
    drawn = visitor.draw()["id"]
    stranger.draw()
    boss = Visitor()
    boss.force_login(admin_user)
    boss.csrf = boss.get("/").content.decode().split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]

    for other in (stranger, boss, Visitor()):
        assert drawn not in cards(other.get("/mine"))
        assert say(other, drawn, "8").status_code == 404
        assert other.post(f"/mine/{drawn}/deletion").status_code == 404
        other.post("/mine/deletion")
        assert drawn not in [row["id"] for row in downloaded(other)]
    assert cards(visitor.get("/mine")) == [drawn]
    assert not Correction.objects.exists()


def test_drawings_without_owner_are_shown_to_nobody(active_model: ModelVersion, client: Client) -> None:
    assert client.post("/api/v1/submissions", THREE, content_type="application/json").status_code == 201

    client.cookies["owner"] = "forged:value:here"
    assert cards(client.get("/mine")) == []
    assert Submission.objects.owned_by(Owner()).count() == 0


@pytest.mark.parametrize("path", ["correction", "deletion"])
def test_actions_require_post_and_csrf_token(visitor: Visitor, path: str) -> None:
    drawn = visitor.draw()["id"]
    token, visitor.csrf = visitor.csrf, ""

    for address in (f"/mine/{drawn}/{path}", "/mine/deletion"):
        assert visitor.post(address, {"digit": "8"}).status_code == 403
    assert visitor.get(f"/mine/{drawn}/{path}").status_code == 405
    assert Submission.objects.exists() and not Correction.objects.exists()
    visitor.csrf = token
    assert visitor.post(f"/mine/{drawn}/{path}", {"digit": "8"}).status_code == 302


@pytest.mark.parametrize("pk", ["0", "9" * 30, "-1", "x", "%00"])
def test_invalid_ids_are_404(visitor: Visitor, pk: str) -> None:
    assert visitor.post(f"/mine/{pk}/correction", {"digit": "8"}).status_code == 404
    assert visitor.post(f"/mine/{pk}/deletion").status_code == 404


def downloaded(visitor: Client) -> list[dict[str, Any]]:
    response = visitor.get("/mine/drawings.json")
    assert response.status_code == 200
    drawings: list[dict[str, Any]] = json.loads(response.getvalue())["drawings"]
    return drawings


def test_download_contains_everything_as_documented(
    visitor: Visitor, stranger: Visitor, active_model: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "STREAMED_AT_ONCE", 2)
    assert downloaded(visitor) == []
    stranger.draw()
    drawn = [visitor.draw()["id"] for _ in range(4)]
    picture = encoded(picture_of(canary(7)))
    upload = visitor.post("/api/v1/submissions", {"image": io.BytesIO(picture)}).json()["id"]
    visitor.say(drawn[0], 8)
    decide(drawn[0], State.ACCEPTED)
    learn(drawn[0], active_model, TrainingSample.Part.TRAIN)

    rows = downloaded(visitor)
    api = visitor.get(f"/api/v1/submissions/{drawn[0]}").json()

    assert [row["id"] for row in rows] == [upload, *drawn[::-1]]
    assert rows[0]["picture"].startswith("data:image/png;base64,") and rows[0]["ink"] is None
    assert rows[-1] == api | {"picture": None, "learned_by": 1}
    assert "attachment" in visitor.get("/mine/drawings.json")["Content-Disposition"]


def test_download_reads_small_batches(visitor: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "STREAMED_AT_ONCE", 10)
    copies(visitor.draw()["id"], 100)

    stream = iter(visitor.get("/mine/drawings.json"))
    with CaptureQueriesContext(connection) as begun:
        for _ in range(6):
            next(stream)

    assert len(begun) <= 4  # ten drawings, their corrections, what learned them, their ink
    assert len(b"".join(stream).splitlines()) == 101 - 5 + 2


def test_page_uses_constant_number_of_queries(visitor: Visitor) -> None:
    drawn = visitor.draw()["id"]
    with CaptureQueriesContext(connection) as one:
        visitor.get("/mine")
    for row in copies(drawn, 40):
        Correction.objects.create(submission=row, digit=8, session=row.session)
    with CaptureQueriesContext(connection) as many:
        visitor.get("/mine")
    with CaptureQueriesContext(connection) as filtered:
        visitor.get("/mine?show=waiting&digit=3&before=999999")

    assert len(one) == len(many) <= 4
    assert len(filtered) <= 5


@pytest.mark.parametrize("query", ["", "?show=rejected&digit=4", "?before=900000&show=corrected", "?after=5"])
@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite's words")
def test_no_query_scans_the_whole_table(visitor: Visitor, query: str) -> None:
    drawn = visitor.draw()["id"]
    copies(drawn, 5)
    with CaptureQueriesContext(connection) as captured:
        visitor.get(f"/mine{query}")

    statements = [each["sql"] for each in captured if 'FROM "recognizer_submission"' in each["sql"]]
    plans = []
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement.replace('%', '%%')}")
            plans += [row[3] for row in cursor.fetchall()]
    assert plans
    bounded = {"SCAN subquery"}  # the limited count
    assert [plan for plan in plans if plan.startswith("SCAN") or "TEMP B-TREE" in plan if plan not in bounded] == []


def test_throttled_visitor_is_told_when_to_retry(visitor: Visitor, settings: Any, tmp_path: Any) -> None:
    settings.DATA_DIR, settings.THROTTLES = tmp_path, {"corrections": Rate(1, 60), "writes": Rate(1, 60)}
    counter.cache_clear()
    drawn = visitor.draw()["id"]

    assert say(visitor, drawn, "8").status_code == 302
    refused = say(visitor, drawn, "5")
    counter.cache_clear()

    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 60
    assert "Too many requests" in refused.content.decode()
    assert Correction.objects.get().digit == 8
