"""Admins look at drawings and decide on corrections, one by one or many at once."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from recognizer.models import Correction, ModelVersion, Submission
from tests.conftest import Visitor
from tests.drawings import SEVEN, THREE

pytestmark = pytest.mark.django_db


@pytest.fixture
def office(admin_user: User, visitor: Visitor) -> Client:
    """An admin at the desk, with two corrections waiting."""
    visitor.say(visitor.draw(THREE)["id"], 8)
    visitor.say(visitor.draw(SEVEN)["id"], 7)
    client = Client()
    client.force_login(admin_user)
    return client


def act(client: Client, action: str, *rows: Correction) -> str:
    body = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post("/admin/recognizer/correction/", body, follow=True).content.decode()


def test_lists_show_thumbnails(office: Client) -> None:
    for name in ("submission", "correction"):
        page = office.get(f"/admin/recognizer/{name}/").content.decode()
        assert page.count('<img src="data:image/png;base64,') == 2


def test_many_are_accepted_at_once_and_say_by_whom(office: Client, admin_user: User) -> None:
    page = act(office, "accept", *Correction.objects.all())

    assert "2 accepted" in page
    assert set(Correction.objects.values_list("state", "decided_by")) == {("accepted", admin_user.pk)}


def test_what_was_decided_stays_when_it_is_selected_again(office: Client) -> None:
    first = Correction.objects.order_by("id")[0]
    act(office, "reject", first)
    page = act(office, "accept", *Correction.objects.all())

    first.refresh_from_db()
    assert first.state == "rejected"
    assert "1 accepted" in page and "1 had already been decided" in page


@pytest.mark.parametrize("pk", ["", "x", "1 OR 1=1", "²", "-1", "9" * 30, "\x00"])
def test_what_is_no_row_cannot_be_selected(office: Client, pk: str) -> None:
    response = office.post("/admin/recognizer/correction/", {"action": "accept", "_selected_action": [pk]})

    assert response.status_code == 400
    assert not Correction.objects.exclude(state="pending").exists()


@pytest.mark.parametrize("query", ["label=corrected", "label=confirmed", "verdict=sure&digit=3", "q=1"])
def test_filters_and_search_answer(office: Client, query: str) -> None:
    assert office.get(f"/admin/recognizer/submission/?{query}").status_code == 200


def test_the_label_filter_tells_confirmed_from_corrected(office: Client) -> None:
    corrected = office.get("/admin/recognizer/submission/?label=corrected").context["cl"].result_list

    assert [row.digit for row in corrected] == [3]


@pytest.mark.parametrize(
    ("query", "found"), [("digit=8", 1), ("digit=none", 0), ("digit=zz", 2), ("digit=" + "9" * 40, 2)]
)
def test_the_digit_filter_asks_no_database_for_its_choices(office: Client, query: str, found: int) -> None:
    page = office.get(f"/admin/recognizer/correction/?{query}").content.decode()

    assert page.count('<img src="data:image/png;base64,') == found
    assert "?digit=0" in page


def test_a_submission_shows_all_that_was_said_and_cannot_be_edited(office: Client) -> None:
    page = office.get(f"/admin/recognizer/submission/{Submission.objects.all()[0].pk}/change/")

    assert page.status_code == 200
    assert b'name="_save"' not in page.content
    assert office.get("/admin/recognizer/submission/add/").status_code == 403


def test_what_was_said_goes_only_with_its_submission(office: Client) -> None:
    said = Correction.objects.order_by("id")[0]
    confirm = {"post": "yes"}

    assert office.post(f"/admin/recognizer/correction/{said.pk}/delete/", confirm).status_code == 403
    assert Correction.objects.count() == 2
    assert office.post(f"/admin/recognizer/submission/{said.submission_id}/delete/", confirm).status_code == 302
    assert list(Correction.objects.values_list("pk", flat=True)) == [said.pk + 1]
    assert Submission.objects.count() == 1


def test_a_version_is_activated_from_the_list(office: Client, active_model: ModelVersion) -> None:
    body = {"action": "activate", "_selected_action": [active_model.pk]}
    page = office.post("/admin/recognizer/modelversion/", body, follow=True).content.decode()

    assert "Version 1 is active" in page


def test_a_version_shows_its_metrics_and_what_it_was_made_of(office: Client, active_model: ModelVersion) -> None:
    ModelVersion.objects.update(lineage={"recipe": {"seed": "<1>"}})
    listed = office.get("/admin/recognizer/modelversion/").content.decode()
    page = office.get(f"/admin/recognizer/modelversion/{active_model.pk}/change/").content.decode()

    accuracy = active_model.metrics["mnist_test"]["accuracy"]
    assert f"{accuracy:.2%}" in listed
    assert "<td>mnist test</td><td>10000</td>" in page and f"<td>{accuracy}</td>" in page
    assert "&lt;1&gt;" in page


def test_the_review_list_says_who_decided(office: Client, admin_user: User) -> None:
    act(office, "reject", Correction.objects.order_by("id")[0])

    assert "Rejected by boss" in office.get("/admin/recognizer/correction/").content.decode()


def test_the_index_leads_to_the_data(office: Client) -> None:
    assert 'href="/admin/data/"' in office.get("/admin/").content.decode()


@pytest.mark.parametrize("many", [False, True])
def test_an_account_is_deleted_with_its_drawings_which_are_counted(many: bool, office: Client) -> None:
    alice = User.objects.create(username="alice")
    Submission.objects.update(account=alice, session=None)
    one, selected = f"/admin/auth/user/{alice.pk}/delete/", {"action": "delete_selected", "_selected_action": alice.pk}
    address, body = ("/admin/auth/user/", selected) if many else (one, {})
    page = (office.post(address, body) if many else office.get(address)).content.decode()

    assert "<li>Drawings: 2</li>" in page
    assert "<li>alice</li>" in page and "drawing 1" not in page
    assert office.post(address, body | {"post": "yes"}).status_code == 302
    assert not User.objects.filter(username="alice").exists()
    assert not Submission.objects.exists()


def test_a_visitor_does_not_get_in(visitor: Visitor) -> None:
    assert visitor.get("/admin/recognizer/submission/").status_code == 302
