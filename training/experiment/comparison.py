"""The report's experiment, one network trained on MNIST by several optimisers: its settings and results.

The network is in `training.experiment.network`. This module needs no TensorFlow, so a web process can read results.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from django.utils.timezone import now
from django.utils.translation import gettext_noop

from training.models import OptimizerResult

SHIPPED_RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An optimiser and its settings. Options that are not given have Keras' defaults."""

    name: str
    learning_rate: float
    keras_class: str
    options: tuple[tuple[str, Any], ...] = ()
    note: str = ""
    reported: float | None = None  # test accuracy in the report

    @property
    def key(self) -> tuple[str, float]:
        """The unique key of the optimiser: name and learning rate."""
        return self.name, self.learning_rate


# In the order of the run: first the report's two results, and the one that explains the worse of them.
OPTIMIZERS = (
    Optimizer("Adam", 0.001, "Adam", reported=0.9915),
    Optimizer("Adadelta", 0.001, "Adadelta", note=gettext_noop("Keras’ default rate"), reported=0.8453),
    Optimizer("Adadelta", 1.0, "Adadelta", note=gettext_noop("the rate of its paper")),
    Optimizer("SGD", 0.01, "SGD"),
    Optimizer("SGD, Nesterov", 0.01, "SGD", (("momentum", 0.9), ("nesterov", True)), note=gettext_noop("momentum 0.9")),
    Optimizer("RMSprop", 0.001, "RMSprop"),
    Optimizer("AdamW", 0.001, "AdamW", note=gettext_noop("weight decay 0.004")),
    Optimizer("Adagrad", 0.001, "Adagrad"),
)


@dataclass(frozen=True, slots=True)
class Protocol:
    """Settings shared by all optimisers, besides network and data."""

    epochs: int = 12
    batch_size: int = 128
    seed: int = 1  # of initial weights, batch order and dropout


@dataclass(frozen=True, slots=True)
class Epoch:
    """Results of one pass over the training digits."""

    loss: float  # training loss, mean over the epoch's batches, with dropout
    accuracy: float  # on the test set after the epoch; reported, never used for selection


@dataclass(frozen=True, slots=True)
class FitResult:
    """The result of one optimiser."""

    optimizer: Optimizer
    history: tuple[Epoch, ...]
    seconds: float  # processor time of the fit, all cores together

    @property
    def accuracy(self) -> float:
        """Test accuracy after the last epoch."""
        return self.history[-1].accuracy


@dataclass(frozen=True, slots=True)
class Comparison:
    """All results under one protocol, best first."""

    protocol: Protocol
    results: tuple[FitResult, ...]
    measured: dict[str, Any] = field(default_factory=dict)  # of shipped results: date, Keras version, cores


def stored(protocol: Protocol) -> Comparison:
    """Return this site's own results under one protocol."""
    rows = OptimizerResult.objects.filter(**asdict(protocol))
    return Comparison(
        protocol, _best_first(_result(row.name, row.learning_rate, row.history, row.seconds) for row in rows)
    )


def store(protocol: Protocol, result: FitResult) -> None:
    """Save a result; it replaces an earlier one under the same protocol."""
    OptimizerResult.objects.update_or_create(
        name=result.optimizer.name,
        learning_rate=result.optimizer.learning_rate,
        **asdict(protocol),
        defaults={
            "accuracy": result.accuracy,
            "history": [asdict(epoch) for epoch in result.history],
            "seconds": result.seconds,
            "created": now(),
        },
    )


def published() -> Comparison | None:
    """Return the comparison that the site shows: its most complete one (the newest in a tie), else the shipped one."""
    rows = OptimizerResult.objects.order_by("created").values_list("epochs", "batch_size", "seed")
    own = [Protocol(*row) for row in rows]
    if own:
        return stored(max(reversed(own), key=own.count))
    return read_results(SHIPPED_RESULTS) if SHIPPED_RESULTS.is_file() else None


def write_results(path: Path, comparison: Comparison) -> None:
    """Write a comparison atomically as JSON, one line per result."""
    head = {"protocol": asdict(comparison.protocol), "measured": comparison.measured}
    lines = [
        json.dumps(
            {
                "name": result.optimizer.name,
                "learning_rate": result.optimizer.learning_rate,
                "accuracy": result.accuracy,
                "seconds": result.seconds,
                "history": [asdict(epoch) for epoch in result.history],
            }
        )
        for result in comparison.results
    ]
    head_text = json.dumps(head, indent=2).removesuffix("\n}")
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(head_text + ',\n  "results": [\n    ' + ",\n    ".join(lines) + "\n  ]\n}\n")
    partial.replace(path)


def read_results(path: Path) -> Comparison:
    """Read a file of `write_results`."""
    content = json.loads(path.read_text())
    results = _best_first(
        _result(row["name"], row["learning_rate"], row["history"], row["seconds"]) for row in content["results"]
    )
    return Comparison(Protocol(**content["protocol"]), results, content["measured"])


def _result(name: str, learning_rate: float, history: Sequence[dict[str, float]], seconds: float) -> FitResult:
    known = {optimizer.key: optimizer for optimizer in OPTIMIZERS}
    optimizer = known.get((name, learning_rate)) or Optimizer(name, learning_rate, name)
    return FitResult(optimizer, tuple(Epoch(**epoch) for epoch in history), seconds)


def _best_first(results: Iterable[FitResult]) -> tuple[FitResult, ...]:
    return tuple(sorted(results, key=lambda result: -result.accuracy))
