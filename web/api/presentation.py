"""Rows → JSON. Plain functions, for these are on the path of every drawing."""

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

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # the quickest: 28×28 pixels are a few hundred bytes anyway

# Ink without heat and with most, blue to yellow: they differ in lightness, and whoever cannot tell red from green sees
# both. On black, as the input is shown, in both themes; the same two are in site.css.
_COLD, _HOT = np.array([88, 112, 165]), np.array([255, 209, 71])  # red, green, blue


def png_data_url(image: npt.NDArray[np.uint8]) -> str:
    """Show a model input, or a picture in OpenCV's colours, as `data:image/png;base64,…`."""
    _, png = cv2.imencode(".png", image, _PNG)
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()


def heat_data_url(image: ModelInput, heat: Heat | Ink) -> str:
    """Show the ink of a model input, coloured by its heat of 0…1."""
    colours = _COLD + (_HOT - _COLD) * heat[..., None]
    return png_data_url(np.rint(colours * image[..., None] / 255).astype(np.uint8)[..., ::-1])


def stored_input(submission: Submission) -> ModelInput:
    """Return the `(28, 28)` uint8 input that was stored."""
    return np.frombuffer(submission.input, np.uint8).reshape(INPUT_SIDE, INPUT_SIDE)


def preview_json(answer: Answer, image: ModelInput) -> dict[str, Any]:
    """What a preview answers."""
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
    """What the submission itself says; its label comes beside it."""
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
    """A submission with what was said of it, as lists have it."""
    correction = submission.correction
    return submission_json(submission, submission.model_version.version) | {
        "correction": correction and correction_json(correction),
    }


def correction_json(correction: Correction) -> dict[str, Any]:
    """A person's correction and its state."""
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
    """A correction in the review queue, with the submission that it is about."""
    submission = correction.submission
    return correction_json(correction) | {
        "submission": submission_json(submission, submission.model_version.version),
    }


def explanation_json(
    image: ModelInput, explanation: Explanation, nearest: list[Neighbour], version: int
) -> dict[str, Any]:
    """Why a version of the model reads an input as it does."""
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
    """Some of the ink, and what is read without it."""
    return {
        "share": erasure.share,
        "ink": erasure.ink.astype(np.uint8).tolist(),
        "picture": heat_data_url(image, erasure.ink),
        "digit": erasure.reading.digit,
        "verdict": erasure.reading.verdict,
    }


def neighbour_json(neighbour: Neighbour) -> dict[str, Any]:
    """A drawing of the same digit, and where it is from."""
    return {
        "source": neighbour.source,
        "submission": neighbour.submission,
        "similarity": round(neighbour.similarity, 3),
        "input": png_data_url(neighbour.input),
    }


def version_json(version: ModelVersion) -> dict[str, Any]:
    """A registry entry."""
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
