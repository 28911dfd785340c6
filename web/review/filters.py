"""Filters of the review queue: a form whose values are in the page's query string."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from recognizer import labels
from recognizer.labels import FORM_VALUES

HIGHEST_VERSION = 2**31 - 1  # the largest integer that the database column can be compared with

REASONS = {
    "no_owner": _("Its author is unknown"),
    "rejected_before": _("Many of its author’s recent corrections were rejected"),
    "contradicts_sure_answers": _("Its author often contradicts sure answers"),
    "contradicts_doubtful_answers": _("Its author often contradicts unsure answers"),
    "burst": _("Its author sent very many corrections at once"),
    "sure_of_another": _("The model was sure of another answer"),
    "other_label": _("Others label near-identical drawings differently"),
    "same_drawing_again": _("Its author has sent the same drawing before"),
}
"""Why triage holds a correction, by the rule's name."""

CONFIDENCES = {"low": (0.0, 0.5), "middle": (0.5, 0.9), "high": (0.9, 2.0)}  # lower bound, exclusive upper bound
AGES = {"hour": timedelta(hours=1), "day": timedelta(days=1), "week": timedelta(days=7)}


def _labels() -> list[tuple[str, Any]]:
    return [("", _("anything")), *labels.choices()]


class Filters(forms.Form):
    """Ask which corrections to show. An invalid field shows an error and filters nothing."""

    said = forms.ChoiceField(label=_("Person says"), choices=_labels, required=False)
    read = forms.ChoiceField(label=_("Model read"), choices=_labels, required=False)
    confidence = forms.ChoiceField(
        label=_("Confidence"),
        choices=[("", _("any")), ("low", _("below 50%")), ("middle", _("50% to 90%")), ("high", _("90% and more"))],
        required=False,
    )
    reason = forms.ChoiceField(
        label=_("Triage"),
        choices=[
            ("", pgettext_lazy("triage", "all")),
            ("held", _("Held by any rule")),
            ("left", _("No rule applied")),
            *REASONS.items(),
        ],
        required=False,
    )
    standing = forms.ChoiceField(
        label=_("Author"),
        choices=[("", _("anyone")), ("anonymous", _("anonymous")), ("account", _("with an account"))],
        required=False,
    )
    age = forms.ChoiceField(
        label=_("Age"),
        choices=[
            ("", _("any")),
            ("hour", _("up to an hour")),
            ("day", _("up to a day")),
            ("week", _("up to a week")),
            ("older", _("more than a week")),
        ],
        required=False,
    )
    version = forms.IntegerField(label=_("Version"), min_value=1, max_value=HIGHEST_VERSION, required=False)
    blind = forms.BooleanField(label=_("Hide the model’s answer"), required=False)

    def chosen(self) -> dict[str, Any]:
        """Return the fields that are set and valid."""
        self.is_valid()
        return {name: value for name, value in self.cleaned_data.items() if value}

    def condition(self, at: datetime) -> Q:
        """Return the query condition of all filters together; `at` is the time that ages count from."""
        chosen = self.chosen()
        every = Q()
        if said := chosen.get("said"):
            every &= Q(digit=FORM_VALUES[said])
        if read := chosen.get("read"):
            every &= Q(submission__digit=FORM_VALUES[read])
        if confidence := chosen.get("confidence"):
            low, high = CONFIDENCES[confidence]
            every &= Q(confidence__gte=low, confidence__lt=high)
        if reason := chosen.get("reason"):
            every &= {"held": ~Q(triage=""), "left": Q(triage="")}.get(reason, Q(triage=reason))
        if standing := chosen.get("standing"):
            every &= Q(account__isnull=standing == "anonymous")
        if age := chosen.get("age"):
            every &= Q(created__lt=at - AGES["week"]) if age == "older" else Q(created__gte=at - AGES[age])
        if version := chosen.get("version"):
            every &= Q(submission__model_version__version=version)
        return every
