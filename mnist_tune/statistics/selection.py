"""Selection bias: how much the best of several configurations overstates itself."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mnist_tune.metrics import IntervalScale
from mnist_tune.statistics.means import pooled_spreads

_DRAWS = 2_000_000  # residuals, at most about this many, whatever the number of configurations
_RESAMPLES = 500
_SEED = 20_261_129  # the same numbers give the same estimate


def optimism(values: NDArray[np.float64], scale: IntervalScale = "linear", sign: int = 1) -> float:
    """How much better the best mean over seeds is than what it would be with new seeds.

    The seeds are resampled: each configuration gets n residuals, drawn from those of all that could
    be the best and scaled to its spread, on top of what its mean probably is; the best of these is
    chosen, and what it has above its own is averaged (the bootstrap of Efron, 1979, with a choice
    in it, as in Efron, 2014). What a mean probably is: drawn towards the others that could be the
    best as far as their spread is no wider than the seeds make it (James and Stein, 1961); else the
    means' own chance would be counted as differences, and the estimate √2 times too small.

    Args:
        values: [k, n], one row for each configuration, one column for each seed.
        scale: on which spreads are alike, see `summarise_together`.
        sign: 1 where higher is better, else −1.

    Returns:
        At least 0, in units of the values; NaN where too few seeds tell the spread.
    """
    k, n = values.shape
    if k < 2:
        return 0.0 if k else math.nan
    if n < 2:
        return math.nan
    means = values.mean(axis=1)
    spreads = _spreads(values, scale)
    leader = int(np.argmax(sign * means))
    if math.isnan(pooled_spreads(values, scale)[leader]):
        return math.nan
    # Whoever is further behind than five standard errors of the difference will not be chosen.
    behind = sign * (means[leader] - means)
    rivals = values[behind <= 5 * np.hypot(spreads, spreads[leader]) / math.sqrt(n)]
    return _resampled(sign * rivals, _spreads(rivals, scale), k)


def _spreads(values: NDArray[np.float64], scale: IntervalScale) -> NDArray[np.float64]:
    """Pooled where that is known, else each its own."""
    pooled = pooled_spreads(values, scale)
    return np.where(np.isnan(pooled), values.std(axis=1, ddof=1), pooled)


def _resampled(
    values: NDArray[np.float64], spreads: NDArray[np.float64], configurations: int
) -> float:
    k, n = values.shape
    if k < 2 or not (spreads > 0).any():
        return 0.0
    means = values.mean(axis=1)
    likely = _shrunk(means, spreads / math.sqrt(n))
    residuals = _residuals(values, means, spreads)
    random = np.random.default_rng([_SEED, configurations, n])
    times = int(np.clip(_DRAWS // (k * n), 50, _RESAMPLES))
    found = np.empty(times)
    for i in range(times):
        drawn = residuals[random.integers(residuals.size, size=(k, n))].mean(axis=1) * spreads
        found[i] = drawn[np.argmax(likely + drawn)]
    return max(0.0, float(found.mean()))


def _residuals(
    values: NDArray[np.float64], means: NDArray[np.float64], spreads: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of all seeds, with mean 0 and variance 1."""
    some = spreads > 0
    residuals = ((values - means[:, None])[some] / spreads[some, None]).ravel()
    size = math.sqrt(float(np.mean(residuals**2)))
    return residuals / size if size > 0 else residuals


def _shrunk(means: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The means drawn towards their mean, as far as their own errors explain their spread."""
    centre = means.mean()
    spread = float(np.sum((means - centre) ** 2)) / (means.size - 1)
    noise = float(np.mean(errors**2))
    kept = max(0.0, 1 - noise / spread) if spread > 0 else 0.0
    return np.asarray(centre + kept * (means - centre))
