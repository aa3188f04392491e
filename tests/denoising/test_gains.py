"""Where denoising starts and stops helping, by hand and by simulation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_tune.denoising.gains import HelpfulRange, helpful_ranges, positive_range
from mnist_tune.denoising.measuring import Measured, Treated, Treatment
from mnist_tune.noise import ImageErrors

LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
ANY = ImageErrors(0.1, 0.1, 10.0)


def treated(
    pictures: Treatment, accuracies: NDArray[np.float64], images: int, seed: int
) -> Treated:
    """Right answers drawn with probabilities [L, S]."""
    draw = np.random.default_rng(seed).random((*accuracies.shape, images))
    errors = tuple((ANY,) * accuracies.shape[1] for _ in accuracies)
    return Treated(pictures, draw < accuracies[:, :, np.newaxis], errors)


def measured(
    noisy: list[float],
    denoised: list[list[float]],
    filtered: list[float] | None = None,
    images: int = 10_000,
    seed: int = 0,
) -> Measured:
    plain, other = np.array(noisy), np.array(filtered or noisy)
    return Measured(
        levels=LEVELS[: len(plain)],
        labels=np.zeros(images, np.uint8),
        seeds=tuple(range(len(denoised[0]))),
        noisy=treated("noisy", plain[:, np.newaxis], images, 3 * seed),
        denoised=treated("denoised", np.array(denoised), images, 3 * seed + 1),
        filtered=treated("median filter", other[:, np.newaxis], images, 3 * seed + 2),
    )


@pytest.mark.parametrize(
    ("gains", "start", "stop"),
    [
        ((-1, 1, 1, 1, -3), 0.125, 0.8125),
        ((-3, 1, 2, 1, 0), 0.1875, 1.0),
        ((0, 1, 2, 1, 1), 0.0, math.inf),
        ((1, 2, 1, -1, -2), -math.inf, 0.625),
        ((-1, -2, 2, -2, -1), 0.375, 0.625),
        ((1, 1, 1, 1, 1), -math.inf, math.inf),
        ((-1, -1, 0, -1, -1), math.inf, -math.inf),
    ],
)
def test_a_stretch_ends_where_the_line_crosses_zero(
    gains: tuple[float, ...], start: float, stop: float
) -> None:
    assert positive_range(LEVELS, np.array(gains, float)) == pytest.approx((start, stop))


def test_a_crossing_far_from_the_largest_gain_does_not_count() -> None:
    noisy_start = np.array([0.001, -1, 3, 1, 1], float)
    assert positive_range(LEVELS, noisy_start) == pytest.approx((0.3125, math.inf))
    noisy_end = np.array([-1, 3, 1, -0.002, 0.001], float)
    assert positive_range(LEVELS, noisy_end)[1] == pytest.approx(0.75 - 0.25 * 0.002 / 1.002)


def compared(seed: int = 0) -> HelpfulRange:
    """True gains −0.1, +0.1, +0.2, +0.1, −0.1: from 0.125 to 0.875."""
    denoised = [[0.8], [0.8], [0.7], [0.5], [0.2]]
    return helpful_ranges(measured([0.9, 0.7, 0.5, 0.4, 0.3], denoised, images=1_000, seed=seed))[0]


def test_the_95_percent_intervals_hold_the_truth_about_that_often() -> None:
    found = [compared(seed) for seed in range(60)]
    starts = sum(entry.start.low <= 0.125 <= entry.start.high for entry in found)
    stops = sum(entry.stop.low <= 0.875 <= entry.stop.high for entry in found)
    gains = sum(entry.gains[2].low <= 0.2 <= entry.gains[2].high for entry in found)
    assert min(starts, stops, gains) >= 52
    assert starts + stops + gains < 180  # an interval that always holds it is too wide
    assert all(entry.clear for entry in found)


def test_equal_measurements_give_equal_intervals() -> None:
    assert compared() == compared()


def test_more_images_make_the_interval_narrower() -> None:
    denoised = [[0.8], [0.8], [0.7], [0.5], [0.2]]
    few, many = (
        helpful_ranges(measured([0.9, 0.7, 0.5, 0.4, 0.3], denoised, images=n))[0].gains[2]
        for n in (500, 8_000)
    )
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(4, rel=0.15)


def test_pairing_takes_out_what_both_share() -> None:
    """The same images right or wrong in both: the gain is sure, though accuracies are not."""
    found = measured([0.5, 0.5], [[0.5], [0.5]])
    same = Treated("denoised", found.noisy.right, found.denoised.errors)
    gain = helpful_ranges(replace(found, denoised=same))[0].gains[0]
    assert (gain.low, gain.high) == (0, 0)


def test_autoencoders_that_differ_widen_the_interval() -> None:
    alike, different = (
        helpful_ranges(measured([0.5, 0.5], [list(row), list(row)]))[0].gains[0]
        for row in ((0.6, 0.6, 0.6), (0.5, 0.6, 0.7))
    )
    assert different.high - different.low > 3 * (alike.high - alike.low)


def test_a_stretch_that_reaches_beyond_the_levels_says_so() -> None:
    found = helpful_ranges(measured([0.5, 0.4], [[0.8], [0.8]]))[0]
    assert (found.start.value, found.stop.value) == (-math.inf, math.inf)
    assert (found.start.high, found.stop.low) == (-math.inf, math.inf)


def test_denoising_that_never_helps_is_not_clear() -> None:
    found = helpful_ranges(measured([0.9, 0.5], [[0.8], [0.4]]))[0]
    assert not found.clear
    assert not found.ever


def test_the_median_filter_is_compared_too() -> None:
    noisy, median = helpful_ranges(measured([0.9, 0.2], [[0.8], [0.5]], [0.7, 0.6]))
    assert (noisy.against, median.against) == ("noisy", "median filter")
    assert noisy.gains[0].value < 0 < noisy.gains[1].value
    assert median.gains[0].value > 0 > median.gains[1].value
