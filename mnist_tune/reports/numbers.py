"""How numbers are written for people: as their metric says, accuracies in % unless told otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mnist_tune.metrics import ACCURACY, Metric
from mnist_tune.statistics.means import Summary

UNKNOWN = "–"


def percent(value: float, metric: Metric = ACCURACY) -> str:
    """0.98312 → `98.31`: a value of the metric without its unit."""
    return UNKNOWN if math.isnan(value) else f"{metric.scale * value:.2f}"


def points(difference: float, metric: Metric = ACCURACY) -> str:
    """−0.0016 → `−0.16`: a difference of two values, always with a sign unless zero."""
    if math.isnan(difference):
        return UNKNOWN
    text = f"{metric.scale * difference:+.2f}"
    return text[1:] if float(text) == 0 else text.replace("-", "−")


def plus_minus(summary: Summary | None, metric: Metric = ACCURACY) -> str:
    """Mean ± standard deviation, such as `98.31 ± 0.06`; the mean alone for one seed."""
    if summary is None:
        return UNKNOWN
    if summary.n == 1:
        return percent(summary.mean, metric)
    return f"{percent(summary.mean, metric)} ± {percent(summary.std, metric)}"


def interval(low: float, high: float, metric: Metric = ACCURACY) -> str:
    """Both ends of an interval of values, such as `98.14–98.34`."""
    return UNKNOWN if math.isnan(low) else f"{percent(low, metric)}–{percent(high, metric)}"


def point_interval(low: float, high: float, metric: Metric = ACCURACY) -> str:
    """Both ends of an interval of differences, such as `−0.50 to +0.18`."""
    return UNKNOWN if math.isnan(low) else f"{points(low, metric)} to {points(high, metric)}"


def decibels(summary: Summary | None) -> str:
    """Mean ± standard deviation of a PSNR in dB, such as `17.52 ± 0.03`."""
    if summary is None:
        return UNKNOWN
    spread = "" if summary.n == 1 else f" ± {summary.std:.2f}"
    return f"{summary.mean:.2f}{spread}"


def plain(summary: Summary | None) -> str:
    """Mean ± standard deviation of a mean squared error, such as `0.0161 ± 0.0002`."""
    if summary is None:
        return UNKNOWN
    spread = "" if summary.n == 1 else f" ± {summary.std:.4f}"
    return f"{summary.mean:.4f}{spread}"


def p_value(p: float) -> str:
    """Three decimals, never 0: the probability is small, not none."""
    if math.isnan(p):
        return UNKNOWN
    return "<0.001" if p < 0.0005 else f"{p:.3f}"


def count(number: int | None) -> str:
    """546810 → `546,810`."""
    return UNKNOWN if number is None else f"{number:,}"


def plural(number: int, noun: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def span(seeds: Sequence[int]) -> str:
    """Seeds in few words: `0–2`, or all of them where some are missing."""
    ordered = sorted(seeds)
    if len(ordered) > 1 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]}–{ordered[-1]}"
    return ", ".join(map(str, ordered)) or UNKNOWN


def alike(values: Sequence[object]) -> list[str]:
    """Write the values of one column alike: with a power of ten where one is below 0.001.

    Numbers that somebody chose stand as they are, up to six digits; drawn ones are rounded to
    four, or to as many as keep different ones apart.
    """
    numbers = [v for v in values if isinstance(v, float) and v]
    scientific = any(abs(v) < 1e-3 for v in numbers)
    different = len(set(numbers))
    written: dict[float, str] = {}
    chosen = all(float(f"{v:.6g}") == v for v in numbers)
    for digits in range(6 if chosen else 4, 18):
        written = {v: _number(v, digits, scientific=scientific) for v in numbers}
        if len(set(written.values())) == different:
            break
    return [_text(v, written) for v in values]


def _number(value: float, digits: int, *, scientific: bool) -> str:
    if not scientific:
        return f"{value:.{digits}g}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    shown = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{shown}e{int(exponent)}"


def _text(value: object, written: dict[float, str]) -> str:
    if value is None:
        return UNKNOWN
    if isinstance(value, float):
        return written.get(value, "0")
    return str(value)
