"""How well a running site reads, over HTTP: MNIST's test set, held-out writers' ink, and pictures of that ink.

    python -m benchmarks.quality.accuracy --strokes FILE [--pictures FOLDER] [--every N]
                                          [--address http://127.0.0.1:8000]

The site must run with HDR_THROTTLES=off. `FOLDER` has an `index.json`: path → {"label", "kind"}.
"""

import base64
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np

from benchmarks.harness import Answer, Client, command_line, ink_body
from benchmarks.quality.scenes import VARIANTS
from recognizer.mnist import ensure_mnist, load_mnist
from training.strokes import PenDrawing, load_drawings

STORE, PREVIEW = "/api/v1/submissions", "/api/v1/previews"

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
"""Pictures as from a paint program; `benchmarks/quality/pictures.py` measures all others."""


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--strokes", type=Path, required=True)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--address", default="http://127.0.0.1:8000")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take only every Nth digit")
    arguments = parser.parse_args()
    site = Client(address=urlsplit(arguments.address).netloc)
    drawings = load_drawings(arguments.strokes, "test")[:: arguments.every]
    labels = [drawing.digit for drawing in drawings]

    test = load_mnist(ensure_mnist())[1]
    bodies: Iterable[Any] = (png_body(image) for image in test.images[:: arguments.every])
    report("MNIST's test set as 28×28 PNG, stored", site.ask_all(STORE, bodies), test.labels[:: arguments.every])
    answers = site.ask_all(STORE, (ink_body(drawing.strokes) for drawing in drawings))
    report("held-out writers' ink, stored", answers, labels)
    print(f"{'':44} mean over {len({d.writer for d in drawings})} writers {mean_over_writers(drawings, answers):.2%}")
    plain = 0.0
    for name in SIMPLE:
        rng = np.random.default_rng(0)
        bodies = ({"image": data_url(VARIANTS[name](drawing, rng))} for drawing in drawings)
        accuracy = report(f"as a picture: {name}", site.ask_all(PREVIEW, bodies), labels)
        plain = plain or accuracy
        print(f"{'':44} {100 * (accuracy - plain):+.2f} points to plain")
    if arguments.pictures:
        read_real_pictures(site, arguments.pictures)


def report(name: str, answers: list[Answer], labels: Iterable[Any]) -> float:
    """Print a line; return the accuracy."""
    right = [answer.json.get("digit") == label for answer, label in zip(answers, labels, strict=True)]
    statuses = dict(Counter(answer.status for answer in answers))
    verdicts = dict(Counter(answer.json.get("verdict") for answer in answers))
    accuracy = float(np.mean(right))
    print(f"{name:44} {sum(right)}/{len(right)} = {accuracy:.2%}  {statuses} {verdicts}", flush=True)
    return accuracy


def mean_over_writers(drawings: list[PenDrawing], answers: list[Answer]) -> float:
    writers: dict[str, list[bool]] = defaultdict(list)
    for drawing, answer in zip(drawings, answers, strict=True):
        writers[drawing.writer].append(answer.json.get("digit") == drawing.digit)
    return float(np.mean([np.mean(right) for right in writers.values()]))


def read_real_pictures(site: Client, folder: Path) -> None:
    """Read every picture of one digit in a folder, and list the misread ones."""
    index = json.loads((folder / "index.json").read_text())
    singles = {path: entry for path, entry in index.items() if isinstance(entry.get("label"), int)}
    answers = site.ask_all(PREVIEW, ({"image": data_url((folder / path).read_bytes())} for path in singles))
    report("real pictures of one digit", answers, [entry["label"] for entry in singles.values()])
    for (path, entry), answer in zip(singles.items(), answers, strict=True):
        read = answer.json
        if read.get("digit") != entry["label"]:
            what = f"{read['digit']} ({read['verdict']}, {read['confidence']:.2f})" if "digit" in read else answer.text
            print(f"    {path}: {entry['label']} read as {what}; {entry['kind']}")


def png_body(picture: np.ndarray) -> dict[str, Any]:
    _, png = cv2.imencode(".png", picture)
    return {"image": data_url(png.tobytes())}


def data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


if __name__ == "__main__":
    main()
