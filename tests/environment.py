"""The tests' environment, set before Django reads its settings: pytest loads this first (`-p`, see pyproject.toml).

Tests never touch the developer's data, and nobody is throttled unless a test asks for it.
"""

import gc
import os
import tempfile
from pathlib import Path

os.environ["HDR_DATA_DIR"] = tempfile.mkdtemp(prefix="digits-tests-")
(Path(os.environ["HDR_DATA_DIR"]) / "static").mkdir()  # nothing is collected, and WhiteNoise warns if it is missing
os.environ["HDR_THROTTLES"] = "off"
os.environ.setdefault("SECRET_KEY", "tests")
os.environ.pop("DEBUG", None)


def pytest_collection_finish() -> None:
    """Collect only garbage of tests, and less often: scanning all imported objects takes 5 % of the time."""
    gc.freeze()
    gc.set_threshold(20_000)
