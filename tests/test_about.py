"""The page that shows how a drawing is read."""

import re

import numpy as np
import pytest

from recognizer.activations import activations_of, sheet_of
from recognizer.engine import engine
from recognizer.models import ModelVersion
from tests.conftest import Visitor, main_of
from tests.drawings import SEVEN, THREE

pytestmark = pytest.mark.django_db


def test_shows_example_to_visitor_without_drawings(active_model: ModelVersion, visitor: Visitor) -> None:
    page = main_of(visitor.get("/about"))

    assert "with an example" in page
    assert page.count("<img") == 4 and page.count("<polyline") >= 1


def test_shows_last_drawing_of_visitor(active_model: ModelVersion, visitor: Visitor, stranger: Visitor) -> None:
    visitor.draw(THREE)
    answer = visitor.draw(SEVEN)
    stranger.draw(THREE)
    page = main_of(visitor.get("/about"))

    assert "with the last digit you drew" in page
    assert answer["input"] in page
    assert re.search(rf'odds__most"><th scope="row">{answer["digit"]}<', page)
    assert answer["input"] not in main_of(stranger.get("/about"))


def test_page_explains_how_the_site_learns(visitor: Visitor) -> None:
    response = visitor.get("/about")

    assert response.status_code == 200
    assert "How it learns" in main_of(response)


def test_page_uses_few_queries(
    active_model: ModelVersion, visitor: Visitor, django_assert_max_num_queries: object
) -> None:
    visitor.draw(THREE)
    with django_assert_max_num_queries(3):  # type: ignore[operator]
        visitor.get("/about")


def test_activations_come_from_network(active_model: ModelVersion) -> None:
    engine.refresh()
    assert engine.model is not None
    image = np.zeros((28, 28), np.uint8)
    image[6:22, 13:15] = 255
    first, *_, last = activations_of(engine.model.artifact, image)
    nothing = activations_of(engine.model.artifact, np.zeros((28, 28), np.uint8))[0]

    assert first.shape == (32, 28, 28) and last.shape == (128, 7, 7)
    assert (first >= 0).all()
    changed = np.abs(first - nothing).sum(axis=0) > 1e-3
    assert changed[5:23, 12:16].all() and not changed[:, :11].any()
    assert sheet_of(first, columns=8, zoom=2).shape == ((4 * 29 - 1) * 2, (8 * 29 - 1) * 2)
