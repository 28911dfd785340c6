"""Triage: rules that accept corrections without an admin, or hold them for an admin. The rules are data.

Rules never reject; only people do. Corrections that no rule decides stay pending and are checked again. docs/triage.md
lists the rules and measures them on honest and hostile users.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Case, Count, Q, QuerySet, Value, When
from django.utils.timezone import now

from recognizer import evidence
from recognizer.evidence import CONFIRMS, Author, Facts
from recognizer.models import Correction, Verdict

OUTVOTED = "other_label"  # corrections that this rule holds still support others with the same label
RULES_ACCEPT = "triage"  # value of HDR_REVIEW; with any other value only people accept


@dataclass(frozen=True, slots=True)
class Cap:
    """Maximum number of acceptances by rules in 24 hours."""

    corrections: int  # including confirmations of doubtful answers, which train the model as much
    confirmations: int  # of sure answers


@dataclass(frozen=True, slots=True)
class TriageLimits:
    """Thresholds and caps of the rules."""

    settling: timedelta = timedelta(minutes=10)  # minimum age, so that authors can change their mind
    given_up: timedelta = timedelta(days=30)  # maximum age: older undecided corrections wait for a person
    at_once: int = 1000  # corrections per run

    plausible: float = 0.05  # minimum probability that the model gives to the label
    certainly_not_a_digit: float = 0.99  # minimum confidence of the model
    in_minute: int = 20  # maximum number of corrections
    in_hour: int = 300  # maximum number of corrections
    rejected_share: float = 0.05  # maximum, of an author's decided corrections
    contradicted: int = 3  # minimum number of contradicted sure answers before their share counts
    contradicted_share: float = 0.2  # maximum, of all drawings; honest writers have 0.003, the worst 0.07
    contradicted_doubtful: int = 5  # minimum number of contradicted doubtful answers before their share counts
    contradicted_doubtful_share: float = 0.6  # maximum, of the doubtful drawings; honest writers 0.24, worst 0.63
    copies: int = 2  # earlier copies by the same author from which on a drawing is held
    owners: int = 3  # minimum number of owners who agree

    session: Cap = Cap(corrections=30, confirmations=100)
    account: Cap = Cap(corrections=60, confirmations=300)
    sessions: Cap = Cap(corrections=300, confirmations=3000)  # all anonymous owners together, because a new one is free


LIMITS = TriageLimits()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its stored name, an explanation for people, and its condition."""

    name: str
    explanation: str
    applies: Callable[[Facts], bool]


def _model_was_sure(facts: Facts) -> bool:
    if facts.verdict == Verdict.NOT_A_DIGIT:
        return facts.confidence >= LIMITS.certainly_not_a_digit
    return facts.verdict == Verdict.SURE


def _model_was_sure_of_it() -> Q:
    """Return the same condition as a query on corrections."""
    certainly_none = Q(
        submission__verdict=Verdict.NOT_A_DIGIT, submission__confidence__gte=LIMITS.certainly_not_a_digit
    )
    return Q(submission__verdict=Verdict.SURE) | certainly_none


def _confirms_sure_answer(facts: Facts) -> bool:
    return facts.confirms and _model_was_sure(facts)


def _plausible(facts: Facts) -> bool:
    """Return whether the model finds the label plausible.

    Its probability of the label is cleanlab's `self_confidence`: the model was not trained on the drawing.
    """
    return facts.probability is None or facts.probability >= LIMITS.plausible


HOLD = (
    Rule(
        "no_owner",
        "Its author is unknown.",
        lambda facts: facts.author is None,
    ),
    Rule(
        "rejected_before",
        f"More than {LIMITS.rejected_share:.0%} of its author's recently decided corrections were rejected.",
        lambda facts: facts.rejected > LIMITS.rejected_share * facts.decided,
    ),
    Rule(
        "contradicts_sure_answers",
        "Its author contradicts sure answers far more often than they are wrong.",
        lambda facts: (
            facts.contradicted >= LIMITS.contradicted and facts.contradicted > LIMITS.contradicted_share * facts.drawn
        ),
    ),
    Rule(
        "contradicts_doubtful_answers",
        "Its author contradicts unsure answers far more often than they are wrong.",
        lambda facts: (
            facts.contradicted_doubtful >= LIMITS.contradicted_doubtful
            and facts.contradicted_doubtful > LIMITS.contradicted_doubtful_share * facts.drawn_doubtful
        ),
    ),
    Rule(
        "burst",
        f"Its author sent more than {LIMITS.in_minute} corrections in a minute, or {LIMITS.in_hour} in an hour.",
        lambda facts: facts.in_minute > LIMITS.in_minute or facts.in_hour > LIMITS.in_hour,
    ),
    Rule(
        "sure_of_another",
        "The model was sure of another answer.",
        lambda facts: not facts.confirms and _model_was_sure(facts),
    ),
    Rule(
        OUTVOTED,
        "At least as many owners label near-identical drawings differently.",
        lambda facts: facts.disagreeing > max(facts.agreeing, facts.supporting),
    ),
    Rule(
        "same_drawing_again",
        f"Its author has sent the same drawing {LIMITS.copies} times or more.",
        lambda facts: facts.copies >= LIMITS.copies,
    ),
)

BY_STAFF = Rule(
    "staff",
    "Its author is staff and could accept it too.",
    lambda facts: facts.staff,
)

ACCEPT = (
    BY_STAFF,
    Rule(
        "confirmed",
        "Its author, who is in good standing, confirms the model's answer.",
        lambda facts: facts.confirms,
    ),
    Rule(
        "model_doubted",
        "The model was unsure and considered this label too.",
        lambda facts: not _model_was_sure(facts) and _plausible(facts),
    ),
    Rule(
        "owners_agree",
        f"{LIMITS.owners} or more owners in good standing label near-identical drawings the same.",
        lambda facts: facts.agreeing + 1 >= LIMITS.owners,
    ),
)

EXPLANATIONS = {rule.name: rule.explanation for rule in (*HOLD, *ACCEPT)}

BY_RULE = Q(state=Correction.State.ACCEPTED, triage__in=[rule.name for rule in ACCEPT])


def first(rules: Iterable[Rule], facts: Facts) -> Rule | None:
    """Return the first rule that applies."""
    return next((rule for rule in rules if rule.applies(facts)), None)


def waiting(at: datetime) -> QuerySet[Correction]:
    """Return the corrections that rules may accept or hold."""
    return Correction.objects.standing().filter(
        state=Correction.State.PENDING,
        triage="",
        created__gt=at - LIMITS.given_up,
        created__lte=at - LIMITS.settling,
    )


def triage() -> Counter[str]:
    """Apply the rules to pending corrections; safe to run concurrently with reviewers, authors and other runs.

    Returns:
        The number of corrections that each rule accepted or held, by its name.
    """
    at = now()
    # In random order, else corrections that stay undecided would always come before new ones.
    rows = evidence.fetch(waiting(at).order_by("?")[: LIMITS.at_once], at)
    if not rows:
        return Counter()
    known = evidence.histories(rows, BY_RULE, at)
    held = [None if facts.staff else first(HOLD, facts) for facts in known]
    # Held corrections do not vote on other drawings. Those beyond the quota are compared on another day.
    quota = DailyQuota.remaining(at)
    clean = [
        number for number, rule in enumerate(held) if rule is None and (_by_people() or quota.allows(known[number]))
    ]
    outvoted = Correction.objects.waiting().filter(triage=OUTVOTED)
    rest = evidence.compared([rows[number] for number in clean], [known[number] for number in clean], outvoted)
    decisions = [(facts.pk, rule) for facts, rule in zip(known, held, strict=True) if rule]
    return _hold(decisions) + _accept_or_hold(rest, at)


def _accept_or_hold(compared: Sequence[Facts], at: datetime) -> Counter[str]:
    holds, plausible = [], []
    for facts in _round_robin(compared):
        if not facts.staff and (hold := first(HOLD, facts)):
            holds.append((facts.pk, hold))
        elif accept := first(ACCEPT, facts):
            plausible.append((facts, accept))
    done = _hold(holds)
    return done if _by_people() else done + _accept(plausible, at)


def _by_people() -> bool:
    return bool(settings.REVIEW != RULES_ACCEPT)


def _round_robin(compared: Iterable[Facts]) -> list[Facts]:
    """Order by round robin over owners, so that none uses up the cap that all anonymous owners share."""
    rounds: Counter[Author] = Counter()
    ordered = []
    for facts in compared:
        rounds[facts.author] += 1
        ordered.append((rounds[facts.author], facts.pk, facts))
    return [facts for _, _, facts in sorted(ordered, key=lambda turn: turn[:2])]


def _hold(decisions: Iterable[tuple[int, Rule]]) -> Counter[str]:
    done: Counter[str] = Counter()
    for rule, pks in _by_rule(decisions):
        done[rule.name] += _untouched(pks).update(triage=rule.name)
    return +done


def _accept(decisions: Sequence[tuple[Facts, Rule]], at: datetime) -> Counter[str]:
    """Accept as many as the caps allow; row locks serialise concurrent runs, so that they share the caps."""
    done: Counter[str] = Counter()
    with transaction.atomic():
        locked = _untouched([facts.pk for facts, _ in decisions]).order_by("pk").select_for_update()
        untouched = set(locked.values_list("pk", flat=True))
        quota = DailyQuota.remaining(at)
        taken = [(facts.pk, rule) for facts, rule in decisions if facts.pk in untouched and quota.take(facts)]
        for rule, pks in _by_rule(taken):
            accepted = _untouched(pks).update(state=Correction.State.ACCEPTED, triage=rule.name, decided=at)
            done[rule.name] += accepted
    return +done


def _untouched(pks: Sequence[int]) -> QuerySet[Correction]:
    return Correction.objects.standing().filter(pk__in=pks, state=Correction.State.PENDING, triage="")


def _by_rule(decisions: Iterable[tuple[int, Rule]]) -> list[tuple[Rule, list[int]]]:
    pks: defaultdict[str, list[int]] = defaultdict(list)
    rules = {}
    for pk, rule in decisions:
        rules[rule.name] = rule
        pks[rule.name].append(pk)
    return [(rule, pks[name]) for name, rule in rules.items()]


@dataclass(slots=True)
class DailyQuota:
    """Remaining quota of acceptances by rules, per owner and for all anonymous owners together.

    Corrections by staff are not limited.
    """

    taken: Counter[tuple[Author, bool]] = field(default_factory=Counter)  # (owner, confirmation of a sure answer)
    taken_by_sessions: Counter[bool] = field(default_factory=Counter)  # confirmation of a sure answer

    @classmethod
    def remaining(cls, at: datetime) -> "DailyQuota":
        """Build the quota from what the rules accepted in the last 24 hours."""
        quota = cls()
        lately = Correction.objects.filter(BY_RULE, decided__gt=at - timedelta(days=1)).exclude(triage=BY_STAFF.name)
        sure = Case(When(_model_was_sure_of_it(), then=Value(True)), default=Value(False))
        kinds = lately.order_by().values_list("account", "session", evidence.anonymous(at), CONFIRMS, sure)
        for account, session, anonymous, confirms, was_sure, count in kinds.annotate(Count("pk")):
            quota._add(account or session, bool(anonymous), bool(confirms and was_sure), count)
        return quota

    def allows(self, facts: Facts) -> bool:
        """Return whether the rules may accept this correction."""
        if facts.staff:
            return True
        own, confirms_sure = LIMITS.session if facts.anonymous else LIMITS.account, _confirms_sure_answer(facts)
        shared = not facts.anonymous or self.taken_by_sessions[confirms_sure] < _size(LIMITS.sessions, confirms_sure)
        return shared and self.taken[facts.author, confirms_sure] < _size(own, confirms_sure)

    def take(self, facts: Facts) -> bool:
        """Take one from the quota if the correction may be accepted; return whether it may."""
        free = self.allows(facts)
        if free and not facts.staff:
            self._add(facts.author, facts.anonymous, _confirms_sure_answer(facts), 1)
        return free

    def _add(self, author: Author, anonymous: bool, confirms_sure: bool, count: int) -> None:
        self.taken[author, confirms_sure] += count
        if anonymous:
            self.taken_by_sessions[confirms_sure] += count


def _size(cap: Cap, confirms_sure: bool) -> int:
    return cap.confirmations if confirms_sure else cap.corrections
