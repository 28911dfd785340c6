"""The environment variables that the site reads, parsed; each has a default that lets it run with none."""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

SHORTEST_SECRET = 20  # characters; a key that nobody guesses takes as many, whatever their alphabet
FEWEST_DIFFERENT = 10  # of them
PUBLISHED = "django-insecure-"  # how keys begin that Django writes into a new project's settings
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


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
    """Read a secret, else the one kept in a file, which is made once and readable by its owner alone.

    Raises:
        SystemExit: it is easy to guess.
    """
    if value := text(name):
        refuse_guessable(name)
        return value
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text().strip()
    with os.fdopen(descriptor, "w") as opened:
        opened.write(value := secrets.token_urlsafe(50))
    return value


def refuse_guessable(name: str) -> None:
    """Refuse a secret that is easy to guess, where strangers can reach the site.

    Raises:
        SystemExit: it is one.
    """
    value = text(name)
    if not value or not is_guessable(value) or flag("DEBUG") or not is_public():
        return
    raise SystemExit(
        f"{name} is easy to guess ({len(value)} characters, {len(set(value))} different ones), and whoever guesses it"
        " can pass for others. Make one with\n  python -c 'import secrets; print(secrets.token_urlsafe(50))'\n"
        f"To keep people logged in, and their drawings theirs, name the earlier one in {name}_FALLBACKS for some weeks."
    )


def is_guessable(secret: str) -> bool:
    """Say whether a secret is short, made of few characters, or one that Django has written into a file."""
    return len(secret) < SHORTEST_SECRET or len(set(secret)) < FEWEST_DIFFERENT or secret.startswith(PUBLISHED)


def is_public() -> bool:
    """Say whether strangers can reach the site: it listens on the network, or stands behind a proxy."""
    return text("HOST", "127.0.0.1") not in LOOPBACK or number("HDR_PROXIES", 0) > 0 or flag("HDR_HTTPS")
