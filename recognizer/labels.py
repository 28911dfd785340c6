"""The labels of drawings: the digits, and "not a digit".

In Python a label is an int, or None for "not a digit". In arrays and data files, which have no None, "not a digit" is
`NOT_A_DIGIT`. A network's answer has one probability per digit and, last, the probability of being a digit at all.

To add letters, start here. Besides that, the network's last layer must grow, and it needs drawings to train on.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from django.utils.translation import gettext
from django.utils.translation import gettext_noop as noop

Label = int | None

DIGITS = range(10)
NOT_A_DIGIT = -1  # in arrays and data files
LABELS: tuple[Label, ...] = (*DIGITS, None)
ANSWER_SIZE = len(DIGITS) + 1  # length of a network's answer
RANGE = f"{DIGITS[0]} to {DIGITS[-1]}"

_NAME_OF_NONE = noop("not a digit")
FORM_VALUES: dict[str, Label] = {str(digit): digit for digit in DIGITS} | {"none": None}
"""Values in HTML forms and query strings, and their labels."""
WORDS: dict[str, Label] = {str(digit): digit for digit in DIGITS} | {_NAME_OF_NONE: None}
"""English words in data files and stored reports, and their labels."""


def is_label(value: Any) -> bool:
    """Return whether an external value is a label; True and 7.0 are not."""
    return value is None or (type(value) is int and value in DIGITS)


def encode(label: Label) -> int:
    """Return the number that stands for a label in arrays and data files."""
    return NOT_A_DIGIT if label is None else label


def decode(number: int) -> Label:
    """Return the label that a number in an array or data file stands for."""
    return None if number == NOT_A_DIGIT else number


def position(label: Label) -> int:
    """Return a label's index in `LABELS`: the digits in order, then "not a digit"."""
    return len(DIGITS) if label is None else label


def word(label: Label) -> str:
    """Name a label in English, for data files and logs."""
    return _NAME_OF_NONE if label is None else str(label)


def name(label: Label) -> str:
    """Name a label in the reader's language."""
    return gettext(word(label)) if label is None else str(label)


def choices() -> list[tuple[str, str]]:
    """Return the labels as choices of a form field."""
    return [(value, name(label)) for value, label in FORM_VALUES.items()]


def digit_part(answers: npt.NDArray[np.floating[Any]]) -> npt.NDArray[Any]:
    """Return the part of `(…, ANSWER_SIZE)` answers or targets that is about the digits: `(…, 10)`."""
    return answers[..., : len(DIGITS)]


def is_digit_part(answers: npt.NDArray[np.floating[Any]]) -> npt.NDArray[Any]:
    """Return the part of `(…, ANSWER_SIZE)` answers or targets that says whether it is a digit: `(…)`."""
    return answers[..., len(DIGITS)]
