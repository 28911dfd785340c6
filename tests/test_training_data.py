"""Training data: read strictly, split by writer, and distorted within bounds."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from recognizer.mnist import MnistError, find_mnist, load_mnist
from recognizer.preprocessing import Stroke
from recognizer.verdicts import Thresholds
from tests.drawings import CANARIES
from training import calibration, evaluation
from training.augment import Distortion, _resampled, distort_image, distort_strokes
from training.base_data import Mixture
from training.scribbles import scribble
from training.strokes import BUNDLED_FOLD, FOLDS, load_drawings, writer_split
from training.styles import OneStyle, SevenStyle, SquareStyle, Styles, ZeroStyle, restyle


@pytest.fixture
def strokes_file(tmp_path: Path) -> Path:
    rows = [
        {"label": canary["digit"], "strokes": canary["strokes"], "writer": f"w{i}", "res": 100}
        for i, canary in enumerate(CANARIES)
    ]
    rows += [{"label": "M", "strokes": [[[0, 0], [9, 9]]], "writer": "w1", "res": 9}]
    rows += [{"label": "O", "strokes": [[[0, 0], [9, 9]]], "writer": "w1", "res": 9, "lookalike": True}]
    path = tmp_path / "strokes.json.gz"
    path.write_bytes(gzip.compress(json.dumps(rows).encode()))
    return path


def test_mnist_is_found_checked_and_read(small_mnist: Path) -> None:
    assert find_mnist() == small_mnist
    train, test = load_mnist(small_mnist)

    assert train.images.shape == (30, 28, 28) and test.labels.shape == (10,)


def test_altered_mnist_file_is_refused_with_instructions(small_mnist: Path) -> None:
    path = small_mnist / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")

    with pytest.raises(MnistError, match="expected sha256"):
        load_mnist(small_mnist)


def test_failed_download_is_one_clear_error(settings: LazySettings, tmp_path: Path) -> None:
    settings.MNIST_DIR, settings.DATA_DIR = "", tmp_path
    settings.MNIST_URL = "http://127.0.0.1:9/"

    with pytest.raises(CommandError, match="HDR_MNIST_DIR"):
        call_command("fetch_mnist")
    assert not list(tmp_path.rglob("*.partial"))


def test_split_of_a_writer_is_stable() -> None:
    splits = [writer_split(f"writer {i}") for i in range(2000)]

    assert writer_split("aga:amywldrp") == writer_split("aga:amywldrp")
    assert {"train", "validation", "test"} == set(splits)
    assert 0.15 < splits.count("test") / len(splits) < 0.25


def test_each_writer_is_in_the_test_set_of_one_fold() -> None:
    for writer in (f"writer {i}" for i in range(200)):
        splits = [writer_split(writer, fold) for fold in range(FOLDS)]

        assert splits.count("test") == 1
        assert splits[BUNDLED_FOLD] == writer_split(writer)


def test_strokes_are_loaded_without_lookalikes(strokes_file: Path) -> None:
    drawings = load_drawings(strokes_file)

    assert [drawing.digit for drawing in drawings] == [canary["digit"] for canary in CANARIES] + [None]
    assert sum(len(load_drawings(strokes_file, split)) for split in ("train", "validation", "test")) == len(drawings)


def test_other_file_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.json.gz"
    path.write_bytes(gzip.compress(b'[{"label": 3}]'))

    with pytest.raises(ValueError, match="not a strokes file"):
        load_drawings(path)


@pytest.mark.parametrize("seed", range(20))
def test_distorted_digits_are_valid_and_reproducible(seed: int, strokes_file: Path) -> None:
    drawing = load_drawings(strokes_file)[seed]
    made = [
        [
            distort_strokes(drawing.strokes, Distortion(), rng),
            distort_image(drawing.to_input(), Distortion(), rng),
            distort_strokes(scribble(rng, [(3, drawing.strokes)]), Distortion(), rng),
        ]
        for rng in (np.random.default_rng(seed), np.random.default_rng(seed))
    ]

    for image, again in zip(*made, strict=True):
        assert image.shape == (28, 28) and image.dtype == np.uint8
        assert image.max() > 60
        assert (image == again).all()


def test_last_epochs_use_weaker_distortion() -> None:
    mixture = Mixture(eased_share=0.25, eased_strength=0.5)
    first, last = mixture.ink_distortion, mixture.in_epoch(6, 8).ink_distortion

    assert mixture.in_epoch(5, 8) == mixture
    assert last.rotation == first.rotation / 2 and last.pen_widths == first.pen_widths
    assert mixture.in_epoch(6, 8).image_distortion.rotation == mixture.image_distortion.rotation / 2


def test_resampling_keeps_corners() -> None:
    corners = np.array([[0.0, 0.0], [0.6, 0.0], [0.6, 1.0], [0.0, 1.0]])

    assert (_resampled(corners, 0.15) == corners).all()


def test_resampled_points_are_far_apart() -> None:
    path = np.stack([np.linspace(0, 1, 200), np.zeros(200)], axis=1)
    kept = _resampled(path, 0.1)

    assert len(kept) in (10, 11, 12)
    assert (kept[0] == path[0]).all() and (kept[-1] == path[-1]).all()


def test_slash_crosses_the_middle_of_a_zero() -> None:
    angle = np.linspace(0, 2 * np.pi, 40)
    zero = [np.stack([50 + 30 * np.cos(angle), 60 + 50 * np.sin(angle)], axis=1)]
    for seed in range(50):
        path, slash = restyle(
            0, zero, Styles(zeros=ZeroStyle(share=1), squares=SquareStyle(share=0)), np.random.default_rng(seed)
        )

        assert (path == zero[0]).all()
        assert np.hypot(*(slash.mean(axis=0) - (50, 60))) < 20
        assert 40 < np.hypot(*(slash[1] - slash[0])) < 130


@pytest.mark.parametrize("digit", [0, 2, 3, 4, 5, 6, 7, 8, 9])
def test_square_digit_has_only_horizontal_and_vertical_lines(digit: int) -> None:
    style = Styles(squares=SquareStyle(share=1, waver=0))
    drawn = restyle(digit, [np.array([[0.0, 0.0], [9.0, 9.0]])], style, np.random.default_rng(digit))

    assert all((np.diff(path, axis=0) == 0).any(axis=1).all() for path in drawn)
    assert float(np.ptp(np.concatenate(drawn)[:, 1])) == 1


def test_upstroke_of_a_one_differs_from_a_seven() -> None:
    stem = [np.array([[50.0, 10.0], [50.0, 60.0], [50.0, 110.0]])]
    styled = [restyle(1, stem, Styles(ones=OneStyle(share=1)), np.random.default_rng(seed)) for seed in range(200)]

    for strokes in styled:
        tip, top = strokes[0][0], strokes[0][2]
        across, down = top[0] - tip[0], tip[1] - top[1]
        level = np.degrees(np.arctan2(down, across)) < 30
        assert across > 0 and down > 0 and (np.hypot(across, down) < 30 or not level)


def test_bar_crosses_the_stem_of_a_seven() -> None:
    seven = [np.array([[10.0, 10.0], [70.0, 10.0], [40.0, 110.0]])]
    for seed in range(50):
        path, bar = restyle(
            7, seven, Styles(sevens=SevenStyle(share=1), squares=SquareStyle(share=0)), np.random.default_rng(seed)
        )

        assert (path == seven[0]).all()
        assert 40 < bar[:, 1].mean() < 85 and 35 < bar[:, 0].mean() < 70


@pytest.mark.parametrize(
    ("digit", "strokes"),
    [
        (1, [np.array([[0.0, 0.0], [50.0, 0.0]])]),  # horizontal
        (1, [np.array([[5.0, 5.0]])]),  # a dot
        (7, [np.array([[0.0, 0.0], [50.0, 0.0]])]),  # no stem
        (7, [np.array([[0.0, 0.0], [9.0, 0.0]]), np.array([[5.0, 0.0], [5.0, 9.0]])]),
        (4, [np.array([[0.0, 0.0], [9.0, 30.0]])]),
        (None, [np.array([[0.0, 0.0], [9.0, 30.0]])]),
    ],
)
def test_drawing_without_other_style_is_unchanged(digit: int | None, strokes: list[Stroke]) -> None:
    always = Styles(ones=OneStyle(share=1), sevens=SevenStyle(share=1), squares=SquareStyle(share=0))

    assert restyle(digit, strokes, always, np.random.default_rng(0)) == strokes


@pytest.mark.slow
def test_temperature_of_overconfident_logits_is_found() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20_000, 10))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(10, p=row) for row in probabilities])

    assert calibration.fit_temperature(logits * 2, labels) == pytest.approx(2, rel=0.05)
    assert evaluation.expected_calibration_error(probabilities, labels) < 0.02


def test_thresholds_accept_digits_and_reject_negatives() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 10_000)
    right = rng.random(10_000) < confidence**0.05
    answers = np.zeros((10_000, 11))
    answers[:, 0], answers[:, 1], answers[:, 10] = confidence, 1 - confidence, rng.uniform(0.9, 1, 10_000)
    others = np.zeros((1000, 11))
    others[:, 10] = rng.uniform(0, 0.8, 1000)
    goals = calibration.VerdictGoals(sure=0.5)
    thresholds = calibration.choose_thresholds(answers, np.where(right, 0, 1), others, goals)

    assert (answers[:, 10] < thresholds.digit).sum() == 0
    assert (others[:, 10] < thresholds.digit).mean() == pytest.approx(0.9, abs=0.01)
    assert 0.5 < thresholds.sure_confidence < 1


def test_digits_are_not_rejected_to_reject_negatives() -> None:
    answers, others = np.full((1000, 11), 0.9), np.full((100, 11), 0.9)
    answers[:, 10] = np.linspace(0.3, 1, 1000)
    thresholds = calibration.choose_thresholds(answers, np.zeros(1000, int), others, calibration.VerdictGoals())

    assert (answers[:, 10] < thresholds.digit).mean() <= 0.001


def test_matched_thresholds_reject_and_doubt_as_many_as_champion() -> None:
    rng = np.random.default_rng(0)
    champion = np.concatenate([1 - rng.uniform(0, 1, 1000) ** 8, rng.uniform(0, 1, 500) ** 8])
    candidate = champion**0.5
    thresholds = Thresholds(digit=0.002, sure_digit=0.7, sure_confidence=0.99)
    matched = calibration.match_thresholds(thresholds, champion, candidate, digits=1000)

    assert (candidate[1000:] < matched.digit).sum() == (champion[1000:] < 0.002).sum()
    assert (candidate[:1000] < matched.sure_digit).sum() == (champion[:1000] < 0.7).sum()
    assert matched.sure_confidence == 0.99
    assert calibration.match_thresholds(thresholds, champion[:0], champion[:0], 0) == thresholds


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's and Keras' own
def test_network_can_be_trained_resumed_exported_and_reloaded(tmp_path: Path) -> None:
    from training import network

    architecture = network.Architecture(convolutions=((8, 3, 2), (16, 3, 2)))
    fit = network.Fit(epochs=2, batch_size=20)
    strokes = [[np.array(stroke, np.float64) for stroke in canary["strokes"]] for canary in CANARIES]
    labels = [canary["digit"] for canary in CANARIES]
    seen: list[int] = []

    def batch(epoch: int, index: int) -> network.Batch:
        rng = np.random.default_rng((epoch, index))
        images = np.stack([distort_strokes(ink, Distortion(), rng) for ink in strokes])
        return network.pack_inputs(images), network.pack_targets(labels)

    def train(epochs: int) -> Any:
        model = network.new_network(architecture, fit, seed=1)
        batches = network.EpochBatches(5, batch)
        longer = network.Fit(epochs=epochs, batch_size=20)
        network.fit_network(
            model,
            batches,
            longer,
            1,
            tmp_path,
            lambda epoch, *rest: seen.append(epoch) if rest[-1] is not None else None,
        )
        return model

    train(2)
    model = train(4)
    images = np.stack([distort_strokes(ink, Distortion(), np.random.default_rng(5)) for ink in strokes])
    logits = network.logits_of(model, images)
    from recognizer.engine import DigitModel

    artifact = DigitModel(network.export_artifact(model, temperature=1.5), Thresholds(0, 0, 0))
    served = np.stack([artifact.probabilities(image) for image in images])
    softmax = np.exp(logits[:, :10] / 1.5) / np.exp(logits[:, :10] / 1.5).sum(axis=1, keepdims=True)
    again = network.load_checkpoint(network.save_checkpoint(model))

    assert seen == [0, 1, 2, 3]
    assert np.abs(served[:, :10] - softmax).max() < 0.05
    assert np.allclose(network.logits_of(again, images), logits, atol=1e-4)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:__array__ implementation")  # Keras's, outside a compiled step
def test_fused_batch_normalization_equals_keras() -> None:
    import keras

    from training.network import FusedBatchNormalization

    images = np.random.default_rng(0).normal(3, 2, (64, 7, 7, 32)).astype(np.float32)
    kinds = (keras.layers.BatchNormalization, FusedBatchNormalization)
    plain, fused = (kind(momentum=0.9, dtype="float32") for kind in kinds)
    for training, tolerance in ((True, 1e-4), (False, 1e-2)):
        one, other = (keras.ops.convert_to_numpy(layer(images, training=training)) for layer in (plain, fused))
        assert np.allclose(one, other, atol=tolerance)
    for one, other in zip(plain.get_weights(), fused.get_weights(), strict=True):
        assert np.allclose(one, other, rtol=1e-3)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_finished_fit_is_reused_and_other_recipe_is_refused(small_mnist: Path, strokes_file: Path) -> None:
    from training import base, network
    from training.base_data import load_base_data

    mixture = Mixture(mnist_validation=10, scribbles=8)
    fit = network.Fit(epochs=1, batch_size=16)
    recipe = base.BaseRecipe(architecture=network.Architecture(((8, 3, 2),)), fit=fit, mixture=mixture)
    data = load_base_data(small_mnist, strokes_file, strokes_file, mixture)
    folder, told = strokes_file.parent / "work", []
    fitted = base.fit_base(recipe, data, folder, lambda *progress: told.append(progress))
    batches = len(told)
    again = base.fit_base(recipe, data, folder, lambda *progress: told.append(progress))

    assert len(told) == batches > 0
    assert np.allclose(
        network.logits_of(fitted, data.mnist_test.images), network.logits_of(again, data.mnist_test.images)
    )
    with pytest.raises(base.AnotherRecipeError, match="delete it"):
        base.fit_base(replace(recipe, seed=2), data, folder, lambda *_: None)
