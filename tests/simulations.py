"""What the statistics come to where the truth is known: `python -m tests.simulations` prints tables.

`docs/statistics.md` shows them; `tests/test_statistics.py` holds the program to them. What is called
before is the rule that stood there first and is here for comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from mnist_tune.baselines import BASELINES
from mnist_tune.statistics.means import (
    ALPHA,
    SECOND_LOOK_ALPHA,
    Interval,
    fewest_seeds,
    quantile,
    summarise_together,
)
from mnist_tune.statistics.pairs import paired, seeds_to_settle
from mnist_tune.statistics.published import against_baseline
from mnist_tune.statistics.selection import optimism

HINTON = BASELINES["hinton-500-300"]
IMAGES = 10_000
MOST_RUNS = 2_000  # a plan for more is not followed

Seeds = Literal["equal", "unequal", "skewed", "by accuracy"]


def coverage(kind: Seeds, k: int, n: int, cases: int) -> tuple[float, float, float]:
    """Share of 95 % intervals of a mean that hold the truth, in %: each alone, pooled; and unknown.

    Args:
        kind: how the seeds of k configurations around 98 % spread, by 0.1 points: all `equal`,
            `unequal` by a factor of about 1.5, `skewed` downwards as real ones are, or from 86 to
            98.4 %, in proportion to √(p(1−p)).
        k: configurations.
        n: seeds.
        cases: studies.
    """
    random = np.random.default_rng(11)
    alone, pooled = list[bool](), list[bool]()
    for _ in range(cases):
        truth, values = _study(kind, k, n, random)
        for mean, row, summary in zip(
            truth, values, summarise_together(list(values), "logit"), strict=True
        ):
            own = _alone(row)
            alone.append(own.low <= mean <= own.high)
            if not math.isnan(summary.low):
                pooled.append(summary.low <= mean <= summary.high)
    return _percent(alone), _percent(pooled), 100 - 100 * len(pooled) / len(alone)


def wild(k: int, n: int, cases: int) -> tuple[float, float]:
    """Of one configuration that spreads 20 times as wide as k−1 others, in %: unknown, or covered."""
    random = np.random.default_rng(12)
    covered = []
    for _ in range(cases):
        _, values = _study("equal", k, n, random)
        values[0] = np.minimum(0.9 + 0.02 * random.normal(size=n), 1 - 1e-4)
        summary = summarise_together(list(values), "logit")[0]
        covered.append(math.isnan(summary.low) or summary.low <= 0.9 <= summary.high)
    intervals_alone = []
    for _ in range(cases):
        own = _alone(0.9 + 0.02 * random.normal(size=n))
        intervals_alone.append(own.low <= 0.9 <= own.high)
    return _percent(intervals_alone), _percent(covered)


def verdict_errors(spread: float, n: int, cases: int) -> tuple[float, float]:
    """How often an equal network is called better or worse than a published run, in %.

    Before: without the published run's own seed. `spread` of the seeds is in 0–1.
    """
    random, truth = np.random.default_rng(13), HINTON.accuracy
    before, after = list[bool](), list[bool]()
    for _ in range(cases):
        images = random.binomial(IMAGES, truth, 2) / IMAGES
        ours = images[0] + random.normal(0, spread, n)
        published = replace(HINTON, accuracy=float(images[1] + random.normal(0, spread)))
        for errors, runs in ((before, 10**9), (after, 1)):
            found = against_baseline(ours, IMAGES, replace(published, runs=runs)).outcome
            errors.append(found in ("better", "worse"))
    return _percent(before), _percent(after)


def plan_followed(n: int, cases: int) -> tuple[float, float, float]:
    """How often two equal configurations are called different, in %, by whom adds planned seeds.

    At the first look; before, at 5 % each time until settled; with a second look at its own level.
    """
    random = np.random.default_rng(14)
    first, before, after = list[bool](), list[bool](), list[bool]()
    for _ in range(cases):
        differences = random.normal(0, 1, MOST_RUNS)
        first.append(_clear(differences[:n], ALPHA))
        before.append(_followed(differences, n, ALPHA, looks=100))
        after.append(_followed(differences, n, SECOND_LOOK_ALPHA, looks=2))
    return _percent(first), _percent(before), _percent(after)


def optimism_of_equals(k: int, n: int, cases: int, spread: float = 0.004) -> tuple[float, float]:
    """By how many points the best of k equal configurations looks too good, and its estimate."""
    random, truth = np.random.default_rng(15), 0.97
    real, estimated = list[float](), list[float]()
    for _ in range(cases):
        values = truth + random.normal(0, spread, (k, n))
        real.append(float(values.mean(axis=1).max()) - truth)
        estimated.append(optimism(values, "logit"))
    return 100 * float(np.mean(real)), 100 * float(np.nanmean(estimated))


def _study(
    kind: Seeds, k: int, n: int, random: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """True means, and values of all seeds."""
    truth = random.uniform(0.975, 0.985, k)
    if kind == "by accuracy":
        truth = np.linspace(0.86, 0.984, k)
    spreads = {
        "unequal": 0.001 * np.exp(random.normal(0, 0.4, k)),
        "by accuracy": 0.008 * np.sqrt(truth * (1 - truth)),
    }.get(kind, np.full(k, 0.001))
    noise = random.normal(size=(k, n))
    if kind == "skewed":
        noise = (2 - random.gamma(2, 1, (k, n))) / math.sqrt(2)
    return truth, truth[:, None] + spreads[:, None] * noise


def _alone(values: NDArray[np.float64]) -> Interval:
    """The t-interval of one configuration by itself."""
    n, mean = values.size, float(values.mean())
    half = float(stdtrit(n - 1, 1 - ALPHA / 2) * values.std(ddof=1)) / math.sqrt(n)
    return Interval(mean - half, mean + half)


def _followed(differences: NDArray[np.float64], n: int, alpha: float, looks: int) -> bool:
    """Look at n seeds, then at as many as are planned, until clear, hopeless or out of looks."""
    if _clear(differences[:n], ALPHA):
        return True
    for _ in range(looks - 1):
        planned = _planned(differences[:n], alpha)
        if planned is None or planned > MOST_RUNS:
            return False
        n = max(n + 1, planned)
        if _clear(differences[:n], alpha):
            return True
    return False


def _planned(differences: NDArray[np.float64], alpha: float) -> int | None:
    """The program's plan, or what it was before, at another level."""
    pairing = paired(differences, np.zeros(differences.size))
    if alpha == SECOND_LOOK_ALPHA:
        return seeds_to_settle(pairing)
    return fewest_seeds(
        lambda n: abs(pairing.difference) > quantile(n - 1, alpha) * pairing.std / math.sqrt(n)
    )


def _clear(differences: NDArray[np.float64], alpha: float) -> bool:
    return paired(differences, np.zeros(differences.size)).p_value < alpha


def _percent(hits: Sequence[bool]) -> float:
    return 100 * sum(hits) / len(hits) if hits else math.nan


def _table(title: str, heads: str, rows: Callable[[], list[tuple[object, ...]]]) -> None:
    print(f"\n{title}\n\n| {heads.replace(', ', ' | ')} |\n|{'---|' * len(heads.split(', '))}")
    for row in rows():
        cells = (f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row)
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Print all tables as Markdown."""
    kinds: tuple[Seeds, ...] = ("equal", "unequal", "skewed", "by accuracy")
    _table(
        "Coverage of 95 % intervals of a mean, %",
        "spread, configurations, seeds, before, after, unknown",
        lambda: [
            (kind, k, n, *coverage(kind, k, n, 8_000 // k))
            for kind in kinds
            for k in (1, 5, 12)
            for n in (2, 3, 5)
            if k > 1 or kind == "equal"
        ],
    )
    _table(
        "One wild configuration: covered or left unknown, %",
        "configurations, seeds, before, after",
        lambda: [(k, n, *wild(k, n, 1_500)) for k in (5, 12) for n in (2, 3, 5)],
    )
    _table(
        "A difference from an equal published run claimed, %",
        "spread in points, seeds, before, after",
        lambda: [
            (f"{100 * spread:.2f}", n, *verdict_errors(spread, n, 4_000))
            for spread in (0.0005, 0.0015, 0.003)
            for n in (3, 5, 10)
        ],
    )
    _table(
        "A difference between equals claimed by whom follows the plan, %",
        "first seeds, first look, before: until settled, after: two looks",
        lambda: [(n, *plan_followed(n, 6_000)) for n in (2, 3, 5, 10)],
    )
    _table(
        "Optimism of the best of equal configurations, hundredths of a point (spread 0.4 points)",
        "configurations, seeds, true, estimated",
        lambda: [
            (k, n, *(100 * v for v in optimism_of_equals(k, n, 200)))
            for k in (5, 20, 100)
            for n in (2, 3, 5)
        ],
    )


if __name__ == "__main__":
    main()
