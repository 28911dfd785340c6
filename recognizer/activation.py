"""Makes a version active by hand, in the API and the admin alike: it is proved first, then the pointer moves."""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from recognizer import registry
from recognizer.engine import ModelRefusedError, load_model
from recognizer.models import ModelVersion


def activate(version: ModelVersion, by: AbstractBaseUser | AnonymousUser) -> None:
    """Load a version as every web process will, and make it the active one if that succeeds.

    Without this a click could make active what every process refuses: the old model would serve on in those that have
    it, and a process started later would have none.

    Raises:
        UnservableError: it would be refused; the reason.
        PrunedError: its bytes are gone.
    """
    if registry.has_artifact(version):  # else `promote` says it better
        try:
            load_model(version)
        except ModelRefusedError as refusal:
            raise registry.UnservableError(f"Not activated: {refusal}.") from refusal
    registry.promote(version, by=by)
