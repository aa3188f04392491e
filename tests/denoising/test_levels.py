"""Noise levels as people type them."""

from __future__ import annotations

import pytest

from mnist_tune.denoising.measuring import parse_levels
from mnist_tune.errors import DefinitionError


def test_a_whole_number_is_how_many_levels_from_0_to_1() -> None:
    assert parse_levels("11") == (0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
    assert parse_levels("2") == (0, 1)


def test_levels_are_taken_as_they_are_in_ascending_order_once() -> None:
    assert parse_levels("0.4, 0,0.1,0.4") == (0, 0.1, 0.4)
    assert parse_levels("0.4") == (0.4,)
    assert parse_levels("1.0") == (1,)
    assert str(parse_levels("-0.0")) == "(0.0,)"


@pytest.mark.parametrize(
    "text", ["", " ", "many", "0,,1", "0;1", "0.1-0.4", "0,1.01", "-0.1,0.5", "nan", "0,inf"]
)
def test_what_are_no_levels_is_refused_with_what_to_give(text: str) -> None:
    with pytest.raises(DefinitionError, match=r"(?s)--levels.*such as 0,0\.1,0\.4") as refused:
        parse_levels(text)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["0", "1", "-3", "102", "1000000"])
def test_a_number_of_levels_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(DefinitionError, match="not a number of levels"):
        parse_levels(text)


def test_too_many_levels_are_refused() -> None:
    with pytest.raises(DefinitionError, match="102 levels"):
        parse_levels(",".join(f"{i / 200:g}" for i in range(102)))
