"""Free space on the data directory's disk, and when to warn about it."""

import shutil
from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, slots=True)
class DiskLimits:
    """Warn operators below either limit, while there are still days left rather than minutes."""

    free_share: float = 0.1  # of the disk
    free_bytes: int = 2_000_000_000  # the default daily quota of all anonymous visitors together


LIMITS = DiskLimits()


def warning() -> str | None:
    """Return a warning if the disk is nearly full, else None."""
    disk = shutil.disk_usage(settings.DATA_DIR)
    if disk.free >= max(LIMITS.free_bytes, LIMITS.free_share * disk.total):
        return None
    return f"the disk is nearly full: {disk.free / 1e9:.1f} of {disk.total / 1e9:.1f} GB are free"
