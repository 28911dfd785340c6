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
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import django
import numpy as np

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hdr_site.settings")
django.setup()

from benchmarks.scenes import VARIANTS  # noqa: E402 - needs Django's settings
from recognizer.mnist import ensure_mnist, load_mnist  # noqa: E402
from training.strokes import PenDrawing, load_drawings  # noqa: E402

CONNECTIONS = 4
SIMPLE = (
    "plain",
    "corner",
    "a third of the size",
    "thin pen",
    "thick pen",
    "slanted",
    "light on dark",
    "grey on grey",
    "ruled, drawn",
    "in a gradient of light",
)
"""Pictures as a paint program makes them; `benchmarks/pictures.py` measures all others."""


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
    for name in SIMPLE:
        rng = np.random.default_rng(0)
        bodies = ({"image": data_url(VARIANTS[name](drawing, rng))} for drawing in drawings)
        share = report(f"as a picture: {name}", site.read_all(bodies), labels)
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


def over_writers(drawings: list[PenDrawing], answers: list[dict[str, Any]]) -> float:
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


def as_ink(drawing: PenDrawing) -> dict[str, Any]:
    side = drawing.size * 1.2
    return {"strokes": [(s + 0.1 * drawing.size).tolist() for s in drawing.strokes], "width": side, "height": side}


def as_picture(picture: np.ndarray) -> dict[str, Any]:
    _, png = cv2.imencode(".png", picture)
    return {"image": data_url(png.tobytes())}


def data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


if __name__ == "__main__":
    main()
