"""The site on several hosts of one machine, and what happens when their cables are pulled: `make cluster-test`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
