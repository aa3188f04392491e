"""Tables of `denoise`: accuracy and image quality by noise level, gain from denoising, digits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mnist_tune.denoising.gains import Estimate, HelpfulRange
from mnist_tune.denoising.measuring import Measured, Treated
from mnist_tune.networks import CLASSES
from mnist_tune.reports import formatting
from mnist_tune.reports.columns import Column, Table, reader_column
from mnist_tune.statistics.means import Summary, summarise

_DECIBELS = partial(formatting.mean_and_std, scale=1)
_PERCENT = partial(formatting.fixed, scale=100)
_LEVEL = reader_column("noise", "0.0", "{:g}".format)


def tables(measured: Measured, ranges: Sequence[HelpfulRange]) -> tuple[Table, ...]:
    """All tables in reading order."""
    return (
        noise_table(measured),
        help_table(measured, ranges),
        gains_table(measured, ranges),
        digits_table(measured),
        autoencoders_table(measured),
    )


def noise_table(measured: Measured) -> Table:
    """Accuracy and errors against the level of the noise; readers get a row for each level."""
    rows = [
        (level, treated.pictures, *_summaries(treated, i))
        for i, level in enumerate(measured.levels)
        for treated in measured.treatments
    ]
    wide = [
        reader_column(f"{treated.pictures}, {unit}", f"{place}.{part}", write)
        for unit, part, write in (
            ("% right", "2", formatting.mean_and_std),
            ("PSNR dB", "3", _DECIBELS),
        )
        for place, treated in enumerate(measured.treatments)
    ]
    columns = (
        Column("level", "0"),
        Column("pictures", "1", "str"),
        Column("n_seeds", "2.n", "int64"),
        Column("accuracy", "2.mean"),
        Column("accuracy_std", "2.std"),
        Column("loss", "4"),
        Column("mse", "5"),
        Column("psnr", "3.mean"),
        Column("psnr_std", "3.std"),
    )
    caption = (
        "Share of test digits that the classifier recognises, and PSNR, against the level of the "
        "noise; mean ± standard deviation over autoencoders."
    )
    return Table("noise", rows, columns, caption, _grouped(rows, 3, [_LEVEL, *wide]))


def help_table(measured: Measured, ranges: Sequence[HelpfulRange]) -> Table:
    """From which level to which denoising helps; an end outside all levels is missing."""
    parts = {"": "value", "_low": "low", "_high": "high"}
    ends = [
        Column(f"{end}{suffix}", partial(_finite, end=end, part=part))
        for end in ("start", "stop")
        for suffix, part in parts.items()
    ]
    columns = (
        Column("against", dtype="str", heading="against", align="left"),
        *ends,
        reader_column("helps from", lambda row: end_text(row, row.start, measured.levels)),
        reader_column("to", lambda row: end_text(row, row.stop, measured.levels)),
    )
    caption = (
        "Noise levels from which and up to which more digits are recognised after denoising, on a "
        "straight line between the levels measured, with 95 % intervals; a level is missing where "
        "it lies outside them. At level 1 nothing is left of a digit: differences there are between ways of guessing."
    )
    return Table("help", ranges, columns, caption)


def gains_table(measured: Measured, ranges: Sequence[HelpfulRange]) -> Table:
    """What denoising gains at each level; readers get a row for each level."""
    rows = [
        (level, entry.against, entry.gains[i])
        for i, level in enumerate(measured.levels)
        for entry in ranges
    ]
    wide = [
        reader_column(f"against {entry.against}, points", f"{place}.2", gain_text)
        for place, entry in enumerate(ranges)
    ]
    columns = (
        Column("level", "0"),
        Column("against", "1", "str"),
        Column("gain", "2.value"),
        Column("low", "2.low"),
        Column("high", "2.high"),
    )
    caption = (
        "Accuracy after denoising minus that of the noisy and of the median-filtered images, in "
        "percentage points with 95 % intervals."
    )
    return Table("gains", rows, columns, caption, _grouped(rows, len(ranges), [_LEVEL, *wide]))


def digits_table(measured: Measured) -> Table:
    """True-positive rate of each digit; readers get a row for each level and treatment."""
    digits = range(CLASSES)
    counts = np.bincount(measured.labels, minlength=CLASSES).tolist()
    rates = {
        (treated.pictures, digit): treated.rates(measured.labels, digit)
        for treated in measured.treatments
        for digit in digits
    }
    rows = [
        (level, treated.pictures, digit, counts[digit], rates[treated.pictures, digit][i])
        for i, level in enumerate(measured.levels)
        for treated in measured.treatments
        for digit in digits
    ]
    columns = (
        Column("level", "0"),
        Column("pictures", "1", "str"),
        Column("digit", "2", "int64"),
        Column("images", "3", "int64"),
        Column("n_seeds", "4.size", "int64"),
        Column("rate", lambda row: float(row[4].mean())),
        Column("rate_std", lambda row: std(row[4])),
    )
    readable = [_LEVEL, reader_column("images", "0.1", align="left")]
    readable += [reader_column(str(digit), f"{digit}.4", _mean_percent) for digit in digits]
    caption = (
        "True-positive rate in % of each digit against the level of the noise, mean over "
        "autoencoders."
    )
    return Table("digits", rows, columns, caption, _grouped(rows, CLASSES, readable))


def autoencoders_table(measured: Measured) -> Table:
    """Every autoencoder by itself."""
    treated = measured.denoised
    rows = [
        (level, seed, float(treated.accuracies[i, s]), treated.errors[i][s])
        for i, level in enumerate(measured.levels)
        for s, seed in enumerate(measured.seeds)
    ]
    columns = (
        Column("level", "0", heading="noise", write="{:g}".format),
        Column("seed", "1", "int64", "seed"),
        Column("accuracy", "2", heading="% right", write=_PERCENT),
        Column("loss", "3.loss"),
        Column("mse", "3.mse"),
        Column("psnr", "3.psnr", heading="PSNR dB", write=formatting.fixed),
    )
    return Table("seeds", rows, columns, "Denoised images, autoencoder by autoencoder.")


def _summaries(treated: Treated, level: int) -> tuple[Summary, Summary | None, float, float]:
    """Accuracy, PSNR, loss and mean squared error over autoencoders."""
    psnr, errors = treated.psnr(level), treated.errors[level]
    return (
        summarise(list(treated.accuracies[level])),
        None if np.isnan(psnr).any() else summarise(list(psnr)),
        float(np.mean([error.loss for error in errors])),
        float(np.mean([error.mse for error in errors])),
    )


def _mean_percent(shares: NDArray[np.float64]) -> str:
    return _PERCENT(shares.mean())


def _grouped(rows: Sequence[object], size: int, columns: Sequence[Column]) -> Table:
    """A row for readers of each so many rows."""
    return Table("", list(zip(*[iter(rows)] * size, strict=True)), columns)


def std(values: NDArray[np.float64]) -> float:
    """Standard deviation with ddof 1; NaN for one value."""
    return float(values.std(ddof=1)) if values.size > 1 else math.nan


def gain_text(gain: Estimate) -> str:
    """In points, such as `+5.25 (+5.01 to +5.50)`."""
    interval = formatting.difference_interval(gain.low, gain.high)
    return f"{formatting.signed_difference(gain.value)} ({interval})"


def end_text(helped: HelpfulRange, level: Estimate, levels: Sequence[float]) -> str:
    """An end with its interval, such as `0.130 (0.121–0.142)`; `≤ 0` where it lies below all."""
    if not helped.ever:
        return "never"
    value, low, high = (_level(part, levels) for part in (level.value, level.low, level.high))
    return value if value == low == high else f"{value} ({low}–{high})"


def _level(level: float, levels: Sequence[float]) -> str:
    if level == -math.inf:
        return f"≤ {levels[0]:g}"
    return f"≥ {levels[-1]:g}" if level == math.inf else f"{level:.3f}"


def _finite(row: HelpfulRange, end: str, part: str) -> float | None:
    level = getattr(getattr(row, end), part)
    return level if math.isfinite(level) else None
