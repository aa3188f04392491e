"""The tables of `denoise`: tidy frames for programs, rounded ones for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mnist_tune.denoising.crossings import Estimate, Help
from mnist_tune.denoising.measuring import Measured, Treated
from mnist_tune.denoising.publication import Table
from mnist_tune.reports.views import Column, View

DIGITS = range(10)
UNKNOWN = "–"


def tables(measured: Measured, helped: Sequence[Help]) -> tuple[Table, ...]:
    """All tables in reading order."""
    return (
        noise_table(measured),
        help_table(measured, helped),
        gains_table(measured, helped),
        digits_table(measured),
        seeds_table(measured),
    )


def noise_table(measured: Measured) -> Table:
    """Accuracy and errors against the level of the noise."""
    records = [
        {
            "level": level,
            "pictures": treated.pictures,
            "n_seeds": treated.accuracies.shape[1],
            "accuracy": float(treated.accuracies[i].mean()),
            "accuracy_std": std(treated.accuracies[i]),
            "loss": float(np.mean([e.loss for e in treated.errors[i]])),
            "mse": float(np.mean([e.mse for e in treated.errors[i]])),
            "psnr": float(treated.psnr(i).mean()),
            "psnr_std": std(treated.psnr(i)),
        }
        for i, level in enumerate(measured.levels)
        for treated in measured.treatments
    ]
    columns = [_levels(measured)]
    for unit, written in (("% right", _accuracies), ("PSNR dB", _psnrs)):
        columns += [
            Column(f"{t.pictures}, {unit}", tuple(written(t, i) for i in _places(measured)))
            for t in measured.treatments
        ]
    return Table(
        "noise",
        "Share of test digits that the classifier recognises, and PSNR, against the level of the "
        "noise; mean ± standard deviation over autoencoders.",
        pd.DataFrame(records),
        View(tuple(columns)),
    )


def help_table(measured: Measured, helped: Sequence[Help]) -> Table:
    """From which level to which denoising helps."""
    records = [
        {"against": entry.against, **_ends("start", entry.start), **_ends("stop", entry.stop)}
        for entry in helped
    ]
    columns = (
        Column("against", tuple(entry.against for entry in helped), align="left"),
        Column("helps from", tuple(shown_end(e, e.start, measured.levels) for e in helped)),
        Column("to", tuple(shown_end(e, e.stop, measured.levels) for e in helped)),
    )
    return Table(
        "help",
        "Noise levels from which and up to which more digits are recognised after denoising, on a "
        "straight line between the levels measured, with 95 % intervals; a level is missing where "
        "it lies outside them. At level 1 nothing is left of a digit: differences there are between ways of guessing.",
        pd.DataFrame(records).astype({n: "float64" for n in records[0] if n != "against"}),
        View(columns),
    )


def gains_table(measured: Measured, helped: Sequence[Help]) -> Table:
    """What denoising gains at each level."""
    records = [
        {
            "level": level,
            "against": entry.against,
            "gain": entry.gains[i].value,
            "low": entry.gains[i].low,
            "high": entry.gains[i].high,
        }
        for i, level in enumerate(measured.levels)
        for entry in helped
    ]
    columns = [_levels(measured)]
    columns += [
        Column(f"against {entry.against}, points", tuple(map(shown_gain, entry.gains)))
        for entry in helped
    ]
    return Table(
        "gains",
        "Accuracy after denoising minus that of the seasoned and of the median-filtered images, in "
        "percentage points with 95 % intervals.",
        pd.DataFrame(records),
        View(tuple(columns)),
    )


def digits_table(measured: Measured) -> Table:
    """True-positive rate of each digit."""
    records = list(_digit_records(measured))
    rows = [(i, treated) for i in _places(measured) for treated in measured.treatments]
    columns = [
        Column("noise", tuple(f"{measured.levels[i]:g}" for i, _ in rows)),
        Column("images", tuple(treated.pictures for _, treated in rows), align="left"),
    ]
    columns += [
        Column(
            str(digit),
            tuple(percent(float(rates(t, measured.labels, digit)[i].mean())) for i, t in rows),
        )
        for digit in DIGITS
    ]
    return Table(
        "digits",
        "True-positive rate in % of each digit against the level of the noise, mean over "
        "autoencoders.",
        pd.DataFrame(records),
        View(tuple(columns)),
    )


def seeds_table(measured: Measured) -> Table:
    """Every autoencoder by itself."""
    treated = measured.denoised
    rows = [(i, s) for i in _places(measured) for s in range(len(measured.seeds))]
    records = [
        {
            "level": measured.levels[i],
            "seed": measured.seeds[s],
            "accuracy": float(treated.accuracies[i, s]),
            "loss": treated.errors[i][s].loss,
            "mse": treated.errors[i][s].mse,
            "psnr": treated.errors[i][s].psnr,
        }
        for i, s in rows
    ]
    columns = (
        Column("noise", tuple(f"{record['level']:g}" for record in records)),
        Column("seed", tuple(str(record["seed"]) for record in records)),
        Column("% right", tuple(percent(float(record["accuracy"])) for record in records)),
        Column("PSNR dB", tuple(f"{record['psnr']:.2f}" for record in records)),
    )
    return Table(
        "seeds",
        "Denoised images, autoencoder by autoencoder.",
        pd.DataFrame(records),
        View(columns),
    )


def rates(treated: Treated, labels: NDArray[np.uint8], digit: int) -> NDArray[np.float64]:
    """True-positive rates [L, S] of a digit; NaN where there is none in the test set."""
    own = treated.right[:, :, labels == digit]
    return own.mean(axis=2) if own.shape[2] else np.full(own.shape[:2], np.nan)


def std(values: NDArray[np.float64]) -> float:
    """Standard deviation with ddof 1; NaN for one value."""
    return float(values.std(ddof=1)) if values.size > 1 else math.nan


def percent(share: float) -> str:
    """0.98312 → `98.31`."""
    return UNKNOWN if math.isnan(share) else f"{100 * share:.2f}"


def shown_gain(gain: Estimate) -> str:
    """In points, such as `+5.25 (+5.01 to +5.50)`."""
    value, low, high = (_signed(part) for part in (gain.value, gain.low, gain.high))
    return f"{value} ({low} to {high})"


def shown_end(helped: Help, level: Estimate, levels: Sequence[float]) -> str:
    """An end with its interval, such as `0.130 (0.121–0.142)`; `≤ 0` where it lies below all."""
    if not helped.ever:
        return "never"
    value, low, high = (_level(part, levels) for part in (level.value, level.low, level.high))
    return value if value == low == high else f"{value} ({low}–{high})"


def _level(level: float, levels: Sequence[float]) -> str:
    if level == -math.inf:
        return f"≤ {levels[0]:g}"
    return f"≥ {levels[-1]:g}" if level == math.inf else f"{level:.3f}"


def _signed(gain: float) -> str:
    text = f"{100 * gain:+.2f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def _digit_records(measured: Measured) -> Iterator[dict[str, Any]]:
    found = {
        (treated.pictures, digit): rates(treated, measured.labels, digit)
        for treated in measured.treatments
        for digit in DIGITS
    }
    for i, level in enumerate(measured.levels):
        for treated in measured.treatments:
            for digit in DIGITS:
                shares = found[treated.pictures, digit][i]
                yield {
                    "level": level,
                    "pictures": treated.pictures,
                    "digit": digit,
                    "images": int((measured.labels == digit).sum()),
                    "n_seeds": shares.size,
                    "rate": float(shares.mean()),
                    "rate_std": std(shares),
                }


def _ends(name: str, level: Estimate) -> dict[str, float | None]:
    """An end of a stretch and its interval; missing where it is outside all levels."""
    parts = {name: level.value, f"{name}_low": level.low, f"{name}_high": level.high}
    return {key: value if math.isfinite(value) else None for key, value in parts.items()}


def _places(measured: Measured) -> range:
    return range(len(measured.levels))


def _levels(measured: Measured) -> Column:
    return Column("noise", tuple(f"{level:g}" for level in measured.levels))


def _accuracies(treated: Treated, level: int) -> str:
    return _spread(treated.accuracies[level], 100, 2)


def _psnrs(treated: Treated, level: int) -> str:
    return _spread(treated.psnr(level), 1, 2)


def _spread(values: NDArray[np.float64], scale: float, digits: int) -> str:
    """Mean ± standard deviation; the mean alone of one value."""
    if np.isnan(values).any():
        return UNKNOWN
    mean = f"{scale * values.mean():.{digits}f}"
    return mean if values.size == 1 else f"{mean} ± {scale * std(values):.{digits}f}"
