"""The shapes of the training's part of the API, for its OpenAPI description; a test holds them against real answers."""

from typing import Any

from rest_framework import serializers

from recognizer.api.schema import Problem
from training.models import TrainingRun


class Run(serializers.Serializer[Any]):
    """One execution of the loop: dataset, fine-tune, gates, promotion."""

    id = serializers.IntegerField()
    state = serializers.ChoiceField(TrainingRun.State.choices)
    trigger = serializers.ChoiceField(TrainingRun.Trigger.choices)
    force = serializers.BooleanField(help_text="run even if nothing changed")
    phase = serializers.ChoiceField(TrainingRun.Phase.choices, allow_blank=True)
    progress = serializers.FloatField(min_value=0, max_value=1, help_text="of the whole run")
    epoch = serializers.IntegerField()
    epochs = serializers.IntegerField()
    batch = serializers.IntegerField()
    loss = serializers.FloatField(allow_null=True)
    losses = serializers.ListField(child=serializers.FloatField(allow_null=True), help_text="the mean of each epoch")
    eta_seconds = serializers.FloatField(allow_null=True)
    reason = serializers.CharField(help_text="why it ended as it did; empty before")
    attempt = serializers.IntegerField(help_text="1, or more if its worker died")
    cancel_requested = serializers.DateTimeField(allow_null=True)
    created = serializers.DateTimeField()
    started = serializers.DateTimeField(allow_null=True, help_text="the latest attempt")
    finished = serializers.DateTimeField(allow_null=True)
    parent = serializers.IntegerField(  # type: ignore[assignment]  # DRF takes declared fields off the class
        allow_null=True, help_text="the version that it started from"
    )
    model_version = serializers.IntegerField(allow_null=True, help_text="the version that it made")
    gate_report = serializers.JSONField(allow_null=True, help_text="of that version")
    counts = serializers.JSONField(help_text="how many drawings went where, and what was left out")
    timings = serializers.JSONField(help_text="seconds and peak memory of each phase")
    fingerprint = serializers.CharField(help_text="sha256 of what it learned from")


class Start(serializers.Serializer[Any]):
    """What a new run is asked to do."""

    force = serializers.BooleanField(default=False, help_text="run even if nothing changed")


class Live(Problem):
    """A run is queued or running already."""

    run = serializers.IntegerField(help_text="its id")
