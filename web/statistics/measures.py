"""Statistical measures: a confidence interval of a share, and a distance between two distributions."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt

Z_95 = 1.959964  # standard normal quantile of a two-sided 95 % interval
Z_99 = 2.326348  # standard normal quantile of a one-sided 99 % bound

MOVED, CHANGED = 0.1, 0.25  # stability indices from which a distribution counts as moved, and as changed


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole; the whole is at least 1."""

    part: int
    whole: int

    @property
    def share(self) -> float:
        return self.part / self.whole

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.part, self.whole)


def wilson(part: int, whole: int) -> tuple[float, float]:
    """Return the 95 % score interval of a share. It stays within 0…1 and works for small and extreme counts.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    share, square = part / whole, Z_95 * Z_95 / whole
    middle = share + square / 2
    reach = Z_95 * sqrt(share * (1 - share) / whole + square / (4 * whole))
    return max(0.0, (middle - reach) / (1 + square)), min(1.0, (middle + reach) / (1 + square))


def stability_index(recent: Sequence[int], reference: Sequence[int]) -> float:
    """Return the population stability index of two histograms over the same bins: Σ (p − q) ln(p / q), 0 if equal.

    It is the symmetric Kullback-Leibler divergence. Below 0.1 a distribution counts as the same, from 0.25 as changed
    (N. Siddiqi, "Credit Risk Scorecards", 2006). Bins that are empty in both are left out; half a drawing is added to
    the others, so that no logarithm is infinite.
    """
    bins = [(a + 0.5, b + 0.5) for a, b in zip(recent, reference, strict=True) if a + b]
    of_recent, of_reference = sum(a for a, _ in bins), sum(b for _, b in bins)
    shares = [(a / of_recent, b / of_reference) for a, b in bins]
    return sum((p - q) * log(p / q) for p, q in shares)


def index_by_chance(recent: Sequence[int], reference: Sequence[int]) -> float:
    """Return the bound that the stability index exceeds with probability 1 % if nothing changed.

    The index is then distributed about as (1/n + 1/m) χ² with one degree of freedom fewer than there are bins
    (B. Yurdakul and J. Naranjo, "Statistical properties of the population stability index", Journal of Risk Model
    Validation 14, 2020). That holds for independent drawings; drawings by one person are alike, so the true bound is
    higher.
    """
    freedom = sum(bool(a + b) for a, b in zip(recent, reference, strict=True)) - 1
    return (1 / sum(recent) + 1 / sum(reference)) * _chi_square_99(freedom)


def _chi_square_99(freedom: int) -> float:
    """Return the 99 % quantile of χ² to within 0.5 % (E. B. Wilson and M. M. Hilferty, PNAS 17, 1931)."""
    if freedom < 1:
        return 0.0
    ninth = 2 / (9 * freedom)
    return float(freedom * (1 - ninth + Z_99 * sqrt(ninth)) ** 3)
