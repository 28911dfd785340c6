"""Misconfiguration is reported at start, with a hint."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.core.signing import Signer

from hdr_site import environment

ROOT = Path(__file__).resolve().parent.parent
STRONG = "LG9rMZ0sZ6y-0bqmUoTq2nTgXfWAm1xV"


def test_https_without_proxy_is_a_warning(settings: LazySettings) -> None:
    settings.HTTPS, settings.PROXIES = True, 0

    with pytest.raises(SystemCheckError, match=r"digits\.W001[^?]*HDR_PROXIES"):
        call_command("check", fail_level="WARNING")


def test_missing_mnist_folder_is_an_error(settings: LazySettings) -> None:
    settings.MNIST_DIR = "/nowhere/mnist"

    with pytest.raises(SystemCheckError, match=r"digits\.E001"):
        call_command("check")


@pytest.mark.parametrize(
    ("hosts", "host", "port"),
    [
        ("db", "db", ""),
        ("a:5432,b:5433", "a,b", "5432,5433"),
        ("a,b:5433", "a,b", ",5433"),  # as in libpq: the first host uses the default port
        ("[::1]:5432,b", "::1,b", "5432,"),
    ],
)
def test_database_url_names_one_or_more_hosts(
    hosts: str, host: str, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgres://me:p%2C%40@{hosts}/digits?sslmode=require")

    parsed = environment.database("DATABASE_URL", "")

    assert (parsed["HOST"], str(parsed["PORT"])) == (host, port)
    assert (parsed["USER"], parsed["PASSWORD"], parsed["NAME"]) == ("me", "p,@", "digits")
    assert parsed["OPTIONS"] == {"sslmode": "require"}


@pytest.mark.parametrize("url", ["postgres://db:x/digits", "postgres://a:1,b:x/digits", "nothing://db/digits", "db"])
def test_invalid_database_url_stops_start_with_clear_error(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    with pytest.raises(SystemExit, match="DATABASE_URL must be a database URL"):
        environment.database("DATABASE_URL", "")


@pytest.mark.parametrize("key", ["changeme", "a" * 64, "abc" * 20, "django-insecure-" + STRONG, "short but 19 in all"])
@pytest.mark.parametrize("reached", [{"HOST": "0.0.0.0"}, {"HDR_PROXIES": "1"}, {"HDR_HTTPS": "1"}])
def test_weak_key_is_refused_on_public_site(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str, reached: dict[str, str]
) -> None:
    for name, value in {"SECRET_KEY": key, **reached}.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit, match="easy to guess") as refusal:
        environment.secret("SECRET_KEY", tmp_path / "key")
    assert key not in str(refusal.value) and "SECRET_KEY_FALLBACKS" in str(refusal.value)
    monkeypatch.setenv("DEBUG", "1")
    assert environment.secret("SECRET_KEY", tmp_path / "key") == key


@pytest.mark.parametrize(("key", "host"), [(STRONG, "0.0.0.0"), ("changeme", "127.0.0.1"), ("changeme", "localhost")])
def test_strong_key_or_local_site_is_accepted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str, host: str
) -> None:
    monkeypatch.setenv("SECRET_KEY", key)
    monkeypatch.setenv("HOST", host)

    assert environment.secret("SECRET_KEY", tmp_path / "key") == key


@pytest.mark.parametrize("command", [["manage.py", "prepare"], ["-m", "hdr_site.server"]])
def test_weak_key_stops_start_with_short_error(tmp_path: Path, command: list[str]) -> None:
    environ = os.environ | {"HDR_DATA_DIR": str(tmp_path), "SECRET_KEY": "changeme", "HDR_PROXIES": "1"}
    tried = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=60
    )

    assert tried.returncode == 1
    assert tried.stderr.startswith("SECRET_KEY is easy to guess (8 characters, 7 different ones)")
    assert "Traceback" not in tried.stderr


def test_fallback_key_stays_valid(settings: LazySettings) -> None:
    settings.SECRET_KEY = "changeme"
    signed = Signer().sign("owner")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = STRONG, ["changeme"]

    assert Signer().unsign(signed) == "owner"
    assert Signer().sign("owner") != signed
