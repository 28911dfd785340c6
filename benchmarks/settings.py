"""The site's settings with the bare view added and nobody throttled."""

from hdr_site.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.urls"
THROTTLES = {}
