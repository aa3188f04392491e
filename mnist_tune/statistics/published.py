"""Our runs against published numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mnist_tune.baselines import Baseline
from mnist_tune.statistics.means import (
    Outcome,
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
        outcome: of ours; `unknown` for one seed.
        difference: ours − published, −1 to 1.
        low, high: ends of its 95 % interval; NaN for one seed.
        standard_error: of the difference; NaN for one seed.
        degrees_of_freedom: Welch–Satterthwaite; infinite where all seeds agree.
        p_value: two-sided, 0–1.
        seeds_needed: fewest seeds in all, from 2 on, at which the same mean and spread would be
            distinguishable; None if MOST_SEEDS are not enough, as when the images' share of the
            error alone is too big, or for one seed.
        images_error: half the width of the interval that would be left with infinitely many seeds.
    """

    outcome: Outcome
    difference: float
    low: float
    high: float
    standard_error: float
    degrees_of_freedom: float
    p_value: float
    seeds_needed: int | None
    images_error: float


def against_baseline(values: Values, test_size: int, baseline: Baseline) -> Verdict:
    """Compare the test accuracies of several seeds with a published one.

    SE² = s²/n + p(1−p)/N + p₀(1−p₀)/N₀, and the difference is judged by a t distribution with the
    degrees of freedom of Welch (1947) and Satterthwaite (1946), SE⁴ / ((s²/n)²/(n−1)): the
    binomial terms count as known, with infinite degrees of freedom. Both results come from the
    same test images; without the published predictions no pairing is possible, and to count the
    images twice errs on the careful side.

    `values` are the test accuracies of our seeds, 0–1, each on the same `test_size` images.
    """
    ours = summarise(values)
    difference = ours.mean - baseline.accuracy
    images = _binomial(ours.mean, test_size) + _binomial(baseline.accuracy, baseline.test_size)
    left = quantile(math.inf) * math.sqrt(images)
    if ours.n == 1:
        nan = math.nan
        return Verdict("unknown", difference, nan, nan, nan, nan, nan, None, left)
    error, df = _welch(ours.std, ours.n, images)
    half = _half(error, df)
    return Verdict(
        outcome=_outcome(difference, half),
        difference=difference,
        low=difference - half,
        high=difference + half,
        standard_error=error,
        degrees_of_freedom=df,
        p_value=two_sided(df, difference / error),
        seeds_needed=fewest_seeds(lambda n: abs(difference) > _half(*_welch(ours.std, n, images))),
        images_error=left,
    )


def _binomial(accuracy: float, images: int) -> float:
    """Variance of an accuracy over test sets of so many images."""
    return accuracy * (1 - accuracy) / images


def _welch(std: float, n: int, images: float) -> tuple[float, float]:
    """Standard error and degrees of freedom of a mean over seeds with the images' variance."""
    seeds = std**2 / n
    df = (seeds + images) ** 2 / (seeds**2 / (n - 1)) if seeds > 0 else math.inf
    return math.sqrt(seeds + images), df


def _outcome(difference: float, half: float) -> Outcome:
    if abs(difference) <= half:
        return "not distinguishable"
    return "better" if difference > 0 else "worse"


def _half(error: float, df: float) -> float:
    """Half the width of an interval."""
    return quantile(df) * error
