"""The site's settings for the workers of the fault tests: a stand-in, named by the test, does the work."""

from hdr_site import environment
from hdr_site.settings import *  # noqa: F403

TRAINING_LEARN = environment.text("STAND_IN", "tests.stand_in.linger")
