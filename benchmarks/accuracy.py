"""How well the running site reads, over HTTP: MNIST's test set, held-out writers' ink, the same ink as pictures.

    python -m benchmarks.accuracy --strokes FILE [--pictures FOLDER] [--address http://127.0.0.1:8000]

The site must run with HDR_THROTTLES=off. `FOLDER` has an `index.json`: path → {"label", "kind"}.
"""

import argparse
import base64
import http.client
import json
import os
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import django
import numpy as np

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hdr_site.settings")
django.setup()

from recognizer.mnist import ensure_mnist, load_mnist  # noqa: E402 - needs Django's settings
from training.strokes import Drawing, load_drawings  # noqa: E402

CANVAS = 280  # pixels
CONNECTIONS = 4
Picture = np.ndarray


class Site:
    """The API over kept-alive connections, one a thread."""

    def __init__(self, address: str) -> None:
        self._address = urlsplit(address)
        self._local = threading.local()

    def read(self, body: dict[str, Any], call: str = "previews") -> dict[str, Any]:
        """Send a drawing; return the answer with its HTTP status."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            host, port = self._address.hostname or "", self._address.port
            connection = self._local.connection = http.client.HTTPConnection(host, port, timeout=60)
        connection.request("POST", f"/api/v1/{call}", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        return answer | {"status": response.status}

    def read_all(self, bodies: Iterable[dict[str, Any]], call: str = "previews") -> list[dict[str, Any]]:
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            return list(pool.map(lambda body: self.read(body, call), bodies))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--address", default="http://127.0.0.1:8000")
    arguments = parser.parse_args()
    site = Site(arguments.address)
    drawings = load_drawings(arguments.strokes, "test")
    labels = [drawing.digit for drawing in drawings]

    test = load_mnist(ensure_mnist())[1]
    answers = site.read_all((as_picture(image) for image in test.images), "submissions")
    report("MNIST's test set as 28×28 PNG, stored", answers, test.labels.tolist())
    answers = site.read_all((as_ink(drawing) for drawing in drawings), "submissions")
    report("held-out writers' ink, stored", answers, labels)
    print(f"{'':44} mean over {len({d.writer for d in drawings})} writers {over_writers(drawings, answers):.2%}")
    plain = 0.0
    for name, draw in VARIANTS.items():
        share = report(f"as a picture: {name}", site.read_all(as_picture(draw(d)) for d in drawings), labels)
        plain = plain or share
        print(f"{'':44} {100 * (share - plain):+.2f} points to plain")
    if arguments.pictures:
        real_pictures(site, arguments.pictures)


def report(name: str, answers: list[dict[str, Any]], labels: list[Any]) -> float:
    right: int = sum(answer.get("digit") == label for answer, label in zip(answers, labels, strict=True))
    statuses = dict(Counter(answer["status"] for answer in answers))
    verdicts = dict(Counter(answer.get("verdict") for answer in answers))
    print(f"{name:44} {right}/{len(labels)} = {right / len(labels):.2%}  {statuses} {verdicts}", flush=True)
    return right / len(labels)


def over_writers(drawings: list[Drawing], answers: list[dict[str, Any]]) -> float:
    writers: dict[str, list[bool]] = defaultdict(list)
    for drawing, answer in zip(drawings, answers, strict=True):
        writers[drawing.writer].append(answer.get("digit") == drawing.digit)
    return float(np.mean([np.mean(right) for right in writers.values()]))


def real_pictures(site: Site, folder: Path) -> None:
    """Read every picture of one digit in a folder and list what fails."""
    index = json.loads((folder / "index.json").read_text())
    singles = {path: entry for path, entry in index.items() if isinstance(entry.get("label"), int)}
    bodies = [{"image": data_url((folder / path).read_bytes())} for path in singles]
    answers = site.read_all(bodies)
    report("real pictures of one digit", answers, [entry["label"] for entry in singles.values()])
    for (path, entry), answer in zip(singles.items(), answers, strict=True):
        if answer.get("digit") != entry["label"]:
            said = answer.get("detail") or f"{answer['digit']} ({answer['verdict']}, {answer['confidence']:.2f})"
            print(f"    {path}: {entry['label']} read as {said}; {entry['kind']}")


# --- Bodies -----------------------------------------------------------------------------------------------------------


def as_ink(drawing: Drawing) -> dict[str, Any]:
    side = drawing.size * 1.2
    return {"strokes": [(s + 0.1 * drawing.size).tolist() for s in drawing.strokes], "width": side, "height": side}


def as_picture(picture: Picture) -> dict[str, Any]:
    _, png = cv2.imencode(".png", picture)
    return {"image": data_url(png.tobytes())}


def data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


# --- The same ink as pictures -----------------------------------------------------------------------------------------


def canvas(drawing: Drawing, size: float = 200, left: float = 40, top: float = 40, pen: int = 18) -> Picture:
    """Draw ink on a white canvas: `size`, `left`, `top` and `pen` in pixels."""
    points = np.concatenate(drawing.strokes)
    scale = size / max(float(np.ptp(points, axis=0).max()), 1e-6)
    white = np.full((CANVAS, CANVAS), 255, np.uint8)
    for stroke in drawing.strokes:
        placed = np.rint(((stroke - points.min(axis=0)) * scale + (left, top)) * 16).astype(np.int32)
        path = placed if len(placed) > 1 else np.repeat(placed, 2, axis=0)
        cv2.polylines(white, [path], False, 0, pen, cv2.LINE_AA, 4)
    return white


def on_grey(drawing: Drawing) -> Picture:
    return (70 + canvas(drawing) * (110 / 255)).astype(np.uint8)


def on_ruled_paper(drawing: Drawing) -> Picture:
    page = canvas(drawing, pen=10).astype(int)
    page[20::32] -= 60
    page[21::32] -= 60
    return page.clip(0, 255).astype(np.uint8)


def in_shadow(drawing: Drawing) -> Picture:
    light = np.linspace(0.35, 1, CANVAS)[:, None] * np.linspace(0.6, 1, CANVAS)[None]
    noise = np.random.default_rng(len(drawing.strokes[0])).normal(0, 4, (CANVAS, CANVAS))
    return ((60 + canvas(drawing, pen=10) * (170 / 255)) * light + noise).clip(0, 255).astype(np.uint8)


def slanted(drawing: Drawing) -> Picture:
    shear = np.array([[1, -0.2, 28.0], [0, 1, 0]])
    return cv2.warpAffine(canvas(drawing), shear, (CANVAS, CANVAS), borderValue=255)  # type: ignore[no-any-return]


VARIANTS: dict[str, Callable[[Drawing], Picture]] = {
    "plain": canvas,
    "corner": lambda drawing: canvas(drawing, size=90, left=178, top=178, pen=8),
    "a third of the size": lambda drawing: canvas(drawing, size=67, left=106, top=106, pen=6),
    "thin pen": lambda drawing: canvas(drawing, pen=3),
    "thick pen": lambda drawing: canvas(drawing, pen=30),
    "slanted": slanted,
    "light on dark": lambda drawing: 255 - canvas(drawing),
    "grey": on_grey,
    "ruled": on_ruled_paper,
    "shadowed": in_shadow,
}

if __name__ == "__main__":
    main()
