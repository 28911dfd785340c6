"""The environment variables that the site reads, parsed; each has a default that lets it run with none."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path


def text(name: str, default: str = "") -> str:
    """Read a string; an empty variable counts as unset."""
    return os.environ.get(name) or default


def flag(name: str) -> bool:
    """Read a switch: 1, true, yes and on turn it on."""
    return text(name).lower() in {"1", "true", "yes", "on"}


def number(name: str, default: int) -> int:
    """Read a whole number of at least 0.

    Raises:
        SystemExit: it is not one.
    """
    value = text(name, str(default))
    if not value.isdecimal():
        raise SystemExit(f"{name} must be a whole number, got {value!r}.")
    return int(value)


def choice(name: str, choices: Sequence[str]) -> str:
    """Read one of a few words; the first is the default.

    Raises:
        SystemExit: it is none of them.
    """
    value = text(name, choices[0])
    if value not in choices:
        raise SystemExit(f"{name} must be one of {', '.join(choices)}; got {value!r}.")
    return value


def words(name: str, default: str = "") -> list[str]:
    """Read a list separated by commas."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def secret(name: str, file: Path) -> str:
    """Read a secret, else the one kept in a file, which is made once and readable by its owner alone."""
    if value := text(name):
        return value
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text().strip()
    with os.fdopen(descriptor, "w") as opened:
        opened.write(value := secrets.token_urlsafe(50))
    return value
