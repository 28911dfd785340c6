"""Triage: which corrections count without an admin, and which an admin should look at. The rules are data.

Rules never reject; only people do. What no rule decides is left as it is and looked at again. docs/triage.md has the
rules as a table, with what they do to honest and to hostile people.
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

OUTVOTED = "other_label"  # the rule that holds what speaks for others all the same
RULES_ACCEPT = "triage"  # HDR_REVIEW; with any other value people alone accept


@dataclass(frozen=True, slots=True)
class Cap:
    """How much the rules accept in 24 hours."""

    corrections: int  # and confirmations of doubtful answers, which teach as much
    confirmations: int  # of sure answers


@dataclass(frozen=True, slots=True)
class Limits:
    """Where the rules draw their lines."""

    settling: timedelta = timedelta(minutes=10)  # what was said later is its author's to change, and people's to decide
    given_up: timedelta = timedelta(days=30)  # what was said earlier and is still undecided waits for a person
    at_once: int = 1000  # corrections that one run looks at

    plausible: float = 0.05  # the model's probability of the digit said, at least
    certainly_not_a_digit: float = 0.99  # the model's confidence, at least
    in_minute: int = 20  # things said, at most
    in_hour: int = 300  # things said, at most
    rejected_share: float = 0.05  # of what people decided, at most
    contradicted: int = 3  # sure answers, at least, before their share says anything
    contradicted_share: float = 0.2  # of all drawings, at most; honest hands 0.003, the worst 0.07
    contradicted_doubtful: int = 5  # doubtful answers, at least, before their share says anything
    contradicted_doubtful_share: float = 0.6  # of the doubtful drawings, at most; honest hands 0.24, the worst 0.63
    copies: int = 2  # of one drawing, at most
    owners: int = 3  # who agree, at least

    session: Cap = Cap(corrections=30, confirmations=100)
    account: Cap = Cap(corrections=60, confirmations=300)
    sessions: Cap = Cap(corrections=300, confirmations=3000)  # all together, for a new one costs nothing


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Rule:
    """A name for the record, a sentence for people, and a test."""

    name: str
    explanation: str
    applies: Callable[[Facts], bool]


def _model_was_sure(facts: Facts) -> bool:
    if facts.verdict == Verdict.NOT_A_DIGIT:
        return facts.confidence >= LIMITS.certainly_not_a_digit
    return facts.verdict == Verdict.SURE


def _model_was_sure_of_it() -> Q:
    """Say the same of corrections in the database."""
    certainly_none = Q(
        submission__verdict=Verdict.NOT_A_DIGIT, submission__confidence__gte=LIMITS.certainly_not_a_digit
    )
    return Q(submission__verdict=Verdict.SURE) | certainly_none


def _says_nothing_new(facts: Facts) -> bool:
    return facts.confirms and _model_was_sure(facts)


def _plausible(facts: Facts) -> bool:
    """The model's probability of the label is cleanlab's `self_confidence`; the model had not seen the drawing."""
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
        lambda facts: facts.disagreeing > max(facts.agreeing, facts.siding),
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
    """The corrections that rules may still decide or hold."""
    return Correction.objects.standing().filter(
        state=Correction.State.PENDING,
        triage="",
        created__gt=at - LIMITS.given_up,
        created__lte=at - LIMITS.settling,
    )


def triage() -> Counter[str]:
    """Accept, hold or leave what people said; safe beside reviewers, authors and another run.

    Returns:
        How many corrections each rule accepted or holds, by its name.
    """
    at = now()
    # By chance, for what is left each time would otherwise stand before all that is new.
    rows = evidence.fetch(waiting(at).order_by("?")[: LIMITS.at_once], at)
    if not rows:
        return Counter()
    known = evidence.histories(rows, BY_RULE, at)
    held = [None if facts.staff else first(HOLD, facts) for facts in known]
    # What is held has no say in what others' drawings are; what has no place today is compared another day.
    room = Room.left(at)
    clean = [number for number, rule in enumerate(held) if rule is None and (_by_people() or room.has(known[number]))]
    outvoted = Correction.objects.waiting().filter(triage=OUTVOTED)
    rest = evidence.compared([rows[number] for number in clean], [known[number] for number in clean], outvoted)
    decisions = [(facts.pk, rule) for facts, rule in zip(known, held, strict=True) if rule]
    return _hold(decisions) + _accept_or_hold(rest, at)


def _accept_or_hold(compared: Sequence[Facts], at: datetime) -> Counter[str]:
    holds, plausible = [], []
    for facts in _in_turns(compared):
        if not facts.staff and (hold := first(HOLD, facts)):
            holds.append((facts.pk, hold))
        elif accept := first(ACCEPT, facts):
            plausible.append((facts, accept))
    done = _hold(holds)
    return done if _by_people() else done + _accept(plausible, at)


def _by_people() -> bool:
    return bool(settings.REVIEW != RULES_ACCEPT)


def _in_turns(compared: Iterable[Facts]) -> list[Facts]:
    """Let owners take turns, so that nobody uses up what all anonymous ones share."""
    turns: Counter[Author] = Counter()
    ordered = []
    for facts in compared:
        turns[facts.author] += 1
        ordered.append((turns[facts.author], facts.pk, facts))
    return [facts for _, _, facts in sorted(ordered, key=lambda turn: turn[:2])]


def _hold(decisions: Iterable[tuple[int, Rule]]) -> Counter[str]:
    done: Counter[str] = Counter()
    for rule, pks in _by_rule(decisions):
        done[rule.name] += _untouched(pks).update(triage=rule.name)
    return +done


def _accept(decisions: Sequence[tuple[Facts, Rule]], at: datetime) -> Counter[str]:
    """Accept what the caps allow; two runs over the same corrections go one after the other, and share the caps."""
    done: Counter[str] = Counter()
    with transaction.atomic():
        locked = _untouched([facts.pk for facts, _ in decisions]).order_by("pk").select_for_update()
        untouched = set(locked.values_list("pk", flat=True))
        room = Room.left(at)
        taken = [(facts.pk, rule) for facts, rule in decisions if facts.pk in untouched and room.take(facts)]
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
class Room:
    """What the caps still allow, by owner and for all anonymous ones; what staff said does not count."""

    taken: Counter[tuple[Author, bool]] = field(default_factory=Counter)  # (owner, confirmation of a sure answer)
    taken_by_sessions: Counter[bool] = field(default_factory=Counter)  # confirmation of a sure answer

    @classmethod
    def left(cls, at: datetime) -> "Room":
        """Count what the rules accepted in the last 24 hours."""
        room = cls()
        lately = Correction.objects.filter(BY_RULE, decided__gt=at - timedelta(days=1)).exclude(triage=BY_STAFF.name)
        sure = Case(When(_model_was_sure_of_it(), then=Value(True)), default=Value(False))
        kinds = lately.order_by().values_list("account", "session", evidence.anonymous(at), CONFIRMS, sure)
        for account, session, anonymous, confirms, was_sure, count in kinds.annotate(Count("pk")):
            room._add(account or session, bool(anonymous), bool(confirms and was_sure), count)
        return room

    def has(self, facts: Facts) -> bool:
        """Say whether there is a place for one more; for staff there always is."""
        if facts.staff:
            return True
        own, easy = LIMITS.session if facts.anonymous else LIMITS.account, _says_nothing_new(facts)
        shared = not facts.anonymous or self.taken_by_sessions[easy] < _size(LIMITS.sessions, easy)
        return shared and self.taken[facts.author, easy] < _size(own, easy)

    def take(self, facts: Facts) -> bool:
        """Take a place for one more, if there is one."""
        free = self.has(facts)
        if free and not facts.staff:
            self._add(facts.author, facts.anonymous, _says_nothing_new(facts), 1)
        return free

    def _add(self, author: Author, anonymous: bool, easy: bool, count: int) -> None:
        self.taken[author, easy] += count
        if anonymous:
            self.taken_by_sessions[easy] += count


def _size(cap: Cap, easy: bool) -> int:
    return cap.confirmations if easy else cap.corrections
