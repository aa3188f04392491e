"""Comparisons of two configurations: paired t, Welch, McNemar, Holm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, fdtrc

from mnist_tune.statistics.means import (
    FEW_SEEDS,
    LEAST_DEGREES_OF_FREEDOM,
    OUTLYING,
    SECOND_LOOK_ALPHA,
    Values,
    fewest_seeds,
    ordinary,
    quantile,
    summarise,
    two_sided,
)

# Accuracies are counts divided by up to 60,000: a smaller spread is rounding, not chance.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two configurations on the same images, seed by seed.

    Attributes:
        difference: mean over seeds of first − second.
        low, high: ends of its 95 % interval, not adjusted for other pairs; NaN if unknown.
        std: of the differences over seeds, as the test takes it; NaN for n = 1.
        n: number of seeds that both have.
        degrees_of_freedom: of `std`; NaN for n = 1.
        p_value: two-sided, 0–1, not adjusted; NaN for n = 1.
        too_few_seeds: whether a difference that is not clear says nothing, since the few seeds do
            not tell the spread, or spread far wider than those of the other configurations.
    """

    difference: float
    low: float
    high: float
    std: float
    n: int
    degrees_of_freedom: float
    p_value: float
    too_few_seeds: bool = False


def paired(first: Values, second: Values) -> Pairing:
    """Compare two configurations seed by seed with the paired t test (Student, 1908).

    `first` and `second` hold one value for each seed, in the same order.
    """
    return against_best(np.array([second, first], dtype=float))[0]


def unpaired(first: Values, second: Values) -> Pairing:
    """Compare two means by the t test for unequal spreads (Welch, 1947).

    `n` of the result is the smaller number of seeds, and `std` that of one difference.
    """
    a, b = summarise(first), summarise(second)
    difference, n = a.mean - b.mean, min(a.n, b.n)
    if n < 2:
        return _unknown(difference, n)
    parts = a.std**2 / a.n, b.std**2 / b.n
    error = math.sqrt(sum(parts))
    if error == 0:
        same = 1.0 if difference == 0 else 0.0
        return Pairing(difference, difference, difference, 0.0, n, math.inf, same)
    # Welch and Satterthwaite's degrees of freedom.
    df = sum(parts) ** 2 / (parts[0] ** 2 / (a.n - 1) + parts[1] ** 2 / (b.n - 1))
    std, few = math.hypot(a.std, b.std), df < LEAST_DEGREES_OF_FREEDOM
    return _judged(difference, error, std, n, df, few)


def against_best(values: NDArray[np.float64]) -> list[Pairing]:
    """Compare each of several configurations with the best of them, seed by seed.

    For two configurations this is the paired t test. With few seeds, two alone say little of their
    spread; therefore it is estimated from the better half of all configurations, as in a block
    design with the seeds as blocks: the residuals that are left when the means of seeds and of
    configurations are taken out have the variance V with (h−1)(n−1) degrees of freedom, and a
    difference of two means has the variance 2V/n. A pair whose own differences spread wider is
    judged by these; where they spread far wider, with their own n−1 degrees of freedom. The worse
    half is left out because trainings that collapse or diverge have spreads of their own, and so is
    what does so in the better half (see `ordinary`). Comparing all with the best, by p values
    adjusted for k−1 comparisons, follows Hsu (1984).

    Both are measured on the same images, so that the answers hold for these images.

    Args:
        values: [k, n], one row for each configuration, best first, one column for each seed.

    Returns:
        Row − best for each of the other k−1 rows.
    """
    if values.ndim != 2 or not values.shape[1] or not np.isfinite(values).all():
        raise ValueError(f"no values, or some that are not finite: {values}")
    better = values[: max(2, math.ceil(len(values) / 2))]
    if values.shape[1] > 1:
        dfs = np.full(len(better), values.shape[1] - 1.0)
        better = better[ordinary(better.var(axis=1, ddof=1), dfs)]
    std, df = _spread(better)
    pairs = len(values) - 1
    return [_pairing(row, values[0], std, df, pairs) for row in values[1:]]


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p values of one family of comparisons (Holm, 1979); NaN stays NaN, uncounted.

    The k-th smallest of m is multiplied by m−k+1; no adjusted value is below a smaller one's.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = highest
    return adjusted


def merged(p_values: Sequence[float]) -> float:
    """One p value from several of the same hypothesis, however they depend on each other.

    Twice the median (Rüger, 1978): all seeds are judged on the same images, so that their tests are
    anything but independent. NaN for none.
    """
    if not p_values:
        return math.nan
    return min(1.0, (2 if len(p_values) > 1 else 1) * float(np.median(p_values)))


def mcnemar(first: NDArray[Any], second: NDArray[Any], labels: NDArray[Any]) -> float:
    """Two-sided mid-p value of the images that only one of two networks gets right (McNemar, 1947).

    If both were equally good, such an image would be a toss of a coin. The mid-p value is nearer to
    the nominal level than the exact one (Fagerland, Lydersen and Laake, 2013). `first` and `second`
    are the predicted classes of each image, `labels` the true ones.
    """
    if not first.shape == second.shape == labels.shape:
        raise ValueError(f"shapes {first.shape}, {second.shape}, {labels.shape} differ")
    only_first = int(np.sum((first == labels) & (second != labels)))
    only_second = int(np.sum((first != labels) & (second == labels)))
    n, fewer = only_first + only_second, min(only_first, only_second)
    at_the_edge = math.comb(n, fewer) / 2**n
    return min(1.0, 2 * float(bdtr(fewer, n, 0.5)) - float(at_the_edge))


def seeds_to_settle(pairing: Pairing, comparisons: int = 1) -> int | None:
    """A plan: fewest seeds in all, from 2 on, at which the same difference and spread would be clear.

    Clear at a second look, which asks for `SECOND_LOOK_ALPHA`. None where nothing can be said, or
    MOST_PLANNED_SEEDS are not enough. `comparisons` is the size of the family: Holm's correction asks at
    most for that level divided by it.
    """
    if not pairing.std > _ROUNDING:
        return None
    per_seed = pairing.degrees_of_freedom / (pairing.n - 1)

    def settles(n: int) -> bool:
        alpha = SECOND_LOOK_ALPHA / comparisons
        half = quantile(per_seed * (n - 1), alpha) * pairing.std / math.sqrt(n)
        return abs(pairing.difference) > half

    return fewest_seeds(settles)


def _spread(values: NDArray[np.float64]) -> tuple[float, float]:
    """Standard deviation of a difference within a block, and its degrees of freedom."""
    df = (values.shape[0] - 1) * (values.shape[1] - 1)
    if df == 0:
        return math.nan, math.nan
    rows, columns = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    residuals = values - rows - columns + values.mean()
    return math.sqrt(2 * float(np.sum(residuals**2)) / df), float(df)


def _pairing(
    row: NDArray[np.float64], best: NDArray[np.float64], std: float, df: float, pairs: int
) -> Pairing:
    differences = row - best
    mean, n = float(differences.mean()), differences.size
    if n == 1:
        return _unknown(mean, n)
    alone = float(differences.std(ddof=1))
    wild = math.isnan(std) or (std > 0 and _far_wider(alone / std, n - 1, df, pairs))
    std, df = (alone, n - 1.0) if wild else (max(std, alone), df)
    few = df < LEAST_DEGREES_OF_FREEDOM or (wild and n < FEW_SEEDS)
    if std > _ROUNDING:
        return _judged(mean, std / math.sqrt(n), std, n, df, few)
    # All differ alike: the spread of the seeds themselves stands in, which errs on the careful side.
    own = math.sqrt(float(row.var(ddof=1) + best.var(ddof=1)))
    if abs(mean) <= _ROUNDING:
        return Pairing(0.0, 0.0, 0.0, 0.0, n, df, 1.0)
    if own > _ROUNDING:
        return _judged(mean, own / math.sqrt(n), own, n, df, few)
    sign_test = 2 * 0.5**n
    return Pairing(mean, math.nan, math.nan, 0.0, n, df, sign_test, few)


def _far_wider(ratio: float, df: float, pooled_df: float, pairs: int) -> bool:
    """Whether the widest of so many pairs would spread so much wider than the pool in 1 %."""
    return pairs * float(fdtrc(df, pooled_df, ratio**2)) < OUTLYING


def _judged(difference: float, error: float, std: float, n: int, df: float, few: bool) -> Pairing:
    """By the t distribution; `error` is the standard error of the difference."""
    half, p_value = quantile(df) * error, two_sided(df, difference / error)
    return Pairing(difference, difference - half, difference + half, std, n, df, p_value, few)


def _unknown(difference: float, n: int) -> Pairing:
    nan = math.nan
    return Pairing(difference, nan, nan, nan, n, nan, nan, too_few_seeds=True)
