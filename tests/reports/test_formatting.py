from __future__ import annotations

import math

import pytest

from mnist_tune.reports import formatting
from mnist_tune.statistics.means import summarise


@pytest.mark.parametrize(
    ("difference", "text"),
    [(-0.0016, "−0.16"), (0.0018, "+0.18"), (0.0, "0.00"), (-0.00001, "0.00"), (math.nan, "–")],
)
def test_points(difference: float, text: str) -> None:
    assert formatting.signed_difference(difference) == text


def test_plus_minus() -> None:
    assert formatting.mean_and_std(summarise([0.98, 0.99])) == "98.50 ± 0.71"
    assert formatting.mean_and_std(summarise([0.98])) == "98.00"
    assert formatting.mean_and_std(None) == "–"


def test_intervals() -> None:
    assert formatting.interval(0.9814, 0.9834) == "98.14–98.34"
    assert formatting.interval(math.nan, math.nan) == "–"
    assert formatting.difference_interval(-0.005, 0.0018) == "−0.50 to +0.18"


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "<0.001"), (0.0006, "0.001"), (1.0, "1.000"), (math.nan, "–")]
)
def test_p_values_are_never_nothing(p: float, text: str) -> None:
    assert formatting.p_value(p) == text


@pytest.mark.parametrize(
    ("seeds", "text"), [([0, 1, 2], "0–2"), ([2, 0], "0, 2"), ([7], "7"), ([], "–")]
)
def test_seeds(seeds: list[int], text: str) -> None:
    assert formatting.numbers_in_short(seeds) == text


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([1e-6, 0.00025075, 1e-3], ["1e-6", "2.5075e-4", "1e-3"]),
        ([0.1, 0.25, 10.0], ["0.1", "0.25", "10"]),
        ([0.0, 1e-5], ["0", "1e-5"]),
        ([1e6, 2.0], ["1e6", "2e0"]),
        ([1e-06], ["1e-6"]),
        ([0.123456789, 0.2], ["0.1235", "0.2"]),
        ([0.123456789, 0.123456788], ["0.123456789", "0.123456788"]),
        ([32, None, 64], ["32", "–", "64"]),
        (["relu", True], ["relu", "True"]),
        ([], []),
    ],
)
def test_values_of_a_column_are_written_alike(values: list[object], texts: list[str]) -> None:
    assert formatting.parameter_values(values) == texts
