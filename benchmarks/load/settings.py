"""The site's settings with two bare views added and throttles off."""

from hdr_site.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.load.urls"
THROTTLES = {}
