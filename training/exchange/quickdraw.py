"""ndjson strokes in the format of Quick, Draw!: one drawing per line. The format has no pressure, so it is left out."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, BinaryIO

import orjson

from recognizer.labels import DIGITS, WORDS, word
from recognizer.parsing import InvalidInputError, parse_drawing
from recognizer.preprocessing import PreprocessingError
from recognizer.submissions import Drawing
from training.exchange.examples import LIMITS, Example, ExchangeError

TIME_DECIMALS = 2  # of a ms: old ink has two; newer times are whole
SIMPLIFIED_SIDE = 256  # pixels: the surface of Quick, Draw!'s simplified drawings, which do not state it


def write_ndjson(examples: Iterable[Example], out: BinaryIO) -> None:
    """Write `{"word", "drawing": [[[x, …], [y, …], [t, …]], …], "recognized", "width", "height"}` per line.

    `t` is in ms since the drawing's first point, and missing if the times are unknown. `recognized` is true if the
    site model's answer was the label.
    """
    for example in examples:
        ink = example.drawing.ink or {}
        line = {
            "word": word(example.digit),
            "drawing": _columns(ink["strokes"]),
            "recognized": example.answer == example.digit,
            "width": ink["width"],
            "height": ink["height"],
        }
        out.write(orjson.dumps(line) + b"\n")


def read_ndjson(file: BinaryIO) -> Iterator[Example]:
    """Read drawings with the same checks and preprocessing as drawings sent to the site.

    If width and height are missing, the surface is Quick, Draw!'s 256 pixels, or the size of a larger drawing.

    Raises:
        ExchangeError: a line is too long, is not a drawing of this format, or has no ink.
    """
    file.seek(0)
    number = 0
    while line := file.readline(LIMITS.line + 1):
        number += 1
        if len(line) > LIMITS.line:
            raise ExchangeError(f"Line {number} is longer than {LIMITS.line // 1024**2} MiB.")
        if line.strip():
            yield _example(line, number)


def _columns(strokes: list[list[list[float]]]) -> list[list[list[float]]]:
    """Convert points to columns of x, y and time. Times become relative: clients may send times since 1970."""
    began = next((stroke[0][2] for stroke in strokes if stroke and len(stroke[0]) > 2), 0.0)
    columns = []
    for stroke in filter(None, strokes):
        x, y, *rest = ([point[axis] for point in stroke] for axis in range(min(map(len, stroke))))
        times = [[round(time - began, TIME_DECIMALS) for time in rest[0]]] if rest else []
        columns.append([x, y, *times])
    return columns


def _example(line: bytes, number: int) -> Example:
    try:
        row = orjson.loads(line)
        digit = WORDS[row["word"]]
        return Example(digit, _drawing(row))
    except orjson.JSONDecodeError as error:
        raise ExchangeError(f"Line {number} is not JSON: {error}.") from error
    except (InvalidInputError, PreprocessingError) as error:
        raise ExchangeError(f"Line {number}: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ExchangeError(
            f'Line {number} is not {{"word": "{DIGITS[0]}" to "{DIGITS[-1]}" or "{word(None)}", '
            '"drawing": [[[x, …], [y, …]], …]}.'
        ) from error


def _drawing(row: dict[str, Any]) -> Drawing:
    columns = row["drawing"]
    if type(columns) is not list or not all(type(stroke) is list and len(stroke) in (2, 3) for stroke in columns):
        raise TypeError("not strokes of two or three columns")
    strokes = [[list(point) for point in zip(*stroke, strict=True)] for stroke in columns]
    width, height = (
        row[name] if name in row else _side(columns, axis) for axis, name in enumerate(("width", "height"))
    )
    return parse_drawing({"strokes": strokes, "width": width, "height": height})


def _side(columns: list[list[list[float]]], axis: int) -> float:
    return float(max(chain([SIMPLIFIED_SIDE], *(stroke[axis] for stroke in columns))))
