"""Whose labels count as one person's where versions of the model are compared.

Cookies are free, and an account costs little more than a week's patience. If each were one more witness, a single
visitor with a script would decide what the model becomes. So an owner has a voice of their own only once people know
them: staff, and accounts of whose corrections a reviewer has accepted some. All other owners share one voice.
"""

from datetime import datetime

from django.contrib.auth.models import User
from django.db.models import Count, F, Q, QuerySet

from recognizer.evidence import NEWCOMER
from recognizer.models import REPLACED, Correction, PastDecision
from recognizer.triage import BY_RULE, LIMITS


def known_accounts(at: datetime) -> QuerySet[User]:
    """The accounts that had a voice of their own at a given time.

    They are staff's, and those that were a week old and whose corrections reviewers had looked at by then: at least
    one was accepted, and no more were rejected than an author in good standing may have (`triage`'s `rejected_before`).
    A rejected drawing that was deleted speaks against its owner as long as that is remembered.
    """
    accepted = Q(state=Correction.State.ACCEPTED, decided__lt=at) & ~BY_RULE
    rejected = Q(state=Correction.State.REJECTED, decided__lt=at) | (REPLACED & Q(replaced_by__decided__lt=at))
    judged = (
        Correction.objects.filter(account__isnull=False)
        .order_by()
        .values("account")
        .annotate(accepted=Count("pk", filter=accepted), rejected=Count("pk", filter=rejected))
        .filter(accepted__gte=1, rejected__lte=LIMITS.rejected_share * (F("accepted") + F("rejected")))
    )
    regretted = PastDecision.objects.filter(account__isnull=False, rejected=True, decided__lt=at)
    trusted = Q(pk__in=judged.values("account"), date_joined__lte=at - NEWCOMER)
    trusted &= ~Q(pk__in=regretted.values("account"))
    return User.objects.filter(Q(is_staff=True) | trusted)
