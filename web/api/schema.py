"""The API's request and response schemas, for its OpenAPI description; a test compares them with real responses."""

from typing import Any

from drf_spectacular.authentication import SessionScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, inline_serializer
from rest_framework import serializers

from recognizer.explanation import PLACES
from recognizer.labels import DIGITS
from recognizer.models import Correction, ModelVersion, Verdict
from recognizer.nearest import Source
from recognizer.preprocessing import INPUT_SIDE
from training.models import TrainingRun
from web.visitors import COOKIE


class OwnerCookieScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself
    """Security scheme of the anonymous owner's cookie; writes need `X-CSRFToken` too."""

    target_class = "web.api.authentication.OwnerCookieAuthentication"
    name = "ownerCookie"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": COOKIE}


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself
    """Security scheme of an account's token."""

    target_class = "web.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer"}


class LoginScheme(SessionScheme):  # type: ignore[no-untyped-call]  # registers itself
    """Security scheme of Django's session."""

    target_class = "web.api.authentication.LoginAuthentication"


def _digit(**options: Any) -> serializers.IntegerField:
    return serializers.IntegerField(min_value=DIGITS[0], max_value=DIGITS[-1], **options)


def _label(help_text: str) -> serializers.IntegerField:
    return _digit(allow_null=True, help_text=help_text)


class Read(serializers.Serializer[Any]):
    """The model's answer to a drawing."""

    digit = _label("null if the verdict is not_a_digit")
    confidence = serializers.FloatField(min_value=0, max_value=1, help_text="calibrated probability of the answer")
    probabilities = serializers.ListField(
        child=serializers.FloatField(), min_length=len(DIGITS), max_length=len(DIGITS)
    )
    verdict = serializers.ChoiceField(Verdict.choices)
    model_version = serializers.IntegerField()
    input = serializers.CharField(help_text="data URL of the 28×28 PNG that the model saw")


class Stored(Read):
    """A stored submission."""

    id = serializers.IntegerField()
    created = serializers.DateTimeField()


class Opinion(serializers.Serializer[Any]):
    """A person's correction and its state."""

    id = serializers.IntegerField()
    digit = _label("null: not a digit")
    status = serializers.ChoiceField(Correction.State.choices)
    triage = serializers.CharField(help_text="the rule that accepted it or holds it for review; empty if none")
    created = serializers.DateTimeField()
    decided = serializers.DateTimeField(allow_null=True)


class Said(Opinion):
    """A correction, naming its submission."""

    submission = serializers.IntegerField()


class Listed(Stored):
    """A stored submission with its label."""

    correction = Said(allow_null=True)


class Labelled(Listed):
    """A stored submission with its ink and its label."""

    ink = serializers.JSONField(allow_null=True)


class Queued(Opinion):
    """A correction in the review queue."""

    submission = Stored()


def _grid(child: serializers.Field[Any, Any, Any, Any]) -> serializers.ListField:
    """Describe 28 rows of 28 values."""
    row = serializers.ListField(child=child, min_length=INPUT_SIDE, max_length=INPUT_SIDE)
    return serializers.ListField(child=row, min_length=INPUT_SIDE, max_length=INPUT_SIDE)


class Erased(serializers.Serializer[Any]):
    """A part of the ink, and what the model reads without it."""

    share = serializers.FloatField(min_value=0, max_value=1, help_text="of all ink")
    ink = _grid(serializers.IntegerField(min_value=0, max_value=1))
    picture = serializers.CharField(help_text="data URL of a 28×28 PNG: this ink yellow, the rest blue")
    digit = _label("null: not a digit")
    verdict = serializers.ChoiceField(Verdict.choices)


class Place(serializers.Serializer[Any]):
    """A ninth of the box that the drawing fills."""

    place = serializers.ChoiceField(PLACES)
    share = serializers.FloatField(min_value=0, max_value=1, help_text="of the marked ink")


class Marked(Erased):
    """The ink with the most influence on the answer."""

    places = Place(many=True, help_text="where it is, largest share first")


class RunnerUp(serializers.Serializer[Any]):
    """The most likely digit after the answer."""

    digit = _digit()
    probability = serializers.FloatField(min_value=0, max_value=1)
    without = Erased(allow_null=True, help_text="ink whose removal makes the model read it; null if none was found")


class Alike(serializers.Serializer[Any]):
    """An accepted drawing of the same digit."""

    source = serializers.ChoiceField(Source.choices, help_text="accepted: someone else's, visible to staff only")  # type: ignore[assignment]  # as above
    submission = serializers.IntegerField(allow_null=True, help_text="null for MNIST")
    similarity = serializers.FloatField(max_value=1)
    input = serializers.CharField(help_text="data URL of the 28×28 PNG")


class Explained(serializers.Serializer[Any]):
    """Why the active model reads a submission as it does."""

    digit = _label("null if the verdict is not_a_digit")
    verdict = serializers.ChoiceField(Verdict.choices)
    model_version = serializers.IntegerField(help_text="the active version, whose answer is explained")
    heat = _grid(serializers.FloatField(min_value=0, max_value=1))
    picture = serializers.CharField(help_text="data URL of a 28×28 PNG: ink from blue (no influence) to yellow")
    marked = Marked()
    runner_up = RunnerUp()
    nearest = Alike(many=True, help_text="at most 4, most similar first")


class File(serializers.Serializer[Any]):
    """A file's sha256 and size; null once it is no longer kept."""

    sha256 = serializers.CharField()
    bytes = serializers.IntegerField()


class Version(serializers.Serializer[Any]):
    """A version of the model."""

    version = serializers.IntegerField()
    state = serializers.ChoiceField(ModelVersion.State.choices)
    parent = serializers.IntegerField(allow_null=True)  # type: ignore[assignment]  # DRF takes declared fields off the class
    preprocessing_version = serializers.IntegerField()
    thresholds = serializers.DictField(child=serializers.FloatField())
    metrics = serializers.JSONField()
    gate_report = serializers.JSONField(allow_null=True)
    lineage = serializers.JSONField(help_text="the run that made it and its training data")
    artifact = File(allow_null=True)
    checkpoint = File(allow_null=True)
    notes = serializers.CharField()
    created = serializers.DateTimeField()
    activated = serializers.DateTimeField(allow_null=True)


class Problem(serializers.Serializer[Any]):
    """An error."""

    detail = serializers.CharField()


class Label(serializers.Serializer[Any]):
    """A correction's body."""

    digit = _label("null: not a digit")


_POINT = {
    "type": "array",
    "items": {"type": "number"},
    "minItems": 2,
    "maxItems": 4,
    "description": "x and y in pixels of the surface, y down; optionally time in ms; optionally pressure 0 to 1",
}
_INK = {
    "type": "object",
    "required": ["strokes", "width", "height"],
    "properties": {
        "strokes": {"type": "array", "items": {"type": "array", "items": _POINT}},
        "width": {"type": "number"},
        "height": {"type": "number"},
    },
    "example": {"strokes": [[[140, 40], [138, 240]]], "width": 280, "height": 280},
}
_DATA_URL = {
    "type": "object",
    "required": ["image"],
    "properties": {"image": {"type": "string", "description": "data:image/png;base64,…"}},
}
_UPLOAD = {"type": "object", "required": ["image"], "properties": {"image": {"type": "string", "format": "binary"}}}

DRAWING: dict[str, Any] = {
    "application/json": {"oneOf": [_INK, _DATA_URL]},
    "multipart/form-data": _UPLOAD,
}


REFUSAL = {
    "description": "What is wrong, as a whole or by field.",
    "anyOf": [
        {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}},
        {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
    ],
}


def problems(*statuses: int) -> dict[int, Any]:
    """Describe the error responses of a call; 401 is always among them, for an invalid `Authorization` header."""
    return {status: OpenApiResponse(REFUSAL if status == 400 else Problem) for status in sorted({401, *statuses})}


def page_of(name: str, serializer: type[serializers.Serializer[Any]]) -> Any:
    """Describe a cursor-paginated list."""
    links = {name: serializers.URLField(allow_null=True) for name in ("next", "previous")}
    return inline_serializer(f"{name}Page", {**links, "results": serializer(many=True)})


CURSOR = [
    OpenApiParameter("cursor", OpenApiTypes.STR, description="from `next` or `previous`"),
    OpenApiParameter("page_size", OpenApiTypes.INT, description="1 to 200, default 50"),
]


class Run(serializers.Serializer[Any]):
    """One execution of the loop: dataset, fine-tune, gates, promotion."""

    id = serializers.IntegerField()
    state = serializers.ChoiceField(TrainingRun.State.choices)
    trigger = serializers.ChoiceField(TrainingRun.Trigger.choices)
    force = serializers.BooleanField(help_text="run even if nothing has changed")
    phase = serializers.ChoiceField(TrainingRun.Phase.choices, allow_blank=True)
    progress = serializers.FloatField(min_value=0, max_value=1, help_text="of the whole run")
    epoch = serializers.IntegerField()
    epochs = serializers.IntegerField()
    batch = serializers.IntegerField()
    loss = serializers.FloatField(allow_null=True)
    losses = serializers.ListField(child=serializers.FloatField(allow_null=True), help_text="the mean of each epoch")
    eta_seconds = serializers.FloatField(allow_null=True)
    reason = serializers.CharField(help_text="why it ended; empty until then")
    attempt = serializers.IntegerField(help_text="1, more if its worker died")
    cancel_requested = serializers.DateTimeField(allow_null=True)
    created = serializers.DateTimeField()
    started = serializers.DateTimeField(allow_null=True, help_text="the latest attempt")
    finished = serializers.DateTimeField(allow_null=True)
    parent = serializers.IntegerField(  # type: ignore[assignment]  # DRF takes declared fields off the class
        allow_null=True, help_text="the version it started from"
    )
    model_version = serializers.IntegerField(allow_null=True, help_text="the version it made")
    gate_report = serializers.JSONField(allow_null=True, help_text="of that version")
    counts = serializers.JSONField(help_text="how many drawings were used for what, and how many were left out")
    timings = serializers.JSONField(help_text="seconds and peak memory of each phase")
    fingerprint = serializers.CharField(help_text="sha256 of its training data")


class Start(serializers.Serializer[Any]):
    """What a new run is asked to do."""

    force = serializers.BooleanField(default=False, help_text="run even if nothing has changed")


class Live(Problem):
    """A run is queued or running already."""

    run = serializers.IntegerField(help_text="its id")
