"""The public pages about how models are made."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from training.experiment import comparison
from training.experiment.comparison import OPTIMIZERS, Comparison, Result
from web.pages import plot


@require_safe
def experiment(request: HttpRequest) -> HttpResponse:
    """The report's experiment: one network, trained by several optimisers."""
    table = comparison.published()
    context: dict[str, Any] = {"table": table, "wanted": len(OPTIMIZERS)}
    if table and table.results:
        context |= {"rows": [_row(result) for result in table.results], "plots": _plots(table)}
    return render(request, "experiment.html", context)


def _row(result: Result) -> dict[str, Any]:
    optimizer = result.optimizer
    return {
        "name": optimizer.name,
        "note": optimizer.note,
        "rate": optimizer.learning_rate,
        "accuracy": 100 * result.accuracy,
        "reported": 100 * optimizer.reported if optimizer.reported else None,
        "seconds": round(result.seconds),
        "story": _style(result) != "other",
    }


def _plots(table: Comparison) -> list[SafeString]:
    """The same plot for wide and for narrow screens; the page shows one of them."""
    series = [_series(result) for result in table.results]
    title = "Share of MNIST’s test digits read wrong after each epoch, by optimiser"
    ends = "; ".join(f"{one.label}: {one.errors[-1]:.2f} %" for one in series)
    description = f"After the last epoch: {ends}. The table has the same numbers as accuracies."
    layouts = {"wide": plot.WIDE, "narrow": plot.NARROW}
    return [plot.plot_errors(series, layout, name, title, description) for name, layout in layouts.items()]


def _series(result: Result) -> plot.Series:
    optimizer = result.optimizer
    rates = [other.learning_rate for other in OPTIMIZERS if other.name == optimizer.name]
    return plot.Series(
        label=optimizer.name if len(rates) < 2 else f"{optimizer.name} {optimizer.learning_rate}",
        errors=[100 * (1 - epoch.accuracy) for epoch in result.history],
        style=_style(result),
        reported=None if optimizer.reported is None else 100 * (1 - optimizer.reported),
    )


def _style(result: Result) -> str:
    """Name the part that an optimiser plays in the report's story."""
    if result.optimizer.name == "Adadelta":
        return "slow" if result.optimizer.reported else "paper"
    return "reported" if result.optimizer.reported else "other"
