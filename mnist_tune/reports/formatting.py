"""Numbers as text in tables and sentences: metrics, intervals, p values, counts, seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mnist_tune.metrics import ACCURACY, Metric

if TYPE_CHECKING:  # scipy costs a fifth of a second, which a listing does not have
    from mnist_tune.statistics.means import Summary

UNKNOWN = "–"
TOO_FEW_SEEDS = "too few seeds to say"


def fixed(value: float, scale: float = 1.0, digits: int = 2) -> str:
    """A number with so many decimals."""
    return UNKNOWN if math.isnan(value) else f"{scale * value:.{digits}f}"


def metric_value(value: float, metric: Metric = ACCURACY) -> str:
    """0.98312 → `98.31`: a value of the metric without its unit."""
    return fixed(value, metric.scale)


def signed_difference(value: float, scale: float = ACCURACY.scale) -> str:
    """−0.0016 → `−0.16`: a difference of two values, always with a sign unless zero."""
    if math.isnan(value):
        return UNKNOWN
    text = f"{scale * value:+.2f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def mean_and_std(summary: Summary | None, scale: float = ACCURACY.scale, digits: int = 2) -> str:
    """Mean ± standard deviation, such as `98.31 ± 0.06`; the mean alone for one seed."""
    if summary is None:
        return UNKNOWN
    mean = fixed(summary.mean, scale, digits)
    return mean if summary.n == 1 else f"{mean} ± {fixed(summary.std, scale, digits)}"


def interval(low: float, high: float, scale: float = ACCURACY.scale) -> str:
    """Both ends of an interval of values, such as `98.14–98.34`."""
    return UNKNOWN if math.isnan(low) else f"{fixed(low, scale)}–{fixed(high, scale)}"


def difference_interval(low: float, high: float, scale: float = ACCURACY.scale) -> str:
    """Both ends of an interval of differences, such as `−0.50 to +0.18`."""
    return (
        UNKNOWN
        if math.isnan(low)
        else f"{signed_difference(low, scale)} to {signed_difference(high, scale)}"
    )


def p_value(p: float) -> str:
    """Three decimals, never 0: the probability is small, not none."""
    return "<0.001" if p < 0.0005 else fixed(p, digits=3)


def count(number: int | None) -> str:
    """546810 → `546,810`."""
    return UNKNOWN if number is None else f"{number:,}"


def plural(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def numbers_in_short(numbers: Sequence[int]) -> str:
    """Seeds or trials: `0–2`, or all of them where some are missing."""
    ordered = sorted(numbers)
    if len(ordered) > 1 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]}–{ordered[-1]}"
    return ", ".join(map(str, ordered)) or UNKNOWN


def parameter_value(value: object) -> str:
    """One value as `parameter_values` writes it: 1e-06 → `1e-6`."""
    return parameter_values([value])[0]


def parameter_values(values: Sequence[object]) -> list[str]:
    """The values of one parameter in one notation: with a power of ten where one is below 0.001 or from a million on.

    Numbers that somebody chose stand as they are, up to six digits; sampled ones are rounded to
    four, or to as many as keep different ones apart.
    """
    numbers = [v for v in values if isinstance(v, float) and v]
    scientific = any(not 1e-3 <= abs(v) < 1e6 for v in numbers)
    different = len(set(numbers))
    written: dict[float, str] = {}
    chosen = all(float(f"{v:.6g}") == v for v in numbers)
    for digits in range(6 if chosen else 4, 18):
        written = {v: _number(v, digits, scientific=scientific) for v in numbers}
        if len(set(written.values())) == different:
            break
    return [written.get(v, "0") if isinstance(v, float) else plain_text(v) for v in values]


def plain_text(value: object) -> str:
    """Any value; the unknown as a dash."""
    return UNKNOWN if value is None else str(value)


def _number(value: float, digits: int, *, scientific: bool) -> str:
    if not scientific:
        return f"{value:.{digits}g}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    kept = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{kept}e{int(exponent)}"
