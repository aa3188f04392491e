"""Two configurations whose seeds do not match, and p values of tests that are not independent."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mnist_tune.statistics.means import (
    LEAST_DEGREES_OF_FREEDOM,
    Values,
    quantile,
    summarise,
    two_sided,
)
from mnist_tune.statistics.pairs import Pairing


def unpaired(first: Values, second: Values) -> Pairing:
    """Compare two means by the t test for unequal spreads (Welch, 1947).

    `n` of the result is the smaller number of seeds, and `std` that of one difference.
    """
    a, b = summarise(first), summarise(second)
    difference, n = a.mean - b.mean, min(a.n, b.n)
    if n < 2:
        return Pairing(difference, math.nan, math.nan, math.nan, n, math.nan, math.nan, True)
    parts = a.std**2 / a.n, b.std**2 / b.n
    error = math.sqrt(sum(parts))
    if error == 0:
        same = 1.0 if difference == 0 else 0.0
        return Pairing(difference, difference, difference, 0.0, n, math.inf, same)
    # Welch and Satterthwaite's degrees of freedom.
    df = sum(parts) ** 2 / (parts[0] ** 2 / (a.n - 1) + parts[1] ** 2 / (b.n - 1))
    half = quantile(df) * error
    return Pairing(
        difference,
        difference - half,
        difference + half,
        math.hypot(a.std, b.std),
        n,
        df,
        two_sided(df, difference / error),
        df < LEAST_DEGREES_OF_FREEDOM,
    )


def merged(p_values: Sequence[float]) -> float:
    """One p value from several of the same hypothesis, however they depend on each other.

    Twice the median (Rüger, 1978): all seeds are judged on the same images, so that their tests are
    anything but independent. NaN for none.
    """
    if not p_values:
        return math.nan
    return min(1.0, (2 if len(p_values) > 1 else 1) * float(np.median(p_values)))
