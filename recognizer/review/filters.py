"""What a reviewer can limit the queue to: each filter is data, and the address of the page says which are set."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from recognizer.models import ModelVersion

Words = Any  # a text, or one that is translated when it is shown
Choices = tuple[tuple[str, Words], ...]

VERSIONS = 50  # the latest, to choose from
LONGEST_NUMBER = 18  # digits that a database can compare with

REASONS: dict[str, Words] = {
    "no_owner": _("Nobody is known to have said it"),
    "rejected_before": _("Others of its author’s were rejected lately"),
    "contradicts_sure_answers": _("Its author often contradicts sure answers"),
    "contradicts_doubtful_answers": _("Its author often contradicts doubtful answers"),
    "burst": _("Its author said very much at once"),
    "sure_of_another": _("The model was sure of another answer"),
    "other_label": _("Others call near-identical drawings something else"),
    "same_drawing_again": _("Its author sent the very same drawing before"),
}
"""Why triage holds a correction, by its rule's name."""

DIGITS: Choices = (*((str(digit), str(digit)) for digit in range(10)), ("none", _("not a digit")))

AGES = {
    "hour": (_("up to an hour"), timedelta(hours=1)),
    "day": (_("up to a day"), timedelta(days=1)),
    "week": (_("up to a week"), timedelta(days=7)),
}
CONFIDENCES: dict[str, tuple[Words, float, float]] = {  # from … to below
    "low": (_("below 50%"), 0.0, 0.5),
    "middle": (_("50% to 90%"), 0.5, 0.9),
    "high": (_("90% and more"), 0.9, 2.0),
}


def _label(word: str) -> int | None:
    return None if word == "none" else int(word)


def _age(word: str, at: datetime) -> Q:
    if word == "older":
        return Q(created__lt=at - AGES["week"][1])
    return Q(created__gte=at - AGES[word][1])


def _confidence(word: str, at: datetime) -> Q:
    _words, low, high = CONFIDENCES[word]
    return Q(submission__confidence__gte=low, submission__confidence__lt=high)


@dataclass(frozen=True, slots=True)
class Filter:
    """One choice: its name in the address, its words, and what it lets through."""

    name: str
    label: Words
    any: Words
    choices: Choices
    condition: Callable[[str, datetime], Q]


FILTERS = (
    Filter("said", _("Person says"), _("anything"), DIGITS, lambda word, at: Q(digit=_label(word))),
    Filter("read", _("Model read"), _("anything"), DIGITS, lambda word, at: Q(submission__digit=_label(word))),
    Filter(
        "confidence",
        _("Confidence"),
        _("any"),
        tuple((name, words) for name, (words, _low, _high) in CONFIDENCES.items()),
        _confidence,
    ),
    Filter(
        "reason",
        _("Triage"),
        pgettext_lazy("triage", "all"),
        (("held", _("Held, for any reason")), ("left", _("Left to people")), *REASONS.items()),
        lambda word, at: {"held": ~Q(triage=""), "left": Q(triage="")}.get(word, Q(triage=word)),
    ),
    Filter(
        "standing",
        _("Author"),
        _("anybody"),
        (("anonymous", _("anonymous")), ("account", _("with an account"))),
        lambda word, at: Q(account__isnull=word == "anonymous"),
    ),
    Filter(
        "age",
        _("Age"),
        _("any"),
        (*((name, words) for name, (words, _span) in AGES.items()), ("older", _("more than a week"))),
        _age,
    ),
)
VERSION = Filter(
    "version", _("Version"), _("any"), (), lambda word, at: Q(submission__model_version__version=int(word))
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a reviewer asks for: which filters are set, and the correction after which to go on."""

    chosen: dict[str, str] = field(default_factory=dict)  # by the filter's name
    after: int | None = None

    @classmethod
    def parse(cls, query: Mapping[str, Any]) -> "Wish":
        """Read a query string; what makes no sense counts as not said."""
        words = {one.name: query.get(one.name) for one in FILTERS}
        chosen = {one.name: str(words[one.name]) for one in FILTERS if words[one.name] in dict(one.choices)}
        if (version := number(query.get(VERSION.name))) is not None:
            chosen[VERSION.name] = str(version)
        return cls(chosen, number(query.get("after")))

    def condition(self, at: datetime) -> Q:
        """Say what the filters let through, together."""
        every = Q()
        for one in (*FILTERS, VERSION):
            if one.name in self.chosen:
                every &= one.condition(self.chosen[one.name], at)
        return every

    def query(self, after: int | None = None, **more: str) -> str:
        """Write the query string of the same filters; empty if nothing is asked for."""
        words = self.chosen | ({} if after is None else {"after": str(after)}) | more
        return f"?{urlencode(words)}" if words else ""

    def fields(self) -> list[dict[str, Any]]:
        """Describe every filter for a form, with what is chosen."""
        numbers = ModelVersion.objects.order_by("-version").values_list("version", flat=True)[:VERSIONS]
        versions = tuple((str(one), str(one)) for one in numbers)
        rows = [(one, one.choices) for one in FILTERS] + [(VERSION, versions)]
        return [{"filter": one, "choices": choices, "chosen": self.chosen.get(one.name)} for one, choices in rows]


def number(text: Any) -> int | None:
    """Read a number that a database can compare with."""
    fits = isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER
    return int(text) if fits else None
