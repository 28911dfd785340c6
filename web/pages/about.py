"""The page that explains how the site works, using the visitor's latest drawing as the example."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from recognizer.activations import activations_of, sheet_of
from recognizer.engine import CANARY_FILE, DigitModel, engine
from recognizer.models import Submission
from recognizer.preprocessing import ModelInput, ink_to_input
from web.api.presentation import png_data_url, stored_input
from web.visitors import visitor_of

CANARY_SIDE = 100  # side of the surface that the canary drawings were made on
EXAMPLE_CANARY = 6  # index of the canary drawing shown to visitors without drawings
MOST_POINTS = 3000  # ink with more points is not shown as strokes


@dataclass(frozen=True, slots=True)
class Example:
    """The drawing that the page explains."""

    image: ModelInput
    strokes: list[str]  # as the points of SVG polylines
    width: float
    height: float
    own: bool


@require_safe
@never_cache
def about(request: HttpRequest) -> HttpResponse:
    """Show step by step how the model reads a drawing."""
    example, model = _example(request), engine.model
    return render(request, "about.html", {"example": example} | (_steps(example, model) if model else {}))


def _example(request: HttpRequest) -> Example:
    last = Submission.objects.owned_by(visitor_of(request)).order_by("-pk").only("ink", "input").first()
    if last is None:
        drawn = json.loads(CANARY_FILE.read_text())[EXAMPLE_CANARY]["strokes"]
        image = ink_to_input([np.array(stroke, np.float64) for stroke in drawn], CANARY_SIDE)
        return Example(image, _polylines(drawn), CANARY_SIDE, CANARY_SIDE, own=False)
    ink = last.ink or {"strokes": [], "width": 1, "height": 1}
    shown = ink["strokes"] if sum(map(len, ink["strokes"])) <= MOST_POINTS else []
    return Example(stored_input(last), _polylines(shown), ink["width"], ink["height"], own=True)


def _polylines(strokes: list[list[list[float]]]) -> list[str]:
    return [" ".join(f"{point[0]:.1f},{point[1]:.1f}" for point in stroke) for stroke in strokes]


def _steps(example: Example, model: DigitModel) -> dict[str, Any]:
    layers = activations_of(model.artifact, example.image)
    first, middle, last = layers[0], layers[len(layers) // 2 - 1], layers[-1]
    return {
        "reading": model.read(example.image),
        "input": png_data_url(example.image),
        "sheets": [
            {"picture": png_data_url(sheet_of(maps, columns, zoom)), "maps": len(maps), "side": maps.shape[1]}
            for maps, columns, zoom in ((first, 8, 2), (middle, 16, 2), (last, 16, 3))
        ],
        "layers": len(layers),
    }
