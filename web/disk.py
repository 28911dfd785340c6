"""How full the disk is that the data directory lies on, and when that is worth a warning."""

import shutil
from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """Below either, operators are warned: there are days left, and not minutes."""

    free_share: float = 0.1  # of the disk
    free_bytes: int = 2_000_000_000  # what all strangers together may store in a day, by default


LIMITS = DiskLimits()


def warning() -> str | None:
    """Say how little is free, if it is little."""
    disk = shutil.disk_usage(settings.DATA_DIR)
    if disk.free >= max(LIMITS.free_bytes, LIMITS.free_share * disk.total):
        return None
    return f"the disk is nearly full: {disk.free / 1e9:.1f} of {disk.total / 1e9:.1f} GB are free"
