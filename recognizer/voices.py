"""Voices: who has a vote of their own when model versions are compared.

Cookies are free, and an account costs only a week's patience. If each had a vote, one visitor with a script could
decide what the model becomes. So only known owners have a vote of their own (a voice): staff, and accounts with
corrections that a reviewer accepted. All other owners share one vote.
"""

from datetime import datetime

from django.contrib.auth.models import User
from django.db.models import Count, F, Q, QuerySet

from recognizer.evidence import NEWCOMER
from recognizer.models import REPLACED, Correction, PastDecision
from recognizer.triage import BY_RULE, LIMITS


def known_accounts(at: datetime) -> QuerySet[User]:
    """Return the accounts that had a voice of their own at a given time.

    These are staff, and accounts that were a week old and had a record with reviewers by then: at least one correction
    accepted, and a share of rejected ones within the limit of triage's rule `rejected_before`. A rejection still counts
    after its drawing was deleted, as long as it is remembered (`PastDecision`).
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
    rejected_and_deleted = PastDecision.objects.filter(account__isnull=False, rejected=True, decided__lt=at)
    trusted = Q(pk__in=judged.values("account"), date_joined__lte=at - NEWCOMER)
    trusted &= ~Q(pk__in=rejected_and_deleted.values("account"))
    return User.objects.filter(Q(is_staff=True) | trusted)
