"""The pages of the models: everybody sees versions and their evaluation; staff promote, train and watch."""

import base64
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from recognizer import registry
from recognizer.mnist import load_test_digits
from recognizer.models import ModelFile, ModelVersion, Promotion
from tests.conftest import Visitor, main_of
from tests.labels import labelled
from tests.versions import FAILING, gate_report, learned, metrics
from training import measuring, runs
from training.models import TrainingRun, TrainingSample
from training.tasks import measure_models
from web.svg import ticks
from web.versions import gate_words
from web.versions.card import render_markdown
from web.versions.timeline import CHARTED, PAGE

pytestmark = pytest.mark.django_db

LABELS = np.arange(600) % 10
HOSTILE = ["0", "-1", "x", "1.5", "1 OR 1=1", "9" * 30, "9" * 5000, "\0", "٣٣", "", "NaN", "1e3"]


@pytest.fixture
def admin_browser(admin_user: User, active_model: ModelVersion) -> Client:
    """A staff client."""
    client = Client()
    client.force_login(admin_user)
    return client


@pytest.fixture
def history(active_model: ModelVersion) -> list[ModelVersion]:
    """Four versions: bundled, active, rejected, and waiting."""
    second = learned(active_model, metrics(LABELS, [3, 4, 5], [5, 6]))
    third = learned(second, metrics(LABELS, [7, 8], [3, 4, 5], 2), failed=["holdout", "learned"])
    fourth = learned(second, metrics(LABELS, [3], [3, 4, 5], 2), promoted=False)
    active_model.refresh_from_db()
    second.refresh_from_db()
    return [active_model, second, third, fourth]


def text_of(client: Client, address: str) -> str:
    """Return the text of a page, without markup."""
    response = client.get(address)
    assert response.status_code == 200
    main = response.content.decode().split("<main", 1)[1].split("</main>")[0]
    words = re.sub(r"<[^>]+>", " ", main).replace("\xa0", " ")
    return re.sub(r"\s+", " ", words)


# --- The timeline -----------------------------------------------------------------------------------------------------


def test_timeline_shows_lineage_and_active_version(history: list[ModelVersion], client: Client) -> None:
    page = text_of(client, "/models")

    assert "Active now Version 2 since" in page
    assert page.index("Version 4 candidate") < page.index("Version 3 rejected") < page.index("Version 1 retired")
    assert "Bundled with the site" in page
    assert f"Training run {history[1].lineage['run']}, from version 1" in page
    assert "Gates failed: People it never learns from · What it was taught" in page
    assert "99.50%" in page and "99.77%" in page


def test_rollback_shows_its_reason(history: list[ModelVersion], client: Client) -> None:
    last = Promotion.objects.select_related("previous").first()
    assert last is not None and last.previous is not None
    registry.roll_back(last, last.previous, "People corrected <b>more</b>.")
    page = client.get("/models").content.decode()

    assert "by rollback" in page
    assert "People corrected &lt;b&gt;more&lt;/b&gt;." in page


def test_page_without_versions_says_so(db: None, client: Client) -> None:
    page = text_of(client, "/models")

    assert "No version is active yet." in page and "No versions yet." in page


def test_versions_are_paginated_with_constant_queries(active_model: ModelVersion, client: Client) -> None:
    def visit(address: str) -> str:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            page = client.get(address).content.decode()
        counts.append(len(queries))
        assert not any('"content"' in query["sql"] for query in queries), "bytes are read"
        return page

    counts: list[int] = []
    visit("/models")
    for number in range(PAGE + CHARTED):
        learned(active_model, metrics(LABELS, [number]), failed=["holdout"] if number % 3 else [])
    first, last = visit("/models"), visit(f"/models?page={(PAGE + CHARTED) // PAGE + 1}")

    assert counts[0] == counts[1] == counts[2] <= 5
    assert first.count('<li class="entry ') == PAGE
    assert 'href="?page=2"' in first and "entry--active" not in last
    assert first.count('class="chart__mark') == 2 * CHARTED


def test_staff_see_last_run_with_few_more_queries(
    history: list[ModelVersion], admin_browser: Client, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(8) as queries:
        page = admin_browser.get("/models").content.decode()

    assert "Start a training run" in page and "/admin/django_celery_beat/periodictask/" in page
    assert f"Training run {TrainingRun.objects.latest('pk').pk}" in page
    assert not any('"content"' in query["sql"] for query in queries.captured_queries)


def test_single_version_has_no_chart(active_model: ModelVersion, client: Client) -> None:
    assert 'class="chart"' not in client.get("/models").content.decode()


@pytest.mark.parametrize("page", HOSTILE)
def test_invalid_pages_are_404(active_model: ModelVersion, client: Client, page: str) -> None:
    assert client.get("/models", {"page": page}).status_code == 404


# --- One version ------------------------------------------------------------------------------------------------------


def test_gates_are_explained_with_failed_ones_first(history: list[ModelVersion], client: Client) -> None:
    page = text_of(client, "/models/3")

    assert "It failed 2 of 17 gates, so the site did not promote it." in page
    first = page.index("People it never learns from")
    assert first < page.index("MNIST, against the previous version")
    assert "p = 0.004 on 63 drawings, 7 votes p ≥ 0.02 ✕ failed" in page
    assert "It passed all 17 gates." in text_of(client, "/models/2")
    assert "Bundled model: no gate report." in text_of(client, "/models/1")


def test_every_gate_has_a_title_and_a_question() -> None:
    for row in gate_words.format_report([*gate_report(), *gate_report(list(FAILING))]):
        assert row.title and row.question.endswith("?") and row.measured and row.needed


def test_unknown_gate_keeps_its_own_explanation(active_model: ModelVersion, client: Client) -> None:
    report = [
        {"gate": "old_one", "explanation": "It <i>was</i> so.", "value": 1, "threshold": 2, "passed": True, "n": 5}
    ]
    ModelVersion.objects.update(gate_report=report)

    assert "It &lt;i&gt;was&lt;/i&gt; so." in client.get("/models/1").content.decode()


def test_version_page_shows_measurements(history: list[ModelVersion], client: Client) -> None:
    page = text_of(client, "/models/2")

    assert "99.50% Sure answers" in page
    assert "98.33% 1 wrong of 60" in page
    assert (
        "4 answers on the MNIST test set differ from version 1. Newly right: 1. Newly wrong: 2. Wrong both times: 1."
        in page
    )
    assert "read as not a digit" in page
    assert "812 Corrections 640 Confirmations 353" in page
    assert "took 4 min 12 s." in page and "epoch 6: 0.2240" in page
    assert "Ancestors 1 → 2" in page and "Descendants 4 · 3" in page


def test_long_ancestry_is_shortened(active_model: ModelVersion, client: Client) -> None:
    version = active_model
    for _ in range(13):
        version = learned(version, {}, promoted=False)

    assert "Ancestors 1 → … → 6 → 7 → 8 → 9 → 10 → 11 → 12 → 13 → 14" in text_of(client, "/models/14")


def test_missing_measurements_are_reported(active_model: ModelVersion, client: Client) -> None:
    assert "Confusion matrix not available for this version. Recall per digit: 0 100.00%" in text_of(
        client, "/models/1"
    )
    ModelVersion.objects.update(metrics={})
    page = text_of(client, "/models/1")
    assert "Not measured for this version." in page
    learned(active_model, {}, promoted=False)
    assert text_of(client, "/models/2").count("Not measured for this version.") == 2
    assert client.get("/models").status_code == 200


def test_learned_labels_are_counted_and_no_personal_drawing_is_shown(
    history: list[ModelVersion], small_mnist: Path, client: Client
) -> None:
    page = text_of(client, "/models/2")
    assert "1 84 62" in page and "2 0 33" in page and "not a digit 62 0" in page

    run = TrainingRun.objects.get(version=history[1])
    drawing = labelled("ann", 7, answered=1)
    TrainingSample.objects.create(run=run, submission=drawing, part="train", weight=0.1, digit=7)
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', client.get("/models/2").content.decode())
    shown = [cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), 0) for picture in pictures]
    test_set = load_test_digits(small_mnist).images
    assert len(shown) == 4  # the changed answers
    assert all((test_set == picture).all(axis=(1, 2)).any() for picture in shown)


def test_host_without_mnist_shows_changes_without_pictures(
    history: list[ModelVersion], settings: Any, tmp_path: Path, client: Client
) -> None:
    settings.MNIST_DIR, settings.DATA_DIR = "", tmp_path
    page = client.get("/models/2").content.decode()

    assert "data:image" not in page and page.count("change__picture--none") == 4


def test_files_can_be_downloaded_while_kept(history: list[ModelVersion], client: Client) -> None:
    page = client.get("/models/2").content.decode()
    assert 'href="/api/v1/models/2/artifact"' in page and 'href="/api/v1/models/2/checkpoint"' in page
    assert client.get("/api/v1/models/2/artifact").content == b"artifact"

    ModelFile.objects.filter(version=history[1]).delete()
    assert "Its files are no longer kept" in client.get("/models/2").content.decode()


def test_version_page_uses_few_queries_and_no_file_content(history: list[ModelVersion], client: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        client.get("/models/2")

    assert len(queries) <= 9
    assert not any('"content"' in query["sql"] for query in queries)


@pytest.mark.parametrize("version", ["0", "999", "-1", "abc", "1.0", "9" * 30, "9" * 5000, "1/", "%00", "٣", "../1"])
def test_invalid_versions_are_404(active_model: ModelVersion, client: Client, version: str) -> None:
    assert client.get(f"/models/{version}").status_code == 404


def test_pages_have_no_inline_script_or_style(history: list[ModelVersion], admin_browser: Client) -> None:
    for address in ("/models", "/models/1", "/models/2", "/models/2/activate"):
        page = admin_browser.get(address).content.decode()
        assert not re.search(r"<script(?![^>]*\ssrc=)", page)
        assert not re.search(r"\son\w+=|\sstyle=", page)
        ids = re.findall(r'\sid="([^"]+)"', page)
        assert len(ids) == len(set(ids))


def test_model_card_is_rendered(client: Client, active_model: ModelVersion) -> None:
    page = text_of(client, "/models/card")

    assert "Model card: the bundled model" in page and "MNIST test set, 10,000 digits sent as PNG 99.77 %" in page
    assert not [mark for mark in ("**", "|", "`", "](", "##") if mark in page]


def test_model_card_keeps_text_and_escapes_markup() -> None:
    page = render_markdown(
        "# One\n\n## Two\n\n**Three** `<b>`\nmore <script>alert(28)</script>\n\n"
        "| | |\n|---|---|\n| a | [b](c.md) |\n\n| d | e |\n|---|---|\n| f | g |\n\n"
        "    n  <o\n\n* [h](https://i.org) [j](javascript:alert(28)) ![k](https://l.org/m.png)\n"
    )

    assert page.replace("\n", "|") == (
        "<h1>One</h1>|"
        '<h2 class="section-title">Two</h2>|'
        "<p><strong>Three</strong> <code>&lt;b&gt;</code>|more &lt;script&gt;alert(28)&lt;/script&gt;</p>|"
        '<table class="results">|<tbody>|<tr>|<th scope="row">a</th>|<td>b</td>|</tr>|</tbody>|</table>|'
        '<table class="results">|<thead>|<tr>|<th scope="col">d</th>|<th scope="col">e</th>|</tr>|</thead>|'
        '<tbody>|<tr>|<th scope="row">f</th>|<td>g</td>|</tr>|</tbody>|</table>|'
        '<pre tabindex="0"><code>n  &lt;o|</code></pre>|'
        '<ul>|<li><a href="https://i.org">h</a> [j](javascript:alert(28)) !<a href="https://l.org/m.png">k</a></li>|</ul>|'
    )


# --- What staff do ----------------------------------------------------------------------------------------------------


def test_visitors_see_no_buttons_and_cannot_act(history: list[ModelVersion], visitor: Visitor) -> None:
    run = runs.request(TrainingRun.Trigger.SCHEDULE)
    pages = main_of(visitor.get("/models")) + main_of(visitor.get("/models/1"))
    assert "<form" not in pages and "/activate" not in pages and "Edit the schedule" not in pages

    for address in ("/models/1/activate", "/models/runs", f"/models/runs/{run.pk}/cancel"):
        response = visitor.post(address)
        assert response.status_code == 302 and response["Location"].startswith("/admin/login/")
    assert visitor.get("/models/1/activate").status_code == 302
    run.refresh_from_db()
    active = registry.active_version()
    assert active is not None
    assert (active.version, run.state) == (2, "queued")


def test_account_without_staff_rights_is_a_visitor(history: list[ModelVersion]) -> None:
    client = Client()
    client.force_login(User.objects.create(username="ann"))

    assert "<form" not in main_of(client.get("/models"))
    assert client.post("/models/1/activate").status_code == 302
    assert ModelVersion.objects.get(state="active").version == 2


def test_going_back_is_confirmed_and_recorded(
    history: list[ModelVersion], admin_browser: Client, admin_user: User
) -> None:
    asked = text_of(admin_browser, "/models/1/activate")
    assert "Go back to version 1?" in asked and "Requests in progress finish on version 2" in asked
    assert ModelVersion.objects.get(state="active").version == 2

    done = admin_browser.post("/models/1/activate", follow=True)
    assert "Version 1 is active." in done.content.decode()
    last = Promotion.objects.first()
    assert last is not None and (last.version.version, last.cause, last.by) == (1, "hand", admin_user)
    assert "Version 1 is active already" in text_of(admin_browser, "/models/1/activate")


def test_unloadable_version_is_not_activated(history: list[ModelVersion], admin_browser: Client) -> None:
    refused = admin_browser.post("/models/3/activate")

    assert refused.status_code == 409
    assert "Not activated: the artifact of version 3 does not run" in refused.content.decode()
    assert "It failed these gates" in refused.content.decode()
    ModelFile.objects.filter(version=history[2]).delete()
    assert "<form" not in main_of(admin_browser.get("/models/3/activate"))
    assert admin_browser.post("/models/3/activate").status_code == 409
    assert ModelVersion.objects.get(state="active").version == 2


def test_staff_start_one_run_and_cancel_it(admin_browser: Client, admin_user: User) -> None:
    started = admin_browser.post("/models/runs", {"force": "on"}, follow=True).content.decode()
    again = admin_browser.post("/models/runs", follow=True).content.decode()
    run = TrainingRun.objects.get()

    assert (run.trigger, run.requested_by, run.force) == ("button", admin_user, True)
    assert f"Training run {run.pk} is queued." in started and "said--success" in started
    assert f"Training run {run.pk} is queued." in again and "said--error" in again
    assert "was cancelled" in admin_browser.post(f"/models/runs/{run.pk}/cancel", follow=True).content.decode()
    assert "is over already" in admin_browser.post(f"/models/runs/{run.pk}/cancel", follow=True).content.decode()
    assert admin_browser.post("/models/runs/999/cancel").status_code == 404


def test_running_run_is_asked_to_stop(admin_browser: Client) -> None:
    run = TrainingRun.objects.create(trigger="api", state="running")

    assert "stops within seconds" in admin_browser.post(f"/models/runs/{run.pk}/cancel", follow=True).content.decode()


@pytest.mark.parametrize("address", ["/models/1/activate", "/models/runs", "/models/runs/1/cancel"])
def test_buttons_require_csrf_token(admin_user: User, active_model: ModelVersion, address: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)

    assert client.post(address).status_code == 403
    assert client.put(address).status_code in (403, 405)
    assert not TrainingRun.objects.exists()


# --- Measuring missing metrics ----------------------------------------------------------------------------------------


def test_version_without_details_is_measured_once(
    active_model: ModelVersion, small_mnist: Path, client: Client
) -> None:
    artifact = bytes(active_model.files.get(kind="tflite").content)
    learned(active_model, {}, promoted=False, content=artifact)
    measured = [measuring.measure_missing() for _ in range(3)]

    assert [version and version.version for version in measured] == [2, 1, None]
    first, second = (ModelVersion.objects.get(version=number).metrics["mnist_test"] for number in (1, 2))
    assert first["accuracy"] == 0.9977  # unchanged
    assert sum(map(sum, first["confusion"])) == len(load_test_digits(small_mnist).labels)
    assert sum(n for n, *_ in first["reliability"]) == 10
    assert second["changes"] == {"from": 1, "lost": 0, "won": 0, "other": 0, "digits": []}
    assert "Its answers on the MNIST test set are the same as those of version 1." in text_of(client, "/models/2")


def test_nothing_is_measured_without_valid_mnist(
    active_model: ModelVersion, settings: Any, small_mnist: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (small_mnist / "t10k-labels-idx1-ubyte.gz").write_bytes(b"something else")
    measure_models()
    assert "No version could be measured" in caplog.text
    settings.MNIST_DIR, settings.DATA_DIR = "", tmp_path / "nowhere"
    measure_models()

    assert "confusion" not in ModelVersion.objects.get().metrics["mnist_test"]


def test_unloadable_version_does_not_block_others(active_model: ModelVersion, small_mnist: Path) -> None:
    learned(active_model, {}, promoted=False, content=b"broken")

    assert measuring.measure_missing() == active_model


def test_command_stores_measurements(
    active_model: ModelVersion, small_mnist: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("evaluate_model", "1", "--store")

    assert "confusion" in ModelVersion.objects.get().metrics["mnist_test"]
    with pytest.raises(CommandError, match="MNIST"):
        call_command("evaluate_model", "1", "--store", "--strokes", str(small_mnist))


def test_stored_list_of_changes_is_limited(active_model: ModelVersion) -> None:
    changes = metrics(LABELS, range(200), range(150, 400))["mnist_test"]["changes"]

    assert (changes["won"], changes["lost"]) == (200, 150)
    assert len(changes["digits"]) <= 48
    assert all(before != after for _, _, before, after in changes["digits"])


@pytest.mark.parametrize(("low", "high"), [(0, 100), (99.6, 99.85), (99.76, 99.78), (0, 0.0009), (5, 5), (86.9, 100)])
def test_axes_have_few_round_numbers_around_the_values(low: float, high: float) -> None:
    marks = ticks(low, high)

    assert 2 <= len(marks) <= 6
    assert marks[0] <= low + 1e-9 and marks[-1] >= high - 1e-9
