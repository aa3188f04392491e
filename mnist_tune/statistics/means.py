"""Means over seeds and their 95 % intervals.

Accuracies and their differences are in 0–1, higher is better; every interval is one of 95 %.
Two kinds of chance are kept apart:

- seeds: other start weights and shuffles give other accuracies on the same images. Its size is the
  standard deviation `s` over seeds, and s²/n shrinks with the number of seeds n.
- images: another test set of N images gives another accuracy to the same network. Its size is the
  binomial p(1−p)/N, which all seeds share, so that no number of seeds shrinks it.

What is unknown is NaN: with one seed there is no spread, hence no interval and no verdict.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, fdtrc, logit, stdtr, stdtrit  # scipy.stats starts in 1.8 s

from mnist_tune.metrics import IntervalScale

ALPHA = 0.05
MOST_PLANNED_SEEDS = 10_000
FEW_SEEDS = 10
"""With fewer seeds than these a configuration's own spread is too uncertain to stand alone."""
LEAST_DEGREES_OF_FREEDOM = 2
"""With one, the t quantile is 12.7: such an interval spans whatever is possible."""

OUTLYING = 0.01
"""Level at which a spread is far wider than the others, and no longer one of theirs."""
SECOND_LOOK_ALPHA = 0.005
"""What a second look must reach, so that two looks together err in at most 6 %.

The verdict of the first look stands at 5 %. Whoever adds seeds until its difference would be clear
looks twice, at a number of seeds that the first look chose. Of an α that is spent over looks (Lan
and DeMets, 1983) the first has had 5 % and the second gets 1 %. If the first look's z stays below
1.96 and the second is taken where its difference would reach the boundary c, the second errs in
∫φ(z)·Φ(−√(c²−z²))dz over |z| < 1.96 (the conditional error of Proschan and Hunsberger, 1995):
0.4 % for 0.005, and 0.2–0.9 % simulated with 2–10 seeds, whose spread is estimated too.
"""

ComparisonOutcome = Literal["better", "worse", "not distinguishable", "unknown"]
Values = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Summary:
    """Values of several seeds.

    Attributes:
        mean: of the values.
        std: standard deviation with ddof 1, of these values alone; NaN for n = 1.
        n: number of seeds, at least 1.
        low, high: ends of the 95 % interval of the mean; NaN where too few seeds tell the spread.
    """

    mean: float
    std: float
    n: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends of a 95 % interval."""

    low: float
    high: float


def summarise(values: Values, scale: IntervalScale = "linear") -> Summary:
    """Mean, standard deviation and t-interval (Student, 1908) of one configuration alone."""
    return summarise_together([values], scale)[0]


def summarise_together(groups: Sequence[Values], scale: IntervalScale = "linear") -> list[Summary]:
    """Summarise the configurations of one study, which lend each other the spread of their seeds.

    The interval is g⁻¹(g(mean) ± t·u/√n): on the scale g of the metric, so that it never leaves the
    values that are possible (logit: 0–1; log: above 0), with u = s·g′(mean), the spread on that
    scale. Where a configuration has fewer than `FEW_SEEDS` seeds, u² is the variance pooled over all
    such configurations, or its own where that is wider, and t has their degrees of freedom together;
    a configuration whose spread is far wider than theirs keeps its own of both (see `ordinary`).

    Args:
        groups: values of all seeds of each configuration; other seeds, and other numbers of them, do.
        scale: on which spreads are alike and intervals symmetric.

    Returns:
        One summary for each, in the same order.
    """
    arrays = [_checked(values) for values in groups]
    means = np.array([array.mean() for array in arrays])
    sizes = np.array([array.size for array in arrays])
    stds = np.array([array.std(ddof=1) if array.size > 1 else math.nan for array in arrays])
    own = (stds * _slope(means, scale)) ** 2
    pooled, dfs = _lent(own, sizes - 1)
    variances = np.fmax(own, pooled)  # a wider one need not be wild to be wider in truth
    centres = _on_scale(means, scale)
    known = (dfs >= LEAST_DEGREES_OF_FREEDOM) & np.isfinite(centres)
    halves = stdtrit(np.where(known, dfs, math.nan), 1 - ALPHA / 2) * np.sqrt(variances / sizes)
    lows, highs = (_back(centres + sign * halves, scale) for sign in (-1, 1))
    rows = zip(means, stds, sizes, lows, highs, strict=True)
    return [Summary(float(m), float(s), int(n), float(a), float(b)) for m, s, n, a, b in rows]


def pooled_spreads(values: NDArray[np.float64], scale: IntervalScale) -> NDArray[np.float64]:
    """Standard deviation over seeds of each configuration, pooled as `summarise_together` does.

    `values` has one row for each configuration. NaN where too few seeds tell it.
    """
    slopes = _slope(values.mean(axis=1), scale)
    own = (values.std(axis=1, ddof=1) * slopes) ** 2
    variances, dfs = _lent(own, np.full(len(values), values.shape[1] - 1))
    return np.where(dfs >= LEAST_DEGREES_OF_FREEDOM, np.sqrt(variances) / slopes, math.nan)


def ordinary(variances: NDArray[np.float64], dfs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of several variances may be pooled: all but those that are far too wide.

    Cochran's test (1941) for one outlying variance, which ISO 5725-2 uses before it pools, from the
    inside to the outside, so that several wild ones do not hide each other: the narrower half is
    taken, then the next wider is compared with all narrower ones together, until one is too wide
    at 1 %, the standard's level, for the largest of so many. It and all wider ones are left out.

    Args:
        variances: of the configurations, each at least 0.
        dfs: their degrees of freedom, each at least 1.
    """
    order = np.argsort(variances, kind="stable")
    inner = np.arange(1, order.size)  # numbers of narrower ones
    sums, counts = np.cumsum((variances * dfs)[order]), np.cumsum(dfs[order])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = variances[order][1:] / (sums / counts)[:-1]
    p_values = (inner + 1) * fdtrc(dfs[order][1:], counts[:-1], np.nan_to_num(ratios, nan=1.0))
    too_wide = (p_values < OUTLYING) & (inner >= -(-order.size // 2))
    found = np.ones(order.size, dtype=bool)
    if too_wide.any():
        found[order[1 + int(np.argmax(too_wide)) :]] = False
    return found


def _lent(
    variances: NDArray[np.float64], dfs: NDArray[np.int_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variance and degrees of freedom of each configuration, pooled where it has few seeds."""
    judged, own = variances.copy(), dfs.astype(float)
    few = own + 1 < FEW_SEEDS
    (measured,) = np.nonzero(few & (own > 0) & np.isfinite(variances))
    wild = np.zeros(few.shape, dtype=bool)
    wild[measured] = ~ordinary(variances[measured], own[measured])
    pool = measured[~wild[measured]]
    if pool.size:
        together = own[pool].sum()
        judged[few & ~wild] = (variances[pool] * own[pool]).sum() / together
        own[few & ~wild] = together
    return judged, own


def _on_scale(values: NDArray[np.float64], scale: IntervalScale) -> NDArray[np.float64]:
    if scale == "linear":
        return values
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(values) if scale == "log" else logit(values))


def _back(values: NDArray[np.float64], scale: IntervalScale) -> NDArray[np.float64]:
    if scale == "linear":
        return values
    return np.asarray(np.exp(values) if scale == "log" else expit(values))


def _slope(values: NDArray[np.float64], scale: IntervalScale) -> NDArray[np.float64]:
    """Derivative of the scale; NaN at the ends of what is possible, where it is infinite."""
    if scale == "linear":
        return np.ones_like(values)
    shares = values if scale == "log" else values * (1 - values)
    return 1 / np.where(shares > 0, shares, math.nan)


def wilson(accuracy: float, total: int) -> Interval:
    """Score interval (Wilson, 1927) of an accuracy, 0–1, measured on so many images in total."""
    if total < 1 or not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy {accuracy} of {total} images")
    z2 = quantile(math.inf) ** 2 / total
    centre = (accuracy + z2 / 2) / (1 + z2)
    half = math.sqrt(z2 * (accuracy * (1 - accuracy) + z2 / 4)) / (1 + z2)
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def quantile(df: float, alpha: float = ALPHA) -> float:
    """Two-sided quantile of Student's t; of the normal distribution for infinite df."""
    return float(stdtrit(df, 1 - alpha / 2))


def two_sided(df: float, t: float) -> float:
    """Two-sided p value of Student's t."""
    return float(2 * stdtr(df, -abs(t)))


def fewest_seeds(settles: Callable[[int], bool]) -> int | None:
    """The smallest number of seeds, from 2 on, that settles what more never unsettle.

    None if MOST_PLANNED_SEEDS are not enough.
    """
    n = bisect_left(range(MOST_PLANNED_SEEDS + 1), True, lo=2, key=settles)
    return n if n <= MOST_PLANNED_SEEDS else None


def _checked(values: Values) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"no values, or some that are not finite: {values}")
    return array
