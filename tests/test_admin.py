"""Admins look at drawings and decide on corrections, one by one or many at once."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from recognizer.models import Correction, ModelVersion, Submission
from tests.conftest import Visitor
from tests.drawings import SEVEN, THREE

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin_browser(admin_user: User, visitor: Visitor) -> Client:
    """A logged-in admin, with two pending corrections."""
    visitor.say(visitor.draw(THREE)["id"], 8)
    visitor.say(visitor.draw(SEVEN)["id"], 7)
    client = Client()
    client.force_login(admin_user)
    return client


def act(client: Client, action: str, *rows: Correction) -> str:
    body = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post("/admin/recognizer/correction/", body, follow=True).content.decode()


def test_lists_show_thumbnails(admin_browser: Client) -> None:
    for name in ("submission", "correction"):
        page = admin_browser.get(f"/admin/recognizer/{name}/").content.decode()
        assert page.count('<img src="data:image/png;base64,') == 2


def test_bulk_accept_records_who_decided(admin_browser: Client, admin_user: User) -> None:
    page = act(admin_browser, "accept", *Correction.objects.all())

    assert "2 accepted" in page
    assert set(Correction.objects.values_list("state", "decided_by")) == {("accepted", admin_user.pk)}


def test_bulk_action_keeps_earlier_decisions(admin_browser: Client) -> None:
    first = Correction.objects.order_by("id")[0]
    act(admin_browser, "reject", first)
    page = act(admin_browser, "accept", *Correction.objects.all())

    first.refresh_from_db()
    assert first.state == "rejected"
    assert "1 accepted" in page and "1 had already been decided" in page


@pytest.mark.parametrize("pk", ["", "x", "1 OR 1=1", "²", "-1", "9" * 30, "\x00"])
def test_invalid_selection_is_refused(admin_browser: Client, pk: str) -> None:
    response = admin_browser.post("/admin/recognizer/correction/", {"action": "accept", "_selected_action": [pk]})

    assert response.status_code == 400
    assert not Correction.objects.exclude(state="pending").exists()


@pytest.mark.parametrize("query", ["label=corrected", "label=confirmed", "verdict=sure&digit=3", "q=1"])
def test_filters_and_search_work(admin_browser: Client, query: str) -> None:
    assert admin_browser.get(f"/admin/recognizer/submission/?{query}").status_code == 200


def test_label_filter_separates_corrected_from_confirmed(admin_browser: Client) -> None:
    corrected = admin_browser.get("/admin/recognizer/submission/?label=corrected").context["cl"].result_list

    assert [row.digit for row in corrected] == [3]


@pytest.mark.parametrize(
    ("query", "found"), [("digit=8", 1), ("digit=none", 0), ("digit=zz", 2), ("digit=" + "9" * 40, 2)]
)
def test_digit_filter_lists_digits_and_ignores_invalid_values(admin_browser: Client, query: str, found: int) -> None:
    page = admin_browser.get(f"/admin/recognizer/correction/?{query}").content.decode()

    assert page.count('<img src="data:image/png;base64,') == found
    assert "?digit=0" in page


def test_submission_shows_corrections_and_is_read_only(admin_browser: Client) -> None:
    page = admin_browser.get(f"/admin/recognizer/submission/{Submission.objects.all()[0].pk}/change/")

    assert page.status_code == 200
    assert b'name="_save"' not in page.content
    assert admin_browser.get("/admin/recognizer/submission/add/").status_code == 403


def test_corrections_are_deleted_only_with_their_submission(admin_browser: Client) -> None:
    said = Correction.objects.order_by("id")[0]
    confirm = {"post": "yes"}

    assert admin_browser.post(f"/admin/recognizer/correction/{said.pk}/delete/", confirm).status_code == 403
    assert Correction.objects.count() == 2
    assert admin_browser.post(f"/admin/recognizer/submission/{said.submission_id}/delete/", confirm).status_code == 302
    assert list(Correction.objects.values_list("pk", flat=True)) == [said.pk + 1]
    assert Submission.objects.count() == 1


def test_version_can_be_activated_from_list(admin_browser: Client, active_model: ModelVersion) -> None:
    body = {"action": "activate", "_selected_action": [active_model.pk]}
    page = admin_browser.post("/admin/recognizer/modelversion/", body, follow=True).content.decode()

    assert "Version 1 is active" in page


def test_version_shows_metrics_and_lineage(admin_browser: Client, active_model: ModelVersion) -> None:
    ModelVersion.objects.update(lineage={"recipe": {"seed": "<1>"}})
    listed = admin_browser.get("/admin/recognizer/modelversion/").content.decode()
    page = admin_browser.get(f"/admin/recognizer/modelversion/{active_model.pk}/change/").content.decode()

    accuracy = active_model.metrics["mnist_test"]["accuracy"]
    assert f"{accuracy:.2%}" in listed
    assert "<td>mnist test</td><td>10000</td>" in page and f"<td>{accuracy}</td>" in page
    assert "&lt;1&gt;" in page


def test_correction_list_shows_who_decided(admin_browser: Client, admin_user: User) -> None:
    act(admin_browser, "reject", Correction.objects.order_by("id")[0])

    assert "Rejected by boss" in admin_browser.get("/admin/recognizer/correction/").content.decode()


def test_index_links_to_data_page(admin_browser: Client) -> None:
    assert 'href="/admin/data/"' in admin_browser.get("/admin/").content.decode()


@pytest.mark.parametrize("many", [False, True])
def test_deleting_account_counts_and_deletes_its_drawings(many: bool, admin_browser: Client) -> None:
    alice = User.objects.create(username="alice")
    Submission.objects.update(account=alice, session=None)
    one, selected = f"/admin/auth/user/{alice.pk}/delete/", {"action": "delete_selected", "_selected_action": alice.pk}
    address, body = ("/admin/auth/user/", selected) if many else (one, {})
    page = (admin_browser.post(address, body) if many else admin_browser.get(address)).content.decode()

    assert "<li>Drawings: 2</li>" in page
    assert "<li>alice</li>" in page and "drawing 1" not in page
    assert admin_browser.post(address, body | {"post": "yes"}).status_code == 302
    assert not User.objects.filter(username="alice").exists()
    assert not Submission.objects.exists()


def test_visitors_cannot_open_admin(visitor: Visitor) -> None:
    assert visitor.get("/admin/recognizer/submission/").status_code == 302
