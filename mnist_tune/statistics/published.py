"""Comparison of runs with a published number, with the uncertainty of both test sets."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mnist_tune.baselines import Baseline
from mnist_tune.statistics.means import (
    ALPHA,
    LEAST_DEGREES_OF_FREEDOM,
    SECOND_LOOK_ALPHA,
    ComparisonOutcome,
    Values,
    fewest_seeds,
    quantile,
    summarise,
    two_sided,
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Our runs against a published accuracy.

    Attributes:
        outcome: of ours; `unknown` for one or two seeds, which do not tell the spread.
        difference: ours − published, −1 to 1.
        low, high: ends of its 95 % interval; NaN where it is unknown.
        standard_error: of the difference; NaN where it is unknown.
        degrees_of_freedom: Welch–Satterthwaite; infinite where all seeds agree.
        p_value: two-sided, 0–1; NaN where it is unknown.
        seeds_needed: a plan: fewest seeds in all, from 2 on, at which the same mean and spread would
            be clear at a second look; None if MOST_PLANNED_SEEDS are not enough, as when what seeds do not
            shrink is too big, or where it is unknown.
        remaining_error: half the width of the interval that would be left with infinitely many
            seeds: of the images and of the published number's own seeds; NaN where it is unknown.
    """

    outcome: ComparisonOutcome
    difference: float
    low: float
    high: float
    standard_error: float
    degrees_of_freedom: float
    p_value: float
    seeds_needed: int | None
    remaining_error: float


def against_baseline(values: Values, test_size: int, baseline: Baseline) -> Verdict:
    """Compare the test accuracies of several seeds with a published one.

    SE² = s²·(1/n + 1/m) + p(1−p)/N + p₀(1−p₀)/N₀. The published number is a mean of m runs with
    seeds of their own, mostly of one; their spread is not published and taken to be that of ours.
    The difference is judged by a t distribution with the degrees of freedom of Welch (1947) and
    Satterthwaite (1946), SE⁴ / ((s²·(1/n + 1/m))²/(n−1)): the binomial terms count as known, with
    infinite degrees of freedom. Both results come from the same test images; without the published
    predictions no pairing is possible, and to count the images twice errs on the careful side.

    `values` are the test accuracies of our seeds, 0–1, each on the same `test_size` images.
    """
    ours = summarise(values)
    difference = ours.mean - baseline.accuracy
    if ours.n - 1 < LEAST_DEGREES_OF_FREEDOM:
        nan = math.nan
        return Verdict("unknown", difference, nan, nan, nan, nan, nan, None, nan)
    images = _binomial(ours.mean, test_size) + _binomial(baseline.accuracy, baseline.test_size)

    def welch(n: int) -> tuple[float, float]:
        return _welch(ours.std**2 * (1 / n + 1 / baseline.runs), n, images)

    def settles(n: int) -> bool:
        return abs(difference) > _half(*welch(n), SECOND_LOOK_ALPHA)

    error, df = welch(ours.n)
    half = _half(error, df)
    return Verdict(
        outcome=_outcome(difference, half),
        difference=difference,
        low=difference - half,
        high=difference + half,
        standard_error=error,
        degrees_of_freedom=df,
        p_value=two_sided(df, difference / error),
        seeds_needed=fewest_seeds(settles),
        remaining_error=quantile(math.inf) * math.sqrt(images + ours.std**2 / baseline.runs),
    )


def _binomial(accuracy: float, images: int) -> float:
    """Variance of an accuracy over test sets of so many images."""
    return accuracy * (1 - accuracy) / images


def _welch(seeds: float, n: int, images: float) -> tuple[float, float]:
    """Standard error and degrees of freedom of the variances of seeds, from n of them, and images."""
    df = (seeds + images) ** 2 / (seeds**2 / (n - 1)) if seeds > 0 else math.inf
    return math.sqrt(seeds + images), df


def _outcome(difference: float, half: float) -> ComparisonOutcome:
    if abs(difference) <= half:
        return "not distinguishable"
    return "better" if difference > 0 else "worse"


def _half(error: float, df: float, alpha: float = ALPHA) -> float:
    """Half the width of an interval."""
    return quantile(df, alpha) * error
