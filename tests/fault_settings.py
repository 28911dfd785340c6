"""Settings for the workers of the fault tests: the test names a function that replaces the work."""

from hdr_site.settings import *  # noqa: F403

INSTALLED_APPS = [*INSTALLED_APPS, "tests.fault_app.FaultApp"]  # noqa: F405
