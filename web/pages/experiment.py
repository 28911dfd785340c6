"""The public page about the optimizer experiment."""

from datetime import date
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from training.experiment import comparison
from training.experiment.comparison import OPTIMIZERS, Comparison, FitResult, Optimizer
from web.numbers import brief, day, decimal, percent
from web.pages import plot


@require_safe
def experiment(request: HttpRequest) -> HttpResponse:
    """Show the report's experiment: one network, trained with several optimizers."""
    table = comparison.published()
    context: dict[str, Any] = {"table": table, "wanted": len(OPTIMIZERS)}
    if table and table.results:
        if table.measured:
            context["measured_on"] = day(date.fromisoformat(table.measured["date"]))
        context |= {"rows": [_row(result) for result in table.results], "plots": _plots(table)}
    return render(request, "experiment.html", context)


def _row(result: FitResult) -> dict[str, Any]:
    optimizer = result.optimizer
    return {
        "name": optimizer.name,
        "note": _(optimizer.note) if optimizer.note else "",
        "rate": _rate(optimizer),
        "accuracy": percent(result.accuracy, 2),
        "reported": percent(optimizer.reported, 2) if optimizer.reported else None,
        "seconds": decimal(result.seconds),
        "story": _style(result) != "other",
    }


def _plots(table: Comparison) -> list[SafeString]:
    """Draw the plot for wide and for narrow screens; the page shows one of them."""
    series = [_series(result) for result in table.results]
    title = _("Error on the MNIST test set after each epoch, by optimiser")
    ends = "; ".join(f"{one.label}: {percent(one.errors[-1] / 100, 2)}" for one in series)
    description = _("After the last epoch: %(ends)s. The table has the same numbers as accuracies.") % {"ends": ends}
    layouts = {"wide": plot.WIDE, "narrow": plot.NARROW}
    return [plot.plot_errors(series, layout, name, title, description) for name, layout in layouts.items()]


def _series(result: FitResult) -> plot.Series:
    optimizer = result.optimizer
    rates = [other.learning_rate for other in OPTIMIZERS if other.name == optimizer.name]
    return plot.Series(
        label=optimizer.name if len(rates) < 2 else f"{optimizer.name} {_rate(optimizer)}",
        errors=[100 * (1 - epoch.accuracy) for epoch in result.history],
        style=_style(result),
        reported=None if optimizer.reported is None else 100 * (1 - optimizer.reported),
    )


def _rate(optimizer: Optimizer) -> str:
    return decimal(optimizer.learning_rate, 1) if optimizer.learning_rate >= 1 else brief(optimizer.learning_rate)


def _style(result: FitResult) -> str:
    """Return the style of an optimizer's line, by its role in the report."""
    if result.optimizer.name == "Adadelta":
        return "slow" if result.optimizer.reported else "paper"
    return "reported" if result.optimizer.reported else "other"
