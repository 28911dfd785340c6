"""The worst cases of reading a picture, in processor time: crowded patterns and files with many blocks.

    python -m benchmarks.load.worst_pictures [--side 1000] [--only TEXT] [--worst 15]

Each picture takes the path of an upload, in this process: it is decoded, turned into the model's input, read, and
encoded for storage. The ratio is to a photo of a digit with as many pixels. The patterns and files are those of
`tests/patterns.py` and `tests/hostile_files.py`.
"""

import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import django
import numpy as np
from PIL import Image

from benchmarks.harness import command_line
from recognizer.preprocessing import PreprocessingError, decoding, picture
from recognizer.preprocessing.containers import BlockFile, without_metadata

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hdr_site.settings")
django.setup()

from recognizer.engine import DigitModel  # noqa: E402 - needs Django's settings
from recognizer.registry import BUNDLED  # noqa: E402
from recognizer.verdicts import Thresholds  # noqa: E402
from tests.drawings import canary, encoded, picture_of  # noqa: E402
from tests.hostile_files import FILES  # noqa: E402
from tests.patterns import PATTERNS, Grey  # noqa: E402

STAGES = ("look_at", "find_sheet", "cut_sheet", "lift_ink", "without_rules", "without_blots", "cut_digit", "_place")
TRIES = 3  # the cheapest counts: other work on the machine only adds


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one file."""

    name: str
    megapixels: float  # as sent
    total: float  # milliseconds of processor time
    stages: dict[str, float]  # milliseconds
    outcome: str

    def row(self, photo: float) -> str:
        slowest = sorted(self.stages.items(), key=lambda stage: -stage[1])[:3]
        stages = ", ".join(f"{stage.strip('_')} {cost:.0f}" for stage, cost in slowest)
        figures = f"{self.megapixels:6.2f} {self.total:7.1f} {self.total / photo:8.1f}×"
        return f"{self.name:42} {figures}  {self.outcome:8} {stages}"


HEAD = f"{'':42} {'MP':>6} {'ms':>7} {'of photo':>9}  {'':8} slowest stages, ms"


def main() -> None:
    parser = command_line(__doc__)
    parser.add_argument("--side", type=int, default=decoding.WORKING_SIDE, help="of the patterns, pixels")
    parser.add_argument("--only", default="", metavar="TEXT", help="measure only names with this text")
    parser.add_argument("--worst", type=int, default=15, metavar="N", help="show so many patterns")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # decoders warn about odd files
    reader = Reader()
    photo = reader.measure("a photo of a digit", encoded(photo_of_a_digit(arguments.side)))
    print(HEAD, photo.row(photo.total), sep="\n")
    costs = [
        reader.measure(name, encoded(pattern(arguments.side)))
        for name, pattern in PATTERNS.items()
        if arguments.only in name
    ]
    costs.sort(key=lambda cost: -cost.total)
    print(
        f"\nthe slowest of {len(costs)} patterns",
        *(cost.row(photo.total) for cost in costs[: arguments.worst]),
        sep="\n",
    )
    print("\nfiles")
    for name, make in FILES.items():
        if arguments.only in name:
            print(reader.measure(name, make()).row(photo.total), flush=True)


def photo_of_a_digit(side: int) -> Grey:
    """Make a photo of a digit on grainy paper, lit from one side."""
    digit = cv2.resize(picture_of(canary(3)), (side, side), interpolation=cv2.INTER_AREA)
    grain = np.random.default_rng(0).normal(0, 3, digit.shape)
    photo: Grey = (digit * np.linspace(0.4, 0.9, side) + grain).clip(0, 255).astype(np.uint8)
    return photo


class Reader:
    """Reads files as the site does, and times the stages."""

    def __init__(self) -> None:
        self._model = DigitModel((BUNDLED / "digits.tflite").read_bytes(), Thresholds(0, 0, 0))
        self._stages: dict[str, float] = {}
        self._decode, self._store = self._timed(decoding.decode_picture), self._timed(decoding.storable_picture)
        for stage in STAGES:
            setattr(picture, stage, self._timed(getattr(picture, stage)))

    def measure(self, name: str, content: bytes) -> Cost:
        """Read a file several times; return the lowest cost."""
        return min((self._once(name, content) for _ in range(TRIES)), key=lambda cost: cost.total)

    def _once(self, name: str, content: bytes) -> Cost:
        self._stages.clear()
        start, outcome = time.process_time(), "read"
        try:
            grey = self._decode(content)
            self._store(grey)
            self._model.read(picture.picture_to_input(grey))
        except PreprocessingError:
            outcome = "refused"
        total = 1000 * (time.process_time() - start)
        return Cost(name, pixels_of(content) / 1e6, total, dict(self._stages), outcome)

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start = time.process_time()
            try:
                return function(*arguments)
            finally:
                self._stages[function.__name__] = 1000 * (time.process_time() - start)

        return timed


def pixels_of(content: bytes) -> int:
    """Return how many pixels a file has, according to its header."""
    try:
        with Image.open(BlockFile(without_metadata(content)), formats=decoding.FORMATS) as image:
            return image.width * image.height
    except (OSError, PreprocessingError):
        return 0


if __name__ == "__main__":
    main()
