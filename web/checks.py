"""System checks for settings that need each other or a folder that exists, each with an id and a hint."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Tags, register


@register(Tags.security)
def https_needs_a_proxy(**_: Any) -> list[CheckMessage]:
    """Warn if HTTPS is on without a proxy: the web server speaks plain HTTP, so TLS must end at a trusted proxy."""
    if settings.HTTPS and not settings.PROXIES:
        hint = "Set HDR_PROXIES to the number of proxies in front of the web server."
        return [
            checks.Warning("HDR_HTTPS without HDR_PROXIES redirects every page to itself.", hint=hint, id="digits.W001")
        ]
    return []


@register(Tags.files)
def mnist_folder_exists(**_: Any) -> list[CheckMessage]:
    """Report an error if HDR_MNIST_DIR is set but is not a folder."""
    if settings.MNIST_DIR and not Path(settings.MNIST_DIR).is_dir():
        hint = "Set it to a folder with the four files, or unset it to download them when needed."
        return [checks.Error(f"HDR_MNIST_DIR is not a folder: {settings.MNIST_DIR}", hint=hint, id="digits.E001")]
    return []
