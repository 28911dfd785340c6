"""Conversion of database rows to JSON, in plain functions because every drawing passes through them."""

import base64
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from recognizer.engine import Reading
from recognizer.explanation import Erasure, Explanation, Heat, Ink
from recognizer.models import Correction, ModelFile, ModelVersion, Submission
from recognizer.nearest import Neighbour
from recognizer.preprocessing import INPUT_SIDE, ModelInput
from recognizer.submissions import Answer
from training.models import TrainingRun

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # the fastest: 28×28 pixels take only a few hundred bytes anyway

# Colours of ink with no heat (blue) and the most heat (yellow). They differ in lightness, so people with red-green
# colour blindness can tell them apart. Shown on black, like the input, in both themes; site.css has the same two.
_COLD, _HOT = np.array([88, 112, 165]), np.array([255, 209, 71])  # red, green, blue


def png_data_url(image: npt.NDArray[np.uint8]) -> str:
    """Encode a model input, or a BGR picture, as `data:image/png;base64,…`."""
    _, png = cv2.imencode(".png", image, _PNG)
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()


def heat_data_url(image: ModelInput, heat: Heat | Ink) -> str:
    """Encode a model input as a PNG data URL, its ink coloured by heat of 0…1."""
    colours = _COLD + (_HOT - _COLD) * heat[..., None]
    return png_data_url(np.rint(colours * image[..., None] / 255).astype(np.uint8)[..., ::-1])


def stored_input(submission: Submission) -> ModelInput:
    """Return the stored model input, `(28, 28)` uint8."""
    return np.frombuffer(submission.input, np.uint8).reshape(INPUT_SIDE, INPUT_SIDE)


def preview_json(answer: Answer, image: ModelInput) -> dict[str, Any]:
    """Return the response of a preview."""
    reading: Reading = answer.reading
    return {
        "digit": reading.digit,
        "confidence": reading.confidence,
        "probabilities": reading.probabilities,
        "verdict": reading.verdict,
        "model_version": answer.model.version,
        "input": png_data_url(image),
    }


def submission_json(submission: Submission, version: int) -> dict[str, Any]:
    """Return a submission without its label."""
    return {
        "id": submission.pk,
        "digit": submission.digit,
        "confidence": submission.confidence,
        "probabilities": submission.probabilities,
        "verdict": submission.verdict,
        "model_version": version,
        "input": png_data_url(stored_input(submission)),
        "created": submission.created.isoformat(),
    }


def labelled_submission_json(submission: Submission) -> dict[str, Any]:
    """Return a submission with its label, as in lists."""
    correction = submission.correction
    return submission_json(submission, submission.model_version.version) | {
        "correction": correction and correction_json(correction),
    }


def correction_json(correction: Correction) -> dict[str, Any]:
    """Return a person's correction and its state."""
    return {
        "id": correction.pk,
        "submission": correction.submission_id,
        "digit": correction.digit,
        "status": correction.state,
        "triage": correction.triage,
        "created": correction.created.isoformat(),
        "decided": correction.decided and correction.decided.isoformat(),
    }


def queued_correction_json(correction: Correction) -> dict[str, Any]:
    """Return a correction in the review queue, with its submission."""
    submission = correction.submission
    return correction_json(correction) | {
        "submission": submission_json(submission, submission.model_version.version),
    }


def explanation_json(
    image: ModelInput, explanation: Explanation, nearest: list[Neighbour], version: int
) -> dict[str, Any]:
    """Return the explanation of a version's answer to an input."""
    reading, runner_up = explanation.reading, explanation.runner_up
    places = [{"place": place, "share": round(share, 2)} for place, share in explanation.places]
    return {
        "digit": reading.digit,
        "verdict": reading.verdict,
        "model_version": version,
        "heat": explanation.heat.round(2).tolist(),
        "picture": heat_data_url(image, explanation.heat),
        "marked": erasure_json(image, explanation.marked) | {"places": places},
        "runner_up": {
            "digit": runner_up,
            "probability": reading.probabilities[runner_up],
            "without": explanation.overtaking and erasure_json(image, explanation.overtaking),
        },
        "nearest": [neighbour_json(neighbour) for neighbour in nearest],
    }


def erasure_json(image: ModelInput, erasure: Erasure) -> dict[str, Any]:
    """Return the erased ink and the answer without it."""
    return {
        "share": erasure.share,
        "ink": erasure.ink.astype(np.uint8).tolist(),
        "picture": heat_data_url(image, erasure.ink),
        "digit": erasure.reading.digit,
        "verdict": erasure.reading.verdict,
    }


def neighbour_json(neighbour: Neighbour) -> dict[str, Any]:
    """Return a drawing of the same digit, and its source."""
    return {
        "source": neighbour.source,
        "submission": neighbour.submission,
        "similarity": round(neighbour.similarity, 3),
        "input": png_data_url(neighbour.input),
    }


def version_json(version: ModelVersion) -> dict[str, Any]:
    """Return a version's registry entry."""
    files = {file.kind: {"sha256": file.sha256, "bytes": file.size} for file in version.files.all()}
    return {
        "version": version.version,
        "state": version.state,
        "parent": version.parent and version.parent.version,
        "preprocessing_version": version.preprocessing_version,
        "thresholds": version.thresholds,
        "metrics": version.metrics,
        "gate_report": version.gate_report,
        "lineage": version.lineage,
        "artifact": files.get(ModelFile.Kind.ARTIFACT),
        "checkpoint": files.get(ModelFile.Kind.CHECKPOINT),
        "notes": version.notes,
        "created": version.created.isoformat(),
        "activated": version.activated and version.activated.isoformat(),
    }


def run_json(run: TrainingRun) -> dict[str, Any]:
    """Return a training run: its progress, data and result."""
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
