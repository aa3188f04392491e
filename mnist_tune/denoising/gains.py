"""The noise level from which denoising helps, with its interval.

At each level the gain is the accuracy after denoising (mean over autoencoders) minus that without
it, or after the median filter. Between levels it is taken as a straight line. Denoising helps in
the stretch around the level of the largest gain; its ends are where the line crosses 0. Far from
it a line that runs along 0, as it does where nothing can be recognised any more, may cross by
chance, which therefore does not count.

Intervals come from a paired bootstrap (Efron and Tibshirani, 1993): test images are drawn with
replacement, the same ones for all levels and treatments, and so are autoencoders, 2,000 times with
a fixed key; the 95 % interval runs between the percentiles 2.5 and 97.5 of what comes out. With one
autoencoder it knows the chance of test images alone, with few it is a little too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_tune.denoising.measuring import Measured, Right

REPEATS = 2_000
_KEY = 20_260_101
_AT_ONCE = 200  # repeats; their weights of 10,000 images take 8 MB
_SHARE = 0.025  # beyond each end of a 95 % interval


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its 95 % interval.

    Of a level, −inf and inf mean that it lies below or above all levels that were measured.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class HelpfulRange:
    """Where denoising helps against one alternative.

    Attributes:
        against: `noisy` or `median filter`.
        gains: accuracy after denoising − that of the alternative at each level.
        start, stop: first and last level where it helps; where it never does, start is inf and
            stop is −inf.
    """

    against: str
    gains: tuple[Estimate, ...]
    start: Estimate
    stop: Estimate

    @property
    def ever(self) -> bool:
        """Whether there is a level where denoising helps."""
        return self.start.value < math.inf

    @property
    def clear(self) -> bool:
        """Whether at some level it helps by more than chance: its 95 % interval is above 0."""
        return any(gain.low > 0 for gain in self.gains)


def helpful_ranges(measured: Measured) -> tuple[HelpfulRange, HelpfulRange]:
    """Compare denoising with leaving the noise alone, and with the median filter."""
    others = (measured.noisy, measured.filtered)
    right = [measured.denoised.right, *(other.right for other in others)]
    denoised, *rest = (treated.accuracies for treated in (measured.denoised, *others))
    resampled, *drawn = _bootstrap(right)
    first, second = (
        _help(
            measured.levels,
            other.pictures,
            denoised.mean(axis=1) - plain.mean(axis=1),
            resampled - draws,
        )
        for other, plain, draws in zip(others, rest, drawn, strict=True)
    )
    return first, second


def positive_range(levels: Sequence[float], gains: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of the stretch of positive gains around the largest one, interpolated.

    Returns:
        First and last level; −inf and inf where the gains stay positive down to the lowest or up
        to the highest level; (inf, −inf) if no gain is positive.
    """
    best = int(np.argmax(gains))
    if gains[best] <= 0:
        return math.inf, -math.inf
    below = [i for i in range(best) if gains[i] <= 0]
    above = [i for i in range(best + 1, len(gains)) if gains[i] <= 0]
    start = _zero(levels, gains, below[-1], below[-1] + 1) if below else -math.inf
    stop = _zero(levels, gains, above[0], above[0] - 1) if above else math.inf
    return start, stop


def _zero(levels: Sequence[float], gains: NDArray[np.float64], outside: int, inside: int) -> float:
    """Where the line between two neighbouring levels crosses 0."""
    share = -gains[outside] / (gains[inside] - gains[outside])
    return float(levels[outside] + share * (levels[inside] - levels[outside]))


def _help(
    levels: Sequence[float], against: str, gains: NDArray[np.float64], draws: NDArray[np.float64]
) -> HelpfulRange:
    """`gains` [L] were measured; `draws` [repeats, L] come from the bootstrap."""
    start, stop = positive_range(levels, gains)
    starts, stops = np.array([positive_range(levels, row) for row in draws]).T
    return HelpfulRange(
        against=against,
        gains=tuple(_estimate(value, draws[:, i]) for i, value in enumerate(gains)),
        start=_estimate(start, starts),
        stop=_estimate(stop, stops),
    )


def _estimate(value: float, draws: NDArray[np.float64]) -> Estimate:
    # By order alone: a mean of two of them would not be defined next to an infinite one.
    ordered = np.sort(draws)
    last = len(ordered) - 1
    place = math.floor(_SHARE * last)
    return Estimate(float(value), float(ordered[place]), float(ordered[last - place]))


def _bootstrap(right: Sequence[Right]) -> list[NDArray[np.float64]]:
    """Accuracies [repeats, L] of each array of right answers [L, S, n], mean over autoencoders."""
    generator = np.random.default_rng(_KEY)
    size, seeds = right[0].shape[2], right[0].shape[1]
    flat = [np.ascontiguousarray(array.reshape(-1, size).T, np.float32) for array in right]
    drawn: list[list[NDArray[np.float64]]] = [[] for _ in right]
    for _ in range(0, REPEATS, _AT_ONCE):
        images = _counts(generator, size)
        networks = _counts(generator, seeds)
        for array, columns, found in zip(right, flat, drawn, strict=True):
            # Sums of whole numbers below 2²⁴: exact in float32, whatever their order.
            sums = (images @ columns).reshape(_AT_ONCE, *array.shape[:2]).astype(np.float64)
            weights = networks / seeds if array.shape[1] == seeds else np.ones((_AT_ONCE, 1))
            found.append(np.einsum("bls,bs->bl", sums / size, weights))
    return [np.concatenate(found) for found in drawn]


def _counts(generator: np.random.Generator, size: int) -> NDArray[np.float32]:
    """How often each of `size` things is drawn in `size` draws, [repeats, size]."""
    chosen = generator.integers(0, size, (_AT_ONCE, size))
    return np.stack([np.bincount(row, minlength=size) for row in chosen]).astype(np.float32)
