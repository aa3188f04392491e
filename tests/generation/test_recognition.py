"""What counts as recognised."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mnist_tune.generation.code_sampling import NO_DIGIT, CodedDigits
from mnist_tune.generation.recognition import Recognised, recognise
from mnist_tune.statistics.means import wilson


def sure_of(*pairs: tuple[int, float]) -> np.ndarray:
    """Probabilities with one class of the given probability, the rest spread evenly."""
    found = np.empty((len(pairs), 10), np.float32)
    for row, (digit, probability) in zip(found, pairs, strict=True):
        row[:] = (1 - probability) / 9
        row[digit] = probability
    return found


def coded(intended: list[int]) -> CodedDigits:
    return CodedDigits(
        "a way", "somehow", np.zeros((len(intended), 2), np.float32), np.array(intended)
    )


def group(intended: list[int], *pairs: tuple[int, float], confidence: float = 0.9) -> Recognised:
    images = np.zeros((len(pairs), 28, 28), np.uint8)
    shown = sure_of(*pairs)
    return recognise(coded(intended), images, lambda _: shown, confidence)


def test_recognised_means_at_least_that_probability_for_whatever_digit() -> None:
    found = group([3, 3, 3, 3], (3, 0.95), (5, 0.95), (3, 0.8), (3, 0.5))
    assert (found.recognised.count, found.recognised.n) == (2, 4)
    assert found.as_intended is not None
    assert found.as_intended.count == 1
    assert group([3], (3, 0.5), confidence=0.5).recognised.value == 1


def test_without_an_intended_digit_nothing_is_as_intended() -> None:
    found = group([NO_DIGIT, NO_DIGIT], (3, 1.0), (4, 1.0))
    assert found.as_intended is None
    assert found.of_digit(3) is None


def test_each_intended_digit_has_its_share() -> None:
    found = group([3, 3, 4], (3, 0.95), (4, 0.95), (4, 0.95))
    three, four = found.of_digit(3), found.of_digit(4)
    assert three is not None
    assert four is not None
    assert (three.value, four.value) == (0.5, 1.0)
    assert found.of_digit(5) is None


def test_intervals_are_wilsons() -> None:
    assert group([3] * 2, (3, 1.0), (3, 0.2)).recognised.interval == wilson(0.5, 2)


def test_different_digits_are_counted_among_the_recognised() -> None:
    assert group([0] * 4, *[(d, 1.0) for d in (1, 2, 3, 4)]).effective_digits == pytest.approx(4)
    assert group([0] * 3, (1, 1.0), (1, 1.0), (2, 0.3)).effective_digits == pytest.approx(1)
    assert group([0], (1, 0.2)).effective_digits == 0


def test_the_classifier_sees_what_is_stored() -> None:
    seen: list[np.ndarray] = []

    def classify(images: Any) -> np.ndarray:
        seen.append(images)
        return sure_of((1, 1.0))

    floats = np.full((1, 28, 28), 0.5001)
    floats[0, 0, :2] = (-0.2, 1.2)
    found = recognise(coded([1]), floats, classify, 0.9)
    assert seen[0] is found.images
    assert found.images.dtype == np.uint8
    assert found.images[0, 0, :3].tolist() == [0, 255, 128]
