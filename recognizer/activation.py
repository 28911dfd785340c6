"""Manual activation of a version, for API and admin: load and check it first, then make it active."""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser

from recognizer import registry
from recognizer.engine import ModelRefusedError, load_model
from recognizer.models import ModelVersion


def activate(version: ModelVersion, by: AbstractBaseUser | AnonymousUser) -> None:
    """Load a version as every web process will, and activate it if that succeeds.

    Without this check, a click could activate a version that every process refuses. Running processes would keep the
    old model, and new ones would have none.

    Raises:
        UnservableError: the version would be refused; the message says why.
        PrunedError: its bytes were pruned.
    """
    if registry.has_artifact(version):  # else `promote` raises a more precise error
        try:
            load_model(version)
        except ModelRefusedError as refusal:
            raise registry.UnservableError(f"Not activated: {refusal}.") from refusal
    registry.promote(version, by=by)
