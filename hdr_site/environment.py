"""Parsing of the site's environment variables. Each has a default, so the site runs without any."""

import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url

SEVERAL_HOSTS = re.compile(r"(?P<before>postgres\w*://(?:[^/?#@]*@)?)(?P<hosts>[^/?#@]*,[^/?#@]*)(?P<after>.*)")

MIN_SECRET_LENGTH = 20  # characters; a shorter key can be guessed, whatever its alphabet
MIN_DISTINCT = 10  # different characters
DJANGO_PREFIX = "django-insecure-"  # prefix of the keys that Django writes into a new project's settings
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
        SystemExit: the value is not a whole number.
    """
    value = text(name, str(default))
    if not value.isdecimal():
        raise SystemExit(f"{name} must be a whole number, got {value!r}.")
    return int(value)


def choice(name: str, choices: Sequence[str]) -> str:
    """Read one of the given words; the first is the default.

    Raises:
        SystemExit: the value is not one of them.
    """
    value = text(name, choices[0])
    if value not in choices:
        raise SystemExit(f"{name} must be one of {', '.join(choices)}; got {value!r}.")
    return value


def words(name: str, default: str = "") -> list[str]:
    """Read a comma-separated list."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def database(name: str, default: str) -> dict[str, Any]:
    """Read a database URL; as in libpq, a PostgreSQL URL may name several hosts, each with its port: `a:5432,b:5432`.

    Raises:
        SystemExit: the value is not a database URL.
    """
    url = text(name, default)
    several = SEVERAL_HOSTS.fullmatch(url)
    try:
        if several is None:
            return dict(dj_database_url.parse(url))
        hosts = [urlsplit(f"//{host}") for host in several["hosts"].split(",")]
        where = {"HOST": ",".join(host.hostname or "" for host in hosts)}
        where |= {"PORT": ",".join(str(host.port or "") for host in hosts)}
        return dj_database_url.parse(f"{several['before']}several{several['after']}") | where
    except ValueError as error:
        raise SystemExit(f"{name} must be a database URL such as postgres://user:password@host:5432/name.") from error


def secret(name: str, file: Path) -> str:
    """Read a secret, else the one in a file, which is generated once and readable by its owner only.

    Raises:
        SystemExit: the variable's value is easy to guess and the site is public.
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
    """Stop if a secret is easy to guess and strangers can reach the site; not with `DEBUG`.

    Raises:
        SystemExit: the secret is easy to guess.
    """
    value = text(name)
    if not value or not is_guessable(value) or flag("DEBUG") or not is_public():
        return
    raise SystemExit(
        f"{name} is easy to guess ({len(value)} characters, {len(set(value))} different ones). Anyone who guesses it"
        " can impersonate users. Make a new one with\n  python -c 'import secrets; print(secrets.token_urlsafe(50))'\n"
        f"To keep people logged in and their drawings theirs, put the old one in {name}_FALLBACKS for some weeks."
    )


def is_guessable(secret: str) -> bool:
    """Return whether a secret is short, has few different characters, or is one that Django generated in a file."""
    return len(secret) < MIN_SECRET_LENGTH or len(set(secret)) < MIN_DISTINCT or secret.startswith(DJANGO_PREFIX)


def is_public() -> bool:
    """Return whether strangers can reach the site: it listens on the network or is behind a proxy."""
    return text("HOST", "127.0.0.1") not in LOOPBACK or number("HDR_PROXIES", 0) > 0 or flag("HDR_HTTPS")
