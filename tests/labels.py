"""Labelled submissions for tests, as people and admins make them."""

import uuid
from typing import Any

import numpy as np

from recognizer.models import Correction, ModelVersion, Submission
from recognizer.preprocessing import PREPROCESSING_VERSION, ink_to_input
from tests.drawings import CANARIES


def person(name: str) -> uuid.UUID:
    """Return the id of an anonymous owner, the same at every call."""
    return uuid.uuid5(uuid.NAMESPACE_URL, name)


def bent_ink(digit: int, seed: int) -> list[list[list[float]]]:
    """Return the ink of a canary, distorted differently for every seed."""
    rng = np.random.default_rng((digit, seed))
    strokes = [c["strokes"] for c in CANARIES if c["digit"] == digit][seed % 2]
    matrix = np.eye(2) + rng.uniform(-0.35, 0.35, (2, 2))
    return [(np.array(stroke) @ matrix.T + rng.normal(0, 1.5, (len(stroke), 2))).tolist() for stroke in strokes]


def labelled(
    owner: str,
    digit: int | None,
    *,
    drawn: int | None = None,
    answered: int | None = -1,
    seed: int = 0,
    state: Correction.State = Correction.State.ACCEPTED,
    said: bool = True,
    **columns: Any,
) -> Submission:
    """Store a drawing of the digit `drawn` that the model read as `answered`; both default to the label `digit`.

    With `said`, its owner gave it the label, which is now in `state`.
    """
    ink = bent_ink(digit or 0 if drawn is None else drawn, seed)
    image = ink_to_input([np.array(stroke) for stroke in ink], 140)
    answer = digit if answered == -1 else answered
    submission = Submission.objects.create(
        **{
            "session": person(owner),
            "ink": {"strokes": ink, "width": 140, "height": 140},
            "input": image.tobytes(),
            "digit": answer,
            "confidence": 0.9,
            "probabilities": [0.1] * 10,
            "verdict": "not_a_digit" if answer is None else "sure",
            "model_version": ModelVersion.objects.get(version=1),
            "preprocessing_version": PREPROCESSING_VERSION,
        }
        | columns
    )
    if said:
        Correction.objects.create(
            submission=submission,
            digit=digit,
            state=state,
            account=submission.account,
            session=submission.session,
            confidence=submission.confidence,
        )
    return submission
