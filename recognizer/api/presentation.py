"""Rows → JSON. Plain functions, for these are on the path of every drawing."""

import base64
from typing import Any

import cv2
import numpy as np

from recognizer.engine import Reading
from recognizer.models import Correction, ModelFile, ModelVersion, Submission
from recognizer.preprocessing import INPUT_SIDE, ModelInput
from recognizer.submissions import Answer

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # the quickest: 28×28 pixels are a few hundred bytes anyway


def png_data_url(image: ModelInput) -> str:
    """Show a model input as `data:image/png;base64,…`."""
    _, png = cv2.imencode(".png", image, _PNG)
    return "data:image/png;base64," + base64.b64encode(png.tobytes()).decode()


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
    """A submission with what was said of it."""
    correction = submission.correction
    return submission_json(submission, submission.model_version.version) | {
        "ink": submission.ink,
        "correction": correction and correction_json(correction),
    }


def correction_json(correction: Correction) -> dict[str, Any]:
    """What a person said, and what was decided."""
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
