"""Verdicts: how sure the model is of an answer, and the texts for it."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy

from recognizer.labels import Label
from recognizer.models import Verdict

Probability = Any  # a float, or an array of them

NAMES = {
    Verdict.SURE: gettext_lazy("Sure"),
    Verdict.UNSURE: gettext_lazy("Unsure"),
    Verdict.NOT_A_DIGIT: gettext_lazy("Not a digit"),
}

SENTENCES = {
    Verdict.SURE: gettext_lazy("It is %(digit)s"),
    Verdict.UNSURE: gettext_lazy("Perhaps %(digit)s"),
    Verdict.NOT_A_DIGIT: gettext_lazy("Not a digit"),
}
REMARKS = {Verdict.SURE: gettext_lazy("and was sure"), Verdict.UNSURE: gettext_lazy("and was unsure")}
"""What a sentence about the model's answer adds, if anything."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds of the verdicts, probabilities 0…1; stored with each version."""

    digit: float  # probability of being a digit below which the verdict is `not_a_digit`
    sure_digit: float  # minimum probability of being a digit for `sure`
    sure_confidence: float  # minimum probability of the digit answered for `sure`

    def rejects(self, is_digit: Probability) -> Any:
        """Return whether the verdict is "not a digit"."""
        return is_digit < self.digit

    def is_sure(self, is_digit: Probability, confidence: Probability) -> Any:
        """Return whether the verdict is "sure", given the probabilities of being a digit and of the digit."""
        return (is_digit >= max(self.sure_digit, self.digit)) & (confidence >= self.sure_confidence)

    def verdict(self, is_digit: float, confidence: float) -> Verdict:
        """Return the verdict on one answer."""
        if self.rejects(is_digit):
            return Verdict.NOT_A_DIGIT
        return Verdict.SURE if self.is_sure(is_digit, confidence) else Verdict.UNSURE


def sentence(verdict: str, digit: Label) -> str:
    """Return an answer as a sentence in the reader's language."""
    return SENTENCES[Verdict(verdict)] % {"digit": digit}
