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
from scipy.special import stdtr, stdtrit  # a fifth of the start-up of scipy.stats

ALPHA = 0.05
MOST_SEEDS = 10_000

Outcome = Literal["better", "worse", "not distinguishable", "unknown"]
Values = Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Summary:
    """Values of several seeds.

    Attributes:
        mean: of the values.
        std: standard deviation with ddof 1; NaN for n = 1.
        n: number of seeds, at least 1.
        low, high: ends of the 95 % interval of the mean; NaN for n = 1.
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


def summarise(values: Values) -> Summary:
    """Mean, standard deviation and t-interval: mean ± t(n−1) · s/√n (Student, 1908)."""
    array = _checked(values)
    n, mean = array.size, float(array.mean())
    if n == 1:
        return Summary(mean, math.nan, n, math.nan, math.nan)
    std = float(array.std(ddof=1))
    half = quantile(n - 1) * std / math.sqrt(n)
    return Summary(mean, std, n, mean - half, mean + half)


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
    """The smallest number of seeds, from 2 on, that settles a question which more never unsettle.

    None if MOST_SEEDS are not enough.
    """
    n = bisect_left(range(MOST_SEEDS + 1), True, lo=2, key=settles)
    return n if n <= MOST_SEEDS else None


def _checked(values: Values) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"no values, or some that are not finite: {values}")
    return array
