"""The tables of `denoise`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mnist_tune.data.idx import Bytes
from mnist_tune.denoising.gains import Estimate, HelpfulRange
from mnist_tune.denoising.measuring import Measured, Treated
from mnist_tune.networks import CLASSES
from mnist_tune.reports import formatting
from mnist_tune.reports.columns import Column, Table, reader_column
from mnist_tune.statistics.means import Summary, summarise

_DECIBELS = partial(formatting.mean_and_std, scale=1)
_PERCENT = partial(formatting.fixed, scale=100)
_LEVEL = reader_column("noise", "0.level", "{:g}".format)


@dataclass(frozen=True, slots=True)
class _Treatment:
    """One treatment at one level."""

    level: float
    pictures: str
    accuracy: Summary
    loss: float
    mse: float
    psnr: Summary | None


@dataclass(frozen=True, slots=True)
class _Gain:
    """What denoising gains at one level."""

    level: float
    against: str
    gain: Estimate


@dataclass(frozen=True, slots=True)
class _Digit:
    """Mean true-positive rate of one digit over n_seeds autoencoders."""

    level: float
    pictures: str
    digit: int
    images: int
    n_seeds: int
    rate: float
    rate_std: float


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
        _treatment(treated, level, i)
        for i, level in enumerate(measured.levels)
        for treated in measured.treatments
    ]
    names = [treated.pictures for treated in measured.treatments]
    wide = [
        reader_column(f"{pictures}, {unit}", f"{place}.{name}", write)
        for unit, name, write in (
            ("% right", "accuracy", formatting.mean_and_std),
            ("PSNR dB", "psnr", _DECIBELS),
        )
        for place, pictures in enumerate(names)
    ]
    columns = (
        Column("level"),
        Column("pictures", dtype="str"),
        Column("n_seeds", "accuracy.n", "int64"),
        Column("accuracy", "accuracy.mean"),
        Column("accuracy_std", "accuracy.std"),
        Column("loss"),
        Column("mse"),
        Column("psnr", "psnr.mean"),
        Column("psnr_std", "psnr.std"),
    )
    caption = (
        "Share of test digits that the classifier recognises, and PSNR, against the level of the "
        "noise; mean ± standard deviation over autoencoders."
    )
    return Table("noise", rows, columns, caption, _wide(rows, len(names), [_LEVEL, *wide]))


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
        _Gain(level, entry.against, entry.gains[i])
        for i, level in enumerate(measured.levels)
        for entry in ranges
    ]
    wide = [
        reader_column(f"against {entry.against}, points", f"{place}.gain", gain_text)
        for place, entry in enumerate(ranges)
    ]
    columns = (
        Column("level"),
        Column("against", dtype="str"),
        *(Column(name, f"gain.{part}") for name, part in _GAIN.items()),
    )
    caption = (
        "Accuracy after denoising minus that of the noisy and of the median-filtered images, in "
        "percentage points with 95 % intervals."
    )
    return Table("gains", rows, columns, caption, _wide(rows, len(ranges), [_LEVEL, *wide]))


_GAIN = {"gain": "value", "low": "low", "high": "high"}


def digits_table(measured: Measured) -> Table:
    """True-positive rate of each digit; readers get a row for each level and treatment."""
    digits = range(CLASSES)
    counts = np.bincount(measured.labels, minlength=CLASSES)
    rates = {
        (treated.pictures, digit): true_positive_rates(treated, measured.labels, digit)
        for treated in measured.treatments
        for digit in digits
    }
    rows = [
        _Digit(
            level,
            treated.pictures,
            digit,
            int(counts[digit]),
            own.size,
            float(own.mean()),
            std(own),
        )
        for i, level in enumerate(measured.levels)
        for treated in measured.treatments
        for digit in digits
        for own in (rates[treated.pictures, digit][i],)
    ]
    wide = [reader_column(str(digit), f"{digit}.rate", _PERCENT) for digit in digits]
    readable = [_LEVEL, reader_column("images", "0.pictures", align="left"), *wide]
    types = {
        "level": "float64",
        "pictures": "str",
        "digit": "int64",
        "images": "int64",
        "n_seeds": "int64",
    }
    columns = [Column(name, dtype=dtype) for name, dtype in types.items()]
    columns += [Column("rate"), Column("rate_std")]
    caption = "True-positive rate in % of each digit against the level of the noise, mean over autoencoders."
    return Table("digits", rows, columns, caption, _wide(rows, CLASSES, readable))


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


def _treatment(treated: Treated, level: float, i: int) -> _Treatment:
    psnr, errors = treated.psnr(i), treated.errors[i]
    return _Treatment(
        level=level,
        pictures=treated.pictures,
        accuracy=summarise(list(treated.accuracies[i])),
        loss=float(np.mean([e.loss for e in errors])),
        mse=float(np.mean([e.mse for e in errors])),
        psnr=None if np.isnan(psnr).any() else summarise(list(psnr)),
    )


def _wide(rows: Sequence[object], group: int, columns: Sequence[Column]) -> Table:
    """A row for readers of each so many rows."""
    return Table("", list(zip(*[iter(rows)] * group, strict=True)), columns)


def true_positive_rates(treated: Treated, labels: Bytes, digit: int) -> NDArray[np.float64]:
    """Share [L, S] of a digit's images that are recognised; NaN where there is none in the test set."""
    own = treated.right[:, :, labels == digit]
    return own.mean(axis=2) if own.shape[2] else np.full(own.shape[:2], np.nan)


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
