"""The review queue: corrections are handed out in order to one reviewer at a time, decided once, and undone."""

import uuid
from base64 import b64encode
from datetime import timedelta
from importlib import import_module
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from recognizer import review_queue as queue
from recognizer import submissions, triage
from recognizer.models import IMPORTED, Correction, ModelVersion, Submission
from recognizer.owners import Owner
from tests.conftest import Visitor, main_of
from tests.labels import labelled, person
from web.review import filters

pytestmark = pytest.mark.django_db

State = Correction.State


@pytest.fixture
def desk(admin_user: User, active_model: ModelVersion) -> Client:
    """A logged-in reviewer."""
    return reviewer(admin_user)


@pytest.fixture
def second_desk(active_model: ModelVersion) -> Client:
    return reviewer(User.objects.create(username="colleague", is_staff=True))


def reviewer(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def said(owner: str = "ann", digit: int | None = 8, confidence: float = 0.9, **columns: Any) -> Correction:
    """A pending correction of a drawing that was read as 3, unless told otherwise."""
    about = {name: columns.pop(name) for name in ("answered", "drawn", "seed", "ink") if name in columns}
    about.setdefault("answered", 3)
    drawing = labelled(owner, digit, state=State.PENDING, confidence=confidence, **about)
    drawing.corrections.update(**columns)
    return drawing.corrections.get()


def cards(page: Any) -> list[int]:
    """Return the ids of the corrections on a page, in order."""
    return [int(part.split('"')[0]) for part in page.content.decode().split('id="card-')[1:]]


def decide(desk: Client, act: str, *corrections: Correction, query: str = "", **headers: str) -> Any:
    body = {"act": act, "correction": [one.pk for one in corrections]}
    return desk.post(f"/review/decisions{query}", body, headers=headers)


def as_json(desk: Client, act: str, *corrections: Correction) -> Any:
    return decide(desk, act, *corrections, Accept="application/json")


def undo(desk: Client) -> Any:
    return desk.post("/review/undo", headers={"Accept": "application/json"})


# Access


@pytest.mark.parametrize("address", ["/review", "/review/decisions", "/review/undo"])
def test_only_staff_can_review(visitor: Visitor, address: str) -> None:
    waits = said()
    member = reviewer(User.objects.create(username="member"))

    for client in (visitor, member):
        answer = client.get(address) if address == "/review" else client.post(address, {"correction": waits.pk})
        assert answer.status_code == 302
        assert answer["Location"].startswith("/admin/login/")
    assert not Correction.objects.exclude(claimed_by=None).exists()


def test_header_links_staff_to_review_with_count(desk: Client, visitor: Visitor) -> None:
    assert "nav__count" not in desk.get("/experiment").content.decode()
    for seed in range(3):
        said(seed=seed)

    page = desk.get("/experiment").content.decode()
    assert 'href="/review"' in page
    assert 'nav__count figure">3<' in page
    assert "/review" not in visitor.get("/experiment").content.decode()


def test_count_in_header_is_limited(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.context.COUNTED", 2)
    monkeypatch.setattr("recognizer.review_queue.COUNTED", 2)
    for seed in range(4):
        said(seed=seed)

    assert 'nav__count figure">1+<' in desk.get("/experiment").content.decode()


# Cards


def test_card_shows_everything_but_the_author(desk: Client) -> None:
    account = User.objects.create(username="somebody-particular")
    anonymous = said("ann", 8, 0.613, triage="other_label")
    Correction.objects.filter(pk=anonymous.pk).update(created=now() - timedelta(hours=3))
    named = said("bob", None, seed=1)
    Correction.objects.filter(pk=named.pk).update(account=account, session=None)

    text = main_of(desk.get("/review"))

    for words in (
        '<span class="card__digit">8</span>',
        '<span class="card__none">not a digit</span>',
        '<strong class="figure">3</strong>',
        "61.3%",
        "Others label near-identical drawings differently",
        "3\xa0hours ago",
        "version 1",
        "anonymous author",
        "author with an account",
    ):
        assert words in text
    for secret in ("somebody-particular", str(person("ann")), person("ann").hex):
        assert secret not in text


def test_empty_queue_shows_message(desk: Client) -> None:
    assert "Nothing is waiting for review" in main_of(desk.get("/review"))


def test_opinion_can_be_hidden(desk: Client) -> None:
    said(triage="burst")
    assert "Model read" in desk.get("/review").content.decode().split('class="deck"')[1]

    page = desk.get("/review?blind=on").content.decode()

    assert "Model read" not in page.split('class="deck"')[1]
    assert "Its author said" not in page.split('class="deck"')[1]
    assert 'name="blind" id="id_blind" checked' in page


# Order


def test_lowest_confidence_comes_first(desk: Client) -> None:
    rows = [
        said(digit=digit, drawn=digit, confidence=confidence) for digit, confidence in ((1, 0.9), (4, 0.4), (7, 0.6))
    ]

    assert cards(desk.get("/review")) == [rows[1].pk, rows[2].pk, rows[0].pk]


def speak(name: str | User, confidence: float, digit: int = 8) -> Correction:
    """Correct a drawing that was read as 3, as the API does."""
    owner = Owner(account=name.pk) if isinstance(name, User) else Owner(session=person(name))
    drawing = Submission.objects.create(
        account_id=owner.account,
        session=owner.session,
        input=labelled_input(),
        digit=3,
        confidence=confidence,
        probabilities=[0.1] * 10,
        verdict="unsure",
        model_version=ModelVersion.objects.get(),
        preprocessing_version=1,
    )
    return submissions.correct(drawing, digit, owner)[0]


def labelled_input() -> bytes:
    return np.random.default_rng(Submission.objects.count()).integers(0, 256, 784, np.uint8).tobytes()


def listed(staff: Client, url: str = "/api/v1/corrections?status=pending") -> list[int]:
    """Return the ids in the API's list, following its pages."""
    found: list[int] = []
    while url:
        page = staff.get(url).json()
        found += [row["id"] for row in page["results"]]
        url = page["next"]
    return found


def test_owners_take_turns(desk: Client, staff: Client) -> None:
    lies = [speak("liar", 0.4 + number / 1000) for number in range(100)]
    honest = [speak(f"honest {number}", 0.9 + number / 100) for number in range(8)]
    first_turn = [row.pk for row in (lies[0], *honest)]

    in_admin = desk.get("/admin/recognizer/correction/?state__exact=pending").context["cl"].result_list

    assert listed(staff) == first_turn + [lie.pk for lie in lies[1:]]
    assert [row.pk for row in in_admin[:9]] == first_turn
    assert set(first_turn) < set(cards(desk.get("/review")))


def test_lowest_confidence_of_one_owner_comes_first(staff: Client) -> None:
    first, second = speak("ann", 0.7), speak("ann", 0.6)
    other = speak("bob", 0.65)
    third = speak("ann", 0.5)

    assert listed(staff) == [third.pk, other.pk, second.pk, first.pk]


def test_confirmations_do_not_use_turns_of_corrections(staff: Client) -> None:
    confirmed = [speak("ann", 0.9, digit=3) for _ in range(3)]
    lie, another = speak("liar", 0.5), speak("liar", 0.6)
    honest = speak("ann", 0.95)

    assert listed(staff) == [row.pk for row in (lie, confirmed[0], honest, another, *confirmed[1:])]


def test_known_account_is_a_turn_ahead(staff: Client) -> None:
    known = User.objects.create(username="known", date_joined=now() - timedelta(days=8))
    new = User.objects.create(username="new")
    rows = [speak("ann", 0.5), speak(new, 0.6), speak(known, 0.9), speak(known, 0.95)]

    assert listed(staff) == [row.pk for row in (rows[2], rows[0], rows[1], rows[3])]


def test_decided_correction_frees_its_turn(staff: Client) -> None:
    first, second = speak("ann", 0.5), speak("ann", 0.6)
    staff.post(f"/api/v1/corrections/{first.pk}/accept")
    other = speak("bob", 0.7)
    third = speak("ann", 0.8)

    assert listed(staff) == [other.pk, third.pk, second.pk]


def test_corrections_beyond_the_last_turn_share_it(staff: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "LAST_TURN", 3)
    lies = [speak("liar", 0.9 - number / 10) for number in range(6)]
    honest = [speak("ann", 0.95 + number / 100) for number in range(2)]

    with CaptureQueriesContext(connection) as queries:
        last = speak("liar", 0.2)

    assert len(queries) <= 12
    assert listed(staff) == [row.pk for row in (last, honest[0], lies[5], honest[1], *reversed(lies[:5]))]


@pytest.mark.slow
def test_list_can_be_paged_through_and_back(staff: Client, desk: Client) -> None:
    many(1500)
    Correction.objects.update(confidence=0.5)
    there = listed(staff, "/api/v1/corrections?status=pending&page_size=200")
    last = staff.get("/api/v1/corrections?status=pending&page_size=200").json()
    while last["next"]:
        last = staff.get(last["next"]).json()
    back = [row["id"] for row in last["results"]]
    while last["previous"]:
        last = staff.get(last["previous"]).json()
        back = [row["id"] for row in last["results"]] + back

    assert there == back == sorted(Correction.objects.values_list("pk", flat=True))


@pytest.mark.parametrize(
    "position", ["", "1", "0 0.5 x", "1 nan 3", "9e9 1 1", "1 1e999 " + "9" * 30, "1 2 " + "9" * 5000]
)
def test_invalid_cursor_is_harmless(staff: Client, desk: Client, position: str) -> None:
    said()
    cursor = b64encode(urlencode({"p": position}).encode()).decode()

    assert staff.get(f"/api/v1/corrections?{urlencode({'cursor': cursor})}").status_code in (200, 404)


def test_migration_numbers_turns_of_pending_corrections(staff: Client, desk: Client) -> None:
    lies = [said("liar", confidence=0.4 + number / 100, seed=number) for number in range(5)]
    honest = [said(name, confidence=0.9, seed=9) for name in ("ann", "bob")]
    assert listed(staff)[-2:] == [row.pk for row in honest]

    import_module("recognizer.migrations.0008_turns_and_past_decisions").number_turns(apps, None)

    assert listed(staff) == [row.pk for row in (lies[0], *honest, *lies[1:])]


def test_correction_stores_confidence_of_answer(visitor: Visitor, desk: Client) -> None:
    drawn = visitor.draw()
    visitor.say(drawn["id"], 8)
    said = Correction.objects.get()
    as_json(desk, "5", said)

    assert [row.confidence for row in Correction.objects.all()] == [pytest.approx(drawn["confidence"])] * 2


def test_every_hold_rule_has_a_text() -> None:
    assert {rule.name for rule in triage.HOLD} == set(filters.REASONS)


def test_decided_or_superseded_corrections_are_not_shown(desk: Client) -> None:
    stays, *others = (said(seed=seed) for seed in range(3))
    Correction.objects.filter(pk=others[0].pk).update(superseded=now())
    Correction.objects.filter(pk=others[1].pk).update(state=State.REJECTED)

    assert cards(desk.get("/review")) == [stays.pk]


def test_near_identical_drawings_are_grouped(desk: Client) -> None:
    first, between, same = said(confidence=0.1), said(digit=1, drawn=1, confidence=0.5), said("bob", confidence=0.8)

    page = desk.get("/review")

    assert cards(page) == [first.pk, same.pk, between.pk]
    text = page.content.decode()
    assert text.count('data-group="0"') == 2
    assert text.count("Near-identical drawings here:") == 2


# Pages


@pytest.fixture
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "PER_PAGE", 2)


@pytest.mark.usefixtures("short_pages")
def test_pages_follow_each_other_after_decisions(desk: Client) -> None:
    rows = [said(digit=digit, drawn=digit, confidence=0.5) for digit in (1, 3, 4, 6, 7)]
    first = desk.get("/review")
    assert cards(first) == [row.pk for row in rows[:2]]
    link = first.content.decode().split('rel="next" href="')[1].split('"')[0]
    decide(desk, "accept", *rows[:2])

    second = desk.get(f"/review{link}")

    assert cards(second) == [row.pk for row in rows[2:4]]
    link = second.content.decode().split('rel="next" href="')[1].split('"')[0]
    last = desk.get(f"/review{link}")
    assert cards(last) == [rows[4].pk]
    assert 'rel="next"' not in last.content.decode()
    Correction.objects.waiting().update(state=State.REJECTED)
    assert "End of the queue" in main_of(desk.get(f"/review{link}"))


# Filters


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", "abcd"),
        ("said=8", "ac"),
        ("said=none", "b"),
        ("read=3", "abd"),
        ("read=none", "c"),
        ("confidence=low", "a"),
        ("confidence=middle", "b"),
        ("confidence=high", "cd"),
        ("reason=held", "bc"),
        ("reason=left", "ad"),
        ("reason=burst", "b"),
        ("standing=account", "d"),
        ("standing=anonymous", "abc"),
        ("age=hour", "acd"),
        ("age=week", "acd"),
        ("age=older", "b"),
        ("version=1", "abcd"),
        ("version=77", ""),
        ("said=8&reason=held", "c"),
        ("said=8&read=none&confidence=high&standing=anonymous&age=day&reason=other_label&version=1", "c"),
    ],
)
def test_filters_limit_the_queue(desk: Client, query: str, found: str) -> None:
    account = User.objects.create(username="member")
    rows = {
        "a": said(confidence=0.2, drawn=0),
        "b": said(digit=None, confidence=0.7, triage="burst", created=now() - timedelta(days=9), drawn=1),
        "c": said(answered=None, confidence=0.93, triage="other_label", drawn=3),
        "d": said(digit=5, confidence=0.95, drawn=7),
    }
    Correction.objects.filter(pk=rows["d"].pk).update(account=account, session=None)

    assert cards(desk.get(f"/review?{query}")) == [rows[name].pk for name in found]


@pytest.mark.parametrize(
    "query",
    [
        "said=10&read=-1&confidence=%00&reason=' OR 1=1&standing=staff&age=1e9",
        "version=" + "9" * 400,
        "version=١",
        "version=-1&after=-1",
        "after=" + "9" * 18,
        "after=x",
        "said=8&said=none&said[]=3",
        "version=1e9&blind=%00",
    ],
)
def test_hostile_filters_are_harmless(desk: Client, query: str) -> None:
    said()

    assert desk.get(f"/review?{query}").status_code == 200


def test_chosen_filter_is_kept(desk: Client) -> None:
    waits = said()

    text = main_of(desk.get("/review?said=8&age=day"))

    assert '<option value="8" selected>' in text
    assert '<option value="day" selected>' in text
    assert 'action="/review/decisions?said=8&amp;age=day"' in text
    assert decide(desk, "accept", waits, query="?said=8&x=//evil")["Location"] == "/review?said=8&x=%2F%2Fevil"


def test_invalid_filter_shows_error_and_is_ignored(desk: Client) -> None:
    waits = said()

    page = desk.get("/review?version=zero")

    assert cards(page) == [waits.pk]
    assert "Enter a whole number." in main_of(page)


# Decisions


@pytest.mark.parametrize(("act", "state"), [("accept", State.ACCEPTED), ("reject", State.REJECTED)])
def test_decision_without_scripts_can_be_undone(desk: Client, admin_user: User, act: str, state: State) -> None:
    waits = said()

    answer = decide(desk, act, waits)

    waits.refresh_from_db()
    assert (waits.state, waits.decided_by) == (state, admin_user)
    page = desk.get(answer["Location"])
    assert cards(page) == []
    assert "1 decision saved" in main_of(page)
    page = desk.post("/review/undo", follow=True)
    assert cards(page) == [waits.pk]
    assert "Undone" in main_of(page)
    waits.refresh_from_db()
    assert (waits.state, waits.decided, waits.decided_by) == (State.PENDING, None, None)


@pytest.mark.parametrize(("act", "digit"), [("0", 0), ("9", 9), ("none", None)])
def test_reviewer_can_give_another_label(desk: Client, admin_user: User, act: str, digit: int | None) -> None:
    waits = said(digit=8)

    assert as_json(desk, act, waits).status_code == 200

    label = Correction.objects.standing().get()
    assert (label.digit, label.state, label.account, label.decided_by) == (
        digit,
        State.ACCEPTED,
        admin_user,
        admin_user,
    )
    waits.refresh_from_db()
    assert waits.superseded is not None and waits.state == State.PENDING

    assert undo(desk).status_code == 200

    assert Correction.objects.standing().get() == waits
    assert cards(desk.get("/review")) == [waits.pk]
    assert as_json(desk, "accept", waits).status_code == 200


def test_same_label_as_the_author_accepts_the_correction(desk: Client) -> None:
    waits = said(digit=8)

    as_json(desk, "8", waits)

    assert Correction.objects.get().state == State.ACCEPTED


@pytest.mark.parametrize("act", ["accept", "reject", "5"])
def test_second_reviewer_is_told_and_changes_nothing(desk: Client, second_desk: Client, act: str) -> None:
    waits = said()
    as_json(second_desk, "reject", waits)

    answer = as_json(desk, act, waits)

    assert answer.status_code == 409
    assert "Another reviewer had already decided" in answer.json()["detail"]
    assert Correction.objects.get().decided_by == User.objects.get(username="colleague")
    assert "Another reviewer had already decided" in main_of(desk.get(decide(desk, act, waits)["Location"]))


def test_withdrawn_or_deleted_correction_cannot_be_decided(desk: Client) -> None:
    taken, gone = said(seed=1), said(seed=2)
    Correction.objects.filter(pk=taken.pk).update(superseded=now())
    pk = gone.pk
    gone.submission.delete()
    gone.pk = pk

    assert as_json(desk, "accept", taken, gone).status_code == 409
    assert as_json(desk, "3", taken).status_code == 409


def test_bulk_decision_skips_decided_corrections(desk: Client, second_desk: Client) -> None:
    rows = [said(seed=seed) for seed in range(4)]
    as_json(second_desk, "accept", rows[0])

    answer = as_json(desk, "reject", *rows)

    assert answer.status_code == 200
    assert "3 decisions saved" in answer.json()["detail"]
    assert "already decided 1 of them" in answer.json()["detail"]
    assert Correction.objects.filter(state=State.REJECTED).count() == 3


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"act": "accept"},
        {"act": "delete", "correction": "1"},
        {"act": "accept", "correction": "x"},
        {"act": "10", "correction": "1"},
        {"act": "", "correction": "9" * 30},
    ],
)
def test_invalid_decision_changes_nothing(desk: Client, body: dict[str, str]) -> None:
    said()

    assert desk.post("/review/decisions", body, headers={"Accept": "application/json"}).status_code == 400
    assert desk.post("/review/decisions", body).status_code == 302
    assert Correction.objects.waiting().count() == 1


def test_bulk_decision_is_limited_to_one_page(desk: Client) -> None:
    waits = said()
    numbers = [*range(10**6, 10**6 + 500), waits.pk]

    answer = desk.post("/review/decisions", {"act": "accept", "correction": numbers})

    assert answer.status_code == 302
    assert Correction.objects.waiting().count() == 1


# Undo


def test_undo_goes_back_decision_by_decision(desk: Client) -> None:
    first, second, third = (said(seed=seed) for seed in range(3))
    as_json(desk, "accept", first)
    as_json(desk, "4", second)
    as_json(desk, "reject", third)

    for waiting in ({third}, {third, second}, {third, second, first}):
        assert undo(desk).status_code == 200
        assert set(Correction.objects.waiting()) == waiting
    assert undo(desk).status_code == 409


def test_undo_excludes_decisions_of_others_old_ones_and_imports(desk: Client, second_desk: Client) -> None:
    theirs, old, imported = (said(seed=seed) for seed in range(3))
    as_json(second_desk, "accept", theirs)
    as_json(desk, "accept", old, imported)
    Correction.objects.filter(pk=old.pk).update(decided=now() - timedelta(minutes=11))
    Correction.objects.filter(pk=imported.pk).update(triage=IMPORTED)

    assert undo(desk).status_code == 409
    assert Correction.objects.filter(state=State.ACCEPTED).count() == 3


# Claims


@pytest.mark.usefixtures("short_pages")
def test_two_reviewers_get_different_cards(desk: Client, second_desk: Client) -> None:
    rows = [said(digit=digit, drawn=digit, confidence=0.5) for digit in (1, 3, 4, 6)]

    first, second = cards(desk.get("/review")), cards(second_desk.get("/review"))

    assert first == [row.pk for row in rows[:2]]
    assert second == [row.pk for row in rows[2:]]
    assert cards(desk.get("/review")) == first


@pytest.mark.parametrize("until", [timedelta(0), timedelta(days=1)])  # or the clock was set back by a day
def test_claim_expires(desk: Client, second_desk: Client, until: timedelta) -> None:
    waits = said()
    desk.get("/review")
    assert cards(second_desk.get("/review")) == []

    Correction.objects.update(claimed_until=now() + until)

    assert cards(second_desk.get("/review")) == [waits.pk]
    assert Correction.objects.get().claimed_by == User.objects.get(username="colleague")


def test_looking_at_other_cards_releases_claims(desk: Client, second_desk: Client) -> None:
    waits = said(digit=8)
    desk.get("/review")

    desk.get("/review?said=5")

    assert cards(second_desk.get("/review")) == [waits.pk]


def test_claims_do_not_block_deciding_or_deleting(desk: Client, second_desk: Client) -> None:
    first, second, third = (said(seed=seed) for seed in range(3))
    desk.get("/review")

    assert as_json(second_desk, "accept", first).status_code == 200
    second.submission.delete()
    User.objects.get(username="boss").delete()

    assert cards(second_desk.get("/review")) == [third.pk]


# Cost


def many(count: int) -> None:
    drawing = said(confidence=0.5).submission
    same = {
        field.attname: getattr(drawing, field.attname)
        for field in Submission._meta.concrete_fields
        if field.name not in ("id", "session")
    }
    drawings = Submission.objects.bulk_create(
        Submission(**same, session=uuid.UUID(int=number)) for number in range(count)
    )
    Correction.objects.bulk_create(
        Correction(submission=one, digit=8, session=one.session, confidence=number / count)
        for number, one in enumerate(drawings)
    )


def test_page_uses_constant_number_of_queries(desk: Client) -> None:
    said()
    desk.get("/review")  # the first page of a process also fills caches
    counts = []
    for more in (5, 300):
        many(more)
        with CaptureQueriesContext(connection) as queries:
            page = desk.get("/review")
        counts.append(len(queries))
    assert len(cards(page)) == queue.PER_PAGE
    assert counts[0] == counts[1] <= 12


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="the plan is SQLite's")
def test_queue_is_read_by_index_without_sorting(desk: Client) -> None:
    many(50)
    every = "said=8&read=3&age=day&version=1&confidence=middle&standing=anonymous&reason=left"
    for query in ("", "?said=8", f"?{every}", "?standing=account", "?reason=held"):
        with CaptureQueriesContext(connection) as queries:
            desk.get(f"/review{query}")
        ordered = [one["sql"] for one in queries if 'ORDER BY "recognizer_correction"."turn"' in one["sql"]]
        assert len(ordered) == 1
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN QUERY PLAN " + ordered[0].replace("%", "%%"))
            plan = " / ".join(row[3] for row in cursor.fetchall())
        assert "review_in_turns" in plan, (query, plan)
        assert "TEMP B-TREE" not in plan, (query, plan)
