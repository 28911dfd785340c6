"""Training runs → JSON."""

from typing import Any

from training.models import TrainingRun


def run_json(run: TrainingRun) -> dict[str, Any]:
    """A run: where it is, what it learned from, what came of it."""
    return {
        "id": run.pk,
        "state": run.state,
        "trigger": run.trigger,
        "force": run.force,
        "phase": run.phase,
        "progress": run.progress,
        "epoch": run.epoch,
        "epochs": run.epochs,
        "batch": run.batch,
        "loss": run.loss,
        "losses": run.losses,
        "eta_seconds": run.eta,
        "reason": run.reason,
        "attempt": run.attempt,
        "cancel_requested": run.cancel_requested and run.cancel_requested.isoformat(),
        "created": run.created.isoformat(),
        "started": run.started and run.started.isoformat(),
        "finished": run.finished and run.finished.isoformat(),
        "parent": run.parent and run.parent.version,
        "model_version": run.version and run.version.version,
        "gate_report": run.version and run.version.gate_report,
        "counts": run.counts,
        "timings": run.timings,
        "fingerprint": run.fingerprint,
    }
