"""Which corrections people should look at first: what the model doubted most, and before that what triage held."""

from recognizer.models import Submission

# By the rule that holds it, added to the model's doubt of 0…1: the more a person's look can tell, the more.
HELD = {
    "other_label": 2.0,  # people disagree about the same drawing
    "sure_of_another": 2.0,  # either the model is wrong where it matters most, or the person is
    "rejected_before": 1.0,
    "contradicts_sure_answers": 1.0,
    "contradicts_doubtful_answers": 1.0,
    "no_owner": 1.0,
    "same_drawing_again": 0.5,
    "burst": 0.5,
}


def urgency_of(submission: Submission) -> float:
    """Say how urgent a correction is before any rule looked at it: how much the model doubted its answer, 0…1."""
    return 1 - submission.confidence
