"""The pen models bundled with the model: their drawings are readable and copy nobody's."""

from pathlib import Path

import numpy as np
import pytest

from recognizer import registry
from recognizer.engine import DigitModel
from recognizer.preprocessing import ink_to_input
from recognizer.verdicts import Thresholds
from tests.labels import bent_ink
from training.eval_suite import STRANGERS_FILE
from training.pens import PenFit, Pens, fit_pens
from training.replay import PENS_FILE, ReplayMix, make_replay
from training.strokes import PenDrawing


@pytest.fixture(scope="module")
def model() -> DigitModel:
    return DigitModel((registry.BUNDLED / "digits.tflite").read_bytes(), Thresholds(0, 0, 0))


@pytest.mark.slow
@pytest.mark.parametrize("file", [PENS_FILE, STRANGERS_FILE], ids=["replay", "strangers"])
def test_bundled_model_reads_pen_drawings(file: Path, model: DigitModel) -> None:
    pens, rng = Pens.from_bytes(file.read_bytes()), np.random.default_rng(0)
    right = [
        model.read(ink_to_input(pens.draw(digit, rng), 1.0)).digit == digit for digit in range(10) for _ in range(40)
    ]

    assert np.mean(right) > 0.9


def drawings(count: int = 12) -> list[PenDrawing]:
    return [
        PenDrawing(digit, [np.array(stroke) for stroke in bent_ink(digit, 2 * seed)], f"w{seed}", 100.0, str(digit))
        for digit in range(10)
        for seed in range(count)
    ]


def test_pens_draw_like_the_drawings_they_were_fitted_on(model: DigitModel) -> None:
    pens, rng = fit_pens(drawings(), PenFit(drawings_per_way=12)), np.random.default_rng(1)
    images = [ink_to_input(pens.draw(digit, rng), 1.0) for digit in range(10) for _ in range(10)]

    assert np.mean([model.read(image).digit == n // 10 for n, image in enumerate(images)]) > 0.9


def test_stroke_order_and_direction_do_not_matter() -> None:
    turned = [
        PenDrawing(d.digit, [stroke[::-1] for stroke in reversed(d.strokes)], d.writer, d.size, d.character)
        for d in drawings()
    ]
    means = [[way.mean for way in fit_pens(some).ways] for some in (drawings(), turned)]

    for one, other in zip(*means, strict=True):
        assert np.allclose(one, other, atol=1e-6)


def test_pens_survive_serialization_without_pickle() -> None:
    pens = fit_pens(drawings())
    again = Pens.from_bytes(pens.to_bytes())

    assert [(way.digit, way.share) for way in again.ways] == [(way.digit, way.share) for way in pens.ways]
    assert all(np.allclose(a.modes, b.modes, atol=1e-3) for a, b in zip(again.ways, pens.ways, strict=True))


def test_fitting_without_a_digit_is_refused() -> None:
    with pytest.raises(ValueError, match="missing"):
        fit_pens([drawing for drawing in drawings() if drawing.digit != 4])


def test_replay_is_reproducible_by_seed() -> None:
    from recognizer.mnist import Digits

    mnist = Digits(np.full((5, 28, 28), 80, np.uint8), np.zeros(5, np.uint8))
    none = Digits(mnist.images[:0], mnist.labels[:0])
    mix = ReplayMix(mnist=3, pens=10, negatives=0, scribbles=2)
    pens = Pens.from_bytes(PENS_FILE.read_bytes())
    first, again, other = (make_replay(mnist, pens, none, mix, seed) for seed in (1, 1, 2))

    assert first.shape == (15, 28, 28) and first.dtype == np.uint8
    assert (first == again).all() and not (first == other).all()
