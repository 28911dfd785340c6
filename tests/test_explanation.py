"""Explanations: the marked ink decides the answer, and only the owner and staff see them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client

from recognizer import nearest, registry
from recognizer.engine import DigitModel, engine
from recognizer.explanation import Ink, explain
from recognizer.mnist import load_mnist
from recognizer.models import Correction, ModelVersion, Submission
from recognizer.preprocessing import INPUT_SIDE, ModelInput, ink_to_input
from recognizer.verdicts import Thresholds
from tests.conftest import Visitor
from tests.drawings import CANARIES, SCRIBBLE, SEVEN, body_of, canary
from tests.labels import labelled

INPUTS = [ink_to_input([np.array(stroke, np.float64) for stroke in drawn["strokes"]], 100) for drawn in CANARIES]


@pytest.fixture(scope="module")
def bundled() -> DigitModel:
    card = json.loads((registry.BUNDLED / "model.json").read_text())
    return DigitModel((registry.BUNDLED / "digits.tflite").read_bytes(), Thresholds(**card["thresholds"]))


class CornerReader(DigitModel):
    """A model with a known reason: it reads 3 while one corner has ink, else 5."""

    runs = 0

    def __init__(self) -> None:
        super().__init__(b"", Thresholds(0.1, 0.9, 0.9))

    def probabilities(self, image: ModelInput) -> Any:
        self.runs += 1
        inked = image[:10, 16:].sum() / (255 * 20)
        answer = np.full(11, 0.001, np.float32)
        answer[[3, 5]] = np.array([inked, 0.3]) / (inked + 0.3)
        answer[10] = 0.99
        return answer


def blot(image: ModelInput, share: float, rng: np.random.Generator) -> Ink:
    """Select a share of the ink around a random place on it."""
    rows, columns = np.nonzero(image)
    start = rng.integers(len(rows))
    order = np.argsort((rows - rows[start]) ** 2 + (columns - columns[start]) ** 2, kind="stable")
    return first_ink(image, rows[order], columns[order], share)


def least_marked(image: ModelInput, heat: np.ndarray, share: float) -> Ink:
    rows, columns = np.nonzero(image)
    order = np.argsort(heat[rows, columns], kind="stable")
    return first_ink(image, rows[order], columns[order], share)


def first_ink(image: ModelInput, rows: np.ndarray, columns: np.ndarray, share: float) -> Ink:
    enough = np.searchsorted(image[rows, columns].cumsum(dtype=np.int64), share * image.sum(dtype=np.int64)) + 1
    ink = np.zeros(image.shape, np.bool_)
    ink[rows[:enough], columns[:enough]] = True
    return ink


def without(image: ModelInput, ink: Any) -> ModelInput:
    return np.where(np.asarray(ink, np.bool_), 0, image).astype(np.uint8)


# --- Correctness ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_removing_marked_ink_changes_answer_more_than_other_ink(
    bundled: DigitModel,
) -> None:
    rng = np.random.default_rng(1)
    marked, chance, least = [], [], []
    for image in INPUTS:
        explanation = explain(bundled, image)
        digit, share = explanation.reading.digit, explanation.marked.share
        marked.append(bundled.read(without(image, explanation.marked.ink)).digit != digit)
        least.append(bundled.read(without(image, least_marked(image, explanation.heat, share))).digit != digit)
        chance += [bundled.read(without(image, blot(image, share, rng))).digit != digit for _ in range(5)]

    assert np.mean(marked) >= 0.75
    assert np.mean(chance) <= 0.5
    assert np.mean(least) <= 0.1


def test_known_reason_is_found() -> None:
    model, ring = CornerReader(), np.zeros((INPUT_SIDE, INPUT_SIDE), np.uint8)
    down, across = np.mgrid[:INPUT_SIDE, :INPUT_SIDE] - (INPUT_SIDE - 1) / 2
    ring[abs(np.hypot(down, across) - 9) < 1.5] = 255
    explanation = explain(model, ring)

    assert explanation.reading.digit == 3
    assert explanation.marked.ink[:10, 16:].sum() > explanation.marked.ink.sum() / 2
    assert not explanation.heat[14:, :12].any()
    assert explanation.places[0][0] == "upper right"
    assert explanation.marked.reading.digit == 5
    assert explanation.runner_up == 5
    assert explanation.overtaking is not None and explanation.overtaking.ink[:10, 16:].any()
    assert model.runs <= 64


def test_erasures_match_readings_of_network(bundled: DigitModel) -> None:
    overtaken = 0
    for image in INPUTS:
        explanation = explain(bundled, image)
        erasures = [explanation.marked, explanation.overtaking]
        for erasure in filter(None, erasures):
            assert image[erasure.ink].sum() >= erasure.share * image.sum()
            assert bundled.read(without(image, erasure.ink)) == erasure.reading
        if explanation.overtaking:
            overtaken += 1
            assert explanation.overtaking.reading.digit == explanation.runner_up != explanation.reading.digit
        assert sum(share for _, share in explanation.places) == pytest.approx(1)
    assert overtaken


def test_blank_input_and_dot_are_explained(bundled: DigitModel) -> None:
    blank = np.zeros((INPUT_SIDE, INPUT_SIDE), np.uint8)
    dot = blank.copy()
    dot[14, 14] = 40

    assert explain(bundled, blank).heat.max() == 0
    assert explain(bundled, dot).places == [("middle", 1.0)]


# --- Over HTTP --------------------------------------------------------------------------------------------------------


def ask(client: Client, pk: int) -> Any:
    return client.get(f"/api/v1/submissions/{pk}/explanation")


@pytest.mark.django_db
def test_owner_gets_explanation(visitor: Visitor) -> None:
    drawn = visitor.draw()
    explanation = ask(visitor, drawn["id"]).json()
    heat = np.array(explanation["heat"])
    image = np.frombuffer(Submission.objects.get().input, np.uint8).reshape(INPUT_SIDE, INPUT_SIDE)

    assert explanation["digit"] == 3 and explanation["verdict"] == "sure"
    assert explanation["model_version"] == drawn["model_version"]
    assert heat.shape == (INPUT_SIDE, INPUT_SIDE) and heat.min() == 0 and heat.max() == 1
    assert not heat[image == 0].any()
    probabilities = dict(enumerate(drawn["probabilities"]))
    assert explanation["runner_up"]["digit"] == max(set(probabilities) - {3}, key=probabilities.__getitem__)
    marked = explanation["marked"]
    assert engine.model.read(without(image, marked["ink"])).digit == marked["digit"]
    assert marked["places"][0]["share"] == max(place["share"] for place in marked["places"])


@pytest.mark.django_db
def test_non_digit_is_explained(visitor: Visitor) -> None:
    explanation = ask(visitor, visitor.draw(SCRIBBLE)["id"]).json()

    assert explanation["digit"] is None and explanation["verdict"] == "not_a_digit"
    assert explanation["runner_up"]["digit"] in range(10)
    assert explanation["nearest"] == []


@pytest.mark.django_db
def test_explanation_is_limited_to_owner_and_staff(visitor: Visitor, stranger: Visitor, staff: Client) -> None:
    drawn = visitor.draw()["id"]

    assert ask(stranger, drawn).status_code == 404
    assert ask(Client(), drawn).status_code == 404
    assert ask(visitor, drawn + 1).status_code == 404
    assert ask(staff, drawn).json()["digit"] == 3


@pytest.mark.django_db
def test_explanation_names_version_that_explains(visitor: Visitor, active_model: ModelVersion) -> None:
    drawn = visitor.draw()
    later = registry.register(
        bytes(active_model.files.get(kind="tflite").content),
        None,
        preprocessing_version=active_model.preprocessing_version,
        thresholds=active_model.thresholds,
        metrics={},
        parent=active_model,
    )
    registry.promote(later)
    engine.refresh()

    assert (drawn["model_version"], ask(visitor, drawn["id"]).json()["model_version"]) == (1, later.version)


@pytest.mark.django_db
def test_explanation_without_model_is_503(visitor: Visitor) -> None:
    drawn = visitor.draw()["id"]
    engine._model = None
    ModelVersion.objects.update(state="retired")

    assert ask(visitor, drawn).status_code == 503


@pytest.mark.django_db
def test_admin_shows_explanation(visitor: Visitor, admin_user: User) -> None:
    drawn = visitor.draw()["id"]
    admin_browser = Client()
    admin_browser.force_login(admin_user)
    page = admin_browser.get(f"/admin/recognizer/submission/{drawn}/change/").content.decode()

    assert "Version 1 reads 3. The bright ink had the most influence" in page
    assert page.count("data:image/png;base64,") == 2


# --- Similar drawings -------------------------------------------------------------------------------------------------


@pytest.fixture
def _no_mnist(settings: LazySettings, tmp_path: Path) -> None:
    settings.MNIST_DIR, settings.DATA_DIR = "", tmp_path


def near(client: Client, pk: int) -> list[tuple[str, int | None]]:
    return [(drawing["source"], drawing["submission"]) for drawing in ask(client, pk).json()["nearest"]]


@pytest.mark.django_db
@pytest.mark.usefixtures("_no_mnist")
def test_nearest_are_own_accepted_drawings_of_the_digit(visitor: Visitor, stranger: Visitor) -> None:
    mine = [visitor.draw(body_of(canary(3), scale=scale))["id"] for scale in (1.0, 1.5, 2.0)]
    for pk, said in zip(mine, (3, 3, 8), strict=True):
        visitor.say(pk, said)
    theirs = stranger.draw()["id"]
    stranger.say(theirs, 3)
    waiting = visitor.draw()["id"]
    visitor.say(waiting, 3)
    Correction.objects.exclude(submission=waiting).update(state="accepted")
    asked = visitor.draw()["id"]

    assert sorted(near(visitor, asked)) == [("yours", mine[0]), ("yours", mine[1])]
    assert near(visitor, mine[0]) == [("yours", mine[1])]
    assert near(stranger, theirs) == []


@pytest.mark.django_db
@pytest.mark.usefixtures("_no_mnist")
def test_staff_get_nearest_drawings_of_all_owners(visitor: Visitor, staff: Client, admin_user: User) -> None:
    for seed in range(3):
        labelled("ada", 3, seed=seed)
    own = labelled("boss", 3, session=None, account=admin_user)
    asked = visitor.draw()["id"]
    found = near(staff, asked)

    assert len(found) == 4
    assert ("yours", own.pk) in found
    assert [source for source, _ in found].count("accepted") == 3


@pytest.mark.django_db
@pytest.mark.usefixtures("_no_mnist")
def test_nearest_are_sorted_and_limited(visitor: Visitor, staff: Client) -> None:
    for seed in range(8):
        labelled("ada", 3, seed=seed)
    drawings = ask(staff, visitor.draw()["id"]).json()["nearest"]
    alike = [drawing["similarity"] for drawing in drawings]

    assert len(alike) == nearest.MOST and alike == sorted(alike, reverse=True)


@pytest.mark.django_db
@pytest.mark.usefixtures("_no_mnist")
def test_only_newest_are_searched_in_constant_queries(
    visitor: Visitor, staff: Client, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    old, new = (labelled("ada", 3, seed=seed) for seed in range(2))
    asked = visitor.draw()["id"]
    monkeypatch.setattr(nearest, "NEWEST", 1)

    assert near(staff, asked) == [("accepted", new.pk)]
    assert old.pk < new.pk
    with django_assert_num_queries(4):  # token, submission, its correction, the nearest
        ask(staff, asked)


@pytest.mark.django_db
def test_mnist_fills_up_nearest(visitor: Visitor, small_mnist: Path) -> None:
    _, test = load_mnist(small_mnist)
    digit = int(test.labels[0])
    asked = visitor.draw(body_of(canary(digit)))["id"]
    mine = labelled("me", digit, session=Submission.objects.get().session)
    found = near(visitor, asked)

    assert found[0] == ("yours", mine.pk)
    assert set(found[1:]) == {("mnist", None)}
    assert len(found) == 1 + min(3, int((test.labels == digit).sum()))


@pytest.mark.django_db
@pytest.mark.parametrize("harm", ["altered", "a folder"])
def test_unreadable_mnist_is_ignored(visitor: Visitor, small_mnist: Path, harm: str) -> None:
    file = small_mnist / "t10k-images-idx3-ubyte.gz"
    file.unlink()
    file.write_bytes(b"not it") if harm == "altered" else file.mkdir()

    assert near(visitor, visitor.draw(SEVEN)["id"]) == []
