"""The report's optimiser experiment: the command that repeats it and the page that shows its results."""

import json
import re
from io import StringIO
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command
from django.test import Client

from training.experiment import comparison
from training.experiment.comparison import OPTIMIZERS, Comparison, Epoch, FitResult, Optimizer, Protocol
from training.models import OptimizerResult

pytestmark = pytest.mark.django_db

MEASURED = {"date": "2026-01-31", "keras": "3.15.1", "cores": 2}


def result(optimizer: Optimizer, accuracy: float, epochs: int = 12) -> FitResult:
    history = tuple(Epoch(0.1, accuracy * (epoch + 1) / epochs) for epoch in range(epochs))
    return FitResult(optimizer, history, 61.4)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Results of three optimisers, in place of the repository's file."""
    path = tmp_path / "comparison_results.json"
    monkeypatch.setattr(comparison, "SHIPPED_RESULTS", path)
    results = tuple(result(optimizer, 0.97 + index / 100) for index, optimizer in enumerate(OPTIMIZERS[:3]))
    comparison.write_results(path, Comparison(Protocol(), results, MEASURED))
    return path


def page(client: Client) -> str:
    response = client.get("/experiment")
    assert response.status_code == 200
    return response.content.decode().replace("&nbsp;", " ")


def rows(text: str) -> list[str]:
    """Return the words of each row of the table, in order."""
    body = text.split("<tbody>")[1].split("</tbody>")[0]
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in body.split("</tr>")[:-1]]


def drawings(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r'<svg class="plot__\w+".*?</svg>', text, re.DOTALL)]


def test_new_site_shows_shipped_results_best_first(shipped: Path, client: Client) -> None:
    text = page(client)

    assert rows(text) == [
        "Adadelta the rate of its paper 1.0 99.00% – 61",
        "Adadelta Keras’ default rate 0.001 98.00% 84.53% 61",
        "Adam 0.001 97.00% 99.15% 61",
    ]
    assert "Measured for this release (<time>2026-01-31</time>, Keras 3.15.1)" in text
    assert f"3 of {len(OPTIMIZERS)} finished so far" in text


def test_own_results_replace_shipped_ones(shipped: Path, client: Client) -> None:
    for optimizer in OPTIMIZERS:
        comparison.store(Protocol(), result(optimizer, 0.9))
    text = page(client)

    assert len(rows(text)) == len(OPTIMIZERS)
    assert "Measured on this site" in text and "so far" not in text


def test_short_trial_does_not_hide_complete_comparison(client: Client) -> None:
    for optimizer in OPTIMIZERS:
        comparison.store(Protocol(), result(optimizer, 0.9))
    comparison.store(Protocol(epochs=1), result(OPTIMIZERS[0], 0.5, epochs=1))

    assert "12 epochs in batches of 128" in page(client)


def test_page_without_results_says_how_to_get_them(shipped: Path, client: Client) -> None:
    shipped.unlink()

    assert "manage.py compare_optimizers" in page(client)


def test_plot_is_described_without_inline_style_or_touching_labels(shipped: Path, client: Client) -> None:
    for optimizer in OPTIMIZERS:
        comparison.store(Protocol(), result(optimizer, 0.99))
    text = page(client)
    plots = drawings(text)

    assert len(plots) == 2 and not re.search(r"\sstyle=", text)
    for svg in plots:
        names = {element.get("id"): element.text for element in svg.iter() if element.get("id")}
        described = [names[name] for name in svg.attrib["aria-labelledby"].split()]
        labels = [element for element in svg.iter("text") if "plot__label" in element.attrib["class"]]
        places = sorted(float(label.attrib["y"]) for label in labels)
        assert "by optimiser" in (described[0] or "") and "Adadelta 1.0: 1.00%" in (described[1] or "")
        assert len(labels) == len(OPTIMIZERS)
        assert min(b - a for a, b in pairwise(places)) >= 17.9
    assert len({element.get("id") for svg in plots for element in svg.iter() if element.get("id")}) == 4


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_single_epoch_and_extreme_accuracies_can_be_drawn(shipped: Path, client: Client, accuracy: float) -> None:
    comparison.store(Protocol(epochs=1), result(OPTIMIZERS[0], accuracy, epochs=1))

    for svg in drawings(page(client)):
        box = [float(number) for number in svg.attrib["viewBox"].split()]
        (end,) = (element for element in svg.iter("circle") if "plot__end" in element.attrib["class"])
        assert 0 < float(end.attrib["cx"]) < box[2] and 0 < float(end.attrib["cy"]) < box[3]


def test_shipped_results_use_default_protocol() -> None:
    shipped = comparison.read_results(comparison.SHIPPED_RESULTS)

    assert shipped.protocol == Protocol()
    assert {one.optimizer.key for one in shipped.results} <= {optimizer.key for optimizer in OPTIMIZERS}
    assert {len(one.history) for one in shipped.results} == {Protocol().epochs}


def test_command_without_mnist_says_what_to_do(settings: LazySettings, tmp_path: Path) -> None:
    settings.MNIST_DIR, settings.DATA_DIR = "", tmp_path
    settings.MNIST_URL = "http://127.0.0.1:9/"

    with pytest.raises(CommandError, match="HDR_MNIST_DIR"):
        call_command("compare_optimizers")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": ["Lion"]}, "no optimiser 'lion'.*Adam; Adadelta; SGD"),
        ({"epochs": 0}, "at least 1"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("compare_optimizers", **options)


@pytest.mark.tensorflow  # only to write its version beside the results
def test_finished_results_are_written_without_training(tmp_path: Path) -> None:
    for optimizer in OPTIMIZERS:
        comparison.store(Protocol(), result(optimizer, 0.9))
    call_command("compare_optimizers", write=tmp_path / "results.json", stdout=(out := StringIO()))

    assert comparison.read_results(tmp_path / "results.json").results == comparison.stored(Protocol()).results
    assert "epoch" not in out.getvalue()
    assert re.search(r"Adadelta +1\.0 +90\.00% +61  the rate of its paper", out.getvalue())


def test_unwritable_file_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"no folder .*nowhere for results\.json"):
        call_command("compare_optimizers", write=tmp_path / "nowhere" / "results.json")


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorFlow's and Keras' own
def test_comparison_resumes_and_is_reproducible(small_mnist: Path, tmp_path: Path, client: Client) -> None:
    def compare(*options: str) -> str:
        call_command("compare_optimizers", "--epochs=2", "--batch-size=8", *options, stdout=(out := StringIO()))
        return out.getvalue()

    first = compare("--only=adam")
    adam = OptimizerResult.objects.get()
    some = ("--only=adam", "--only=adadelta", "--only=SGD, Nesterov")
    second = compare(*some, "--write", str(tmp_path / "results.json"))
    compare("--only=Adam", "--again")
    again = OptimizerResult.objects.get(pk=adam.pk)

    assert "Adam 0.001: epoch 2/2 done, loss" in first
    assert "Adam 0.001: epoch" not in second and "Adadelta 1.0: epoch 1/2 done" in second
    assert again.history == adam.history and again.created > adam.created
    assert len(json.loads((tmp_path / "results.json").read_text())["results"]) == 4
    assert len({json.dumps(row.history) for row in OptimizerResult.objects.all()}) == 4
    assert "2 epochs in batches of 8" in page(client)
