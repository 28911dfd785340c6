"""Misconfiguration is said before it hurts, with a hint."""

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.core.management.base import SystemCheckError


def test_https_without_a_proxy_is_warned_of(settings: LazySettings) -> None:
    settings.HTTPS, settings.PROXIES = True, 0

    with pytest.raises(SystemCheckError, match=r"digits\.W001[^?]*HDR_PROXIES"):
        call_command("check", fail_level="WARNING")


def test_a_missing_mnist_folder_is_an_error(settings: LazySettings) -> None:
    settings.MNIST_DIR = "/nowhere/mnist"

    with pytest.raises(SystemCheckError, match=r"digits\.E001"):
        call_command("check")
