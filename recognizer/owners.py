"""The owner of a drawing."""

import uuid
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Owner:
    """An account id, or an anonymous visitor's session id, or neither."""

    account: int | None = None
    session: uuid.UUID | None = None
    is_staff: bool = False
