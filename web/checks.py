"""System checks: settings that are valid one by one and wrong together, each with an id and a hint."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Tags, register


@register(Tags.security)
def https_needs_a_proxy(**_: Any) -> list[CheckMessage]:
    """The web server speaks plain HTTP, so TLS ends at a proxy, which has to be named for the site to see it."""
    if settings.HTTPS and not settings.PROXIES:
        hint = "Set HDR_PROXIES to the number of proxies in front of the web server."
        return [
            checks.Warning("HDR_HTTPS without HDR_PROXIES redirects every page to itself.", hint=hint, id="digits.W001")
        ]
    return []


@register(Tags.files)
def mnist_folder_exists(**_: Any) -> list[CheckMessage]:
    """A folder that is named is meant."""
    if settings.MNIST_DIR and not Path(settings.MNIST_DIR).is_dir():
        hint = "Set it to a folder with the four files, or unset it to download them when needed."
        return [checks.Error(f"HDR_MNIST_DIR is not a folder: {settings.MNIST_DIR}", hint=hint, id="digits.E001")]
    return []
