"""The site's settings for the workers of the fault tests: a function named by the test stands in for the work."""

from hdr_site.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.fault_app.FaultApp"]  # noqa: F405
