"""Drawings for tests."""

import io
import json
from typing import Any

import cv2
import numpy as np
from PIL import Image

from recognizer.engine import CANARY_FILE

CANARIES: list[dict[str, Any]] = json.loads(CANARY_FILE.read_text())


def body_of(
    strokes: list[list[list[float]]], side: float = 280, scale: float = 2.0, left: float = 40, top: float = 40
) -> dict[str, Any]:
    """Place strokes on a drawing surface and return a request's body."""
    placed = [[[x * scale + left, y * scale + top] for x, y in stroke] for stroke in strokes]
    return {"strokes": placed, "width": side, "height": side}


def canary(digit: int) -> list[list[list[float]]]:
    strokes: list[list[list[float]]] = next(c["strokes"] for c in CANARIES if c["digit"] == digit)
    return strokes


THREE = body_of(canary(3))
SEVEN = body_of(canary(7))
SCRIBBLE = body_of([[[10, 10], [80, 20], [20, 40], [85, 55], [15, 70], [80, 90], [10, 95], [55, 0]]])  # no digit


def picture_of(
    strokes: list[list[list[float]]],
    pen: int = 18,
    side: int = 280,
    ink: int = 0,
    ground: int = 255,
    scale: float = 2.0,
    left: float = 40,
    top: float = 40,
) -> np.ndarray:
    """Draw strokes like a paint program; return `(side, side)` uint8."""
    canvas = np.full((side, side), ground, np.uint8)
    for stroke in strokes:
        points = np.array([[x * scale + left, y * scale + top] for x, y in stroke], np.int32)
        cv2.polylines(canvas, [points], False, ink, pen, cv2.LINE_AA)
    return canvas


def encoded(pixels: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()
