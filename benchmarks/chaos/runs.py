"""Training runs, requested and watched over HTTP, and people who give them something to learn."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from benchmarks.harness import LIVE, Client, accept_all, until

OWNERS, EACH = 6, 10  # people, and the drawings of each
RUN_TIMEOUT = 400.0  # seconds for a run to end, on a slow machine


class TrainingRuns:
    """Training runs, as staff see them."""

    def __init__(self) -> None:
        self.staff = Client.staff()

    def request(self) -> int:
        """Queue a run; return its id."""
        return int(self.staff.call("POST", "/api/v1/training-runs", {"force": True})["id"])

    def get(self, run: int) -> Any:
        return self.staff.call("GET", f"/api/v1/training-runs/{run}")

    def wait_for(self, run: int, reached: Callable[[Any], bool], seconds: float = RUN_TIMEOUT) -> Any:
        """Wait until a run is as wanted, or has ended, and return it."""

        def look() -> Any:
            row = self.get(run)
            return row if reached(row) or row["state"] not in LIVE else None

        return until(look, seconds, lambda: f"A run is stuck: {self.get(run)}")

    def wait_for_phase(self, run: int, phase: str) -> None:
        row = self.wait_for(run, lambda row: bool(row["phase"] == phase))
        if row["state"] not in LIVE:
            raise SystemExit(f"The run ended before it was seen in the phase {phase}: {describe(row)}")

    def wait_for_end(self, run: int, seconds: float = RUN_TIMEOUT) -> Any:
        return self.wait_for(run, lambda row: False, seconds)

    def cancel(self, run: int) -> Any:
        self.staff.call("POST", f"/api/v1/training-runs/{run}/cancel", {})
        return self.wait_for_end(run)


def describe(run: Any) -> str:
    attempt = f" in attempt {run['attempt']}" if run["attempt"] > 1 else ""
    return f"run {run['id']} {run['state']}{attempt}: {run['reason']}"


def teach() -> None:
    """Fill the site with accepted labels."""
    for owner in range(OWNERS):
        visitor, rng = Client.visitor(), np.random.default_rng(owner)
        for number in range(EACH):
            visitor.draw_and_label(pen_drawing(number % 10, rng), number % 10)
    accept_all(Client.staff())


def pen_drawing(digit: int, rng: np.random.Generator) -> Any:
    """Draw a digit with the pen model."""
    from training.strokes import PenDrawing

    return PenDrawing(digit, _pens().draw(digit, rng), "somebody", 1.0, str(digit))


@cache
def _pens() -> Any:
    from training.pens import Pens
    from training.replay import PENS_FILE

    return Pens.from_bytes(PENS_FILE.read_bytes())
