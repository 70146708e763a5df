"""How a verdict follows from measured quantities.

A statement of the article says that some quantities lie in a `Region`. Each is measured with an interval, an
`Estimate`; `outcome` says whether they are known to lie inside, known to lie outside, or not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import special

HOLDS, FAILS, OPEN = "holds", "fails", "open"
#: An interval leaves out this share of repetitions.
ALPHA = 0.05
#: Chance to decide that `Estimate.needed` asks for, and the most repeats that it looks at.
POWER, MOST = 0.8, 100_000


@dataclass(frozen=True)
class Region:
    """Where a statement puts a quantity, in the statement's unit.

    Attributes
    ----------
    low, high : float
        Its bounds; infinite where there is none.
    slack : float
        How far outside a quantity may lie and still count as inside. "Never above" allows the margin within which the
        protocol calls two accuracies equal: no sample is large enough to show that a difference is not above 0.
    """

    low: float = -np.inf
    high: float = np.inf
    slack: float = 0.0

    def holds(self, low: float, high: float) -> bool:
        """Tell whether an interval lies inside; one that lies wholly outside does not, however near."""
        return self.low - self.slack <= low and high <= self.high + self.slack and not self.fails(low, high)

    def fails(self, low: float, high: float) -> bool:
        """Tell whether an interval lies outside."""
        return high < self.low or low > self.high


@dataclass(frozen=True)
class Estimate:
    """A measured quantity.

    Attributes
    ----------
    what : str
        Which one of those that a statement speaks of: a task, a size, a method.
    value : float
        In the statement's unit.
    spread : float
        Standard deviation of a repetition; NaN where there was one only.
    repeats : int
        Splits, folds, repeats, targets or draws that the value is a mean over.
    floor : float
        Standard error that more repeats do not take away, since splits of one sample overlap (Nadeau and Bengio).
    exact : bool
        A count, without error.
    extreme_of : int
        Means of which this one is the largest or smallest: its interval is that of one of so many tests.
    resamples : array, optional
        Values from samples drawn again: where there are any, the interval is that of their quantiles.
    """

    what: str
    value: float
    spread: float
    repeats: int
    floor: float = 0.0
    exact: bool = False
    extreme_of: int = 1
    resamples: np.ndarray | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, what: str, values: Sequence[float], overlap: float = 0.0, extreme_of: int = 1) -> Estimate:
        """Return the mean of repetitions; `overlap` is n_test/n_train of splits of the full sample."""
        values = np.asarray(values, float)
        values = values[np.isfinite(values)]
        spread = float(values.std(ddof=1)) if len(values) > 1 else np.nan
        if spread <= 1e-12 * max(1.0, np.abs(values).max(initial=0)):
            spread = np.nan  # differences that are all equal say nothing of how they vary
        mean = float(values.mean()) if len(values) else np.nan
        floor = float(np.nan_to_num(spread) * np.sqrt(overlap))
        return cls(what, mean, spread, len(values), floor, extreme_of=extreme_of)

    def reach(self, level: float, repeats: int | None = None) -> float:
        """How far the value lies from the true one at a level of Student's t, as it is or with more repeats."""
        if self.exact:
            return 0.0
        repeats = repeats or self.repeats
        if not np.isfinite(self.spread) or repeats < 2:
            return np.inf
        return float(special.stdtrit(repeats - 1, level) * np.hypot(self.spread / np.sqrt(repeats), self.floor))

    def interval(self, tests: int = 1) -> tuple[float, float]:
        """Return the 95 % interval, wider for one of several tests (Bonferroni)."""
        tail = ALPHA / 2 / tests / self.extreme_of
        if self.resamples is not None and np.isfinite(self.spread):
            return tuple(map(float, np.quantile(self.resamples, [tail, 1 - tail])))
        half = self.reach(1 - tail)
        return self.value - half, self.value + half

    def outcome(self, region: Region, tests: int = 1) -> str:
        """Say what is known: a statement fails by an interval that stands for all its tests."""
        if not np.isfinite(self.value):
            return OPEN
        if region.fails(*self.interval(tests)):
            return FAILS
        return HOLDS if region.holds(*self.interval()) else OPEN

    def sureness(self, region: Region) -> float:
        """Distance inside the region, in halves of the interval; negative outside."""
        if not np.isfinite(self.value):
            return 0.0
        inside = min(self.value - region.low, region.high - self.value)
        return inside / max(self.reach(1 - ALPHA / 2), 1e-12)

    def needed(self, region: Region) -> float:
        """Repeats that would decide with a power of 80 %, were the value the true one.

        Infinite where no number would, since splits overlap or the value lies on a bound; NaN without a spread.
        """
        if not np.isfinite(self.value) or not np.isfinite(self.spread):
            return np.nan
        if region.fails(self.value, self.value):
            distance = max(region.low - self.value, self.value - region.high)
        else:
            distance = min(self.value - region.low, region.high - self.value) + region.slack
        more = np.unique(np.geomspace(max(self.repeats, 2), MOST, 400).astype(int)).tolist()
        enough = (k for k in more if self.reach(1 - ALPHA / 2, k) + self.reach(POWER, k) <= distance)
        return float(next(enough, np.inf))


def outcome(estimates: Sequence[Estimate], region: Region, share: float = 1.0) -> str:
    """Say what is known of a statement about several quantities.

    Parameters
    ----------
    estimates : sequence of Estimate
    region : Region
        Where each of them should be.
    share : float
        How many of them the statement speaks of: 1 for all; 0.5 for most, which is more than half.

    Returns
    -------
    str
        It holds when that share is known to lie inside, each at 95 %; it fails when more than the rest is known to
        lie outside. To fail "all", one is enough, hence intervals for as many tests as there are quantities.
    """
    if not estimates:
        return OPEN
    tests = len(estimates) if share == 1 else 1
    found = [estimate.outcome(region, tests) for estimate in estimates]
    held, failed = found.count(HOLDS) / len(found), found.count(FAILS) / len(found)
    if failed > 1 - share:
        return FAILS
    return HOLDS if (held > share if share < 1 else held == 1) else OPEN


def weakest(estimates: Sequence[Estimate], region: Region, share: float = 1.0) -> Estimate:
    """Return the quantity that the statement hangs on: of those that it needs, the one least surely inside."""
    order = sorted(estimates, key=lambda estimate: estimate.sureness(region))
    return order[min(int((1 - share) * len(order)), len(order) - 1)]
