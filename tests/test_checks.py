"""Misconfiguration is said before it hurts, with a hint."""

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from hdr_site import environment


def test_https_without_a_proxy_is_warned_of(settings: LazySettings) -> None:
    settings.HTTPS, settings.PROXIES = True, 0

    with pytest.raises(SystemCheckError, match=r"digits\.W001[^?]*HDR_PROXIES"):
        call_command("check", fail_level="WARNING")


def test_a_missing_mnist_folder_is_an_error(settings: LazySettings) -> None:
    settings.MNIST_DIR = "/nowhere/mnist"

    with pytest.raises(SystemCheckError, match=r"digits\.E001"):
        call_command("check")


@pytest.mark.parametrize(
    ("hosts", "host", "port"),
    [
        ("db", "db", ""),
        ("a:5432,b:5433", "a,b", "5432,5433"),
        ("a,b:5433", "a,b", ",5433"),  # as libpq has it: the first one's is the usual one
        ("[::1]:5432,b", "::1,b", "5432,"),
    ],
)
def test_a_database_url_names_one_host_or_several(
    hosts: str, host: str, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgres://me:p%2C%40@{hosts}/digits?sslmode=require")

    parsed = environment.database("DATABASE_URL", "")

    assert (parsed["HOST"], str(parsed["PORT"])) == (host, port)
    assert (parsed["USER"], parsed["PASSWORD"], parsed["NAME"]) == ("me", "p,@", "digits")
    assert parsed["OPTIONS"] == {"sslmode": "require"}


@pytest.mark.parametrize("url", ["postgres://db:x/digits", "postgres://a:1,b:x/digits", "nothing://db/digits", "db"])
def test_a_wrong_database_url_is_said_in_one_line(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    with pytest.raises(SystemExit, match="DATABASE_URL is no URL of a database"):
        environment.database("DATABASE_URL", "")
