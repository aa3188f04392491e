"""Methods to sample latent codes for the decoder: perturbation, interpolation, Gaussians.

All start from the codes of training images. A way that aims at a digit knows which one it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from mnist_tune.data.idx import Bytes
from mnist_tune.networks import CLASSES

Codes = NDArray[np.float32]

SIZES = (0.25, 0.5, 1.0)
NO_DIGIT = -1


@dataclass(frozen=True, slots=True, eq=False)
class CodedDigits:
    """Digits of one way, as codes.

    Attributes:
        way: what people call it.
        definition: how they were made, in one sentence.
        codes: float32 [n, latent].
        intended: int8 [n], the digit that each is, or is meant to be, or NO_DIGIT.
        synthetic: whether the codes are new ones.
    """

    way: str
    definition: str
    codes: Codes
    intended: NDArray[np.int8]
    synthetic: bool = True


def ways(codes: Codes, labels: Bytes, count: int, seed: int) -> Iterator[CodedDigits]:
    """All ways, `count` new codes of each.

    Args:
        codes: float32 [N, latent], of training images.
        labels: uint8 [N], their digits.
        count: of codes to make in each way, at least 1.
        seed: of the random numbers; each way draws its own.
    """
    targets = (np.arange(count) % CLASSES).astype(np.uint8)
    for number, size in enumerate(SIZES):
        yield perturbed(codes, labels, targets, size, np.random.default_rng([seed, number]))
    yield between(codes, labels, targets, np.random.default_rng([seed, 10]), same=True)
    yield between(codes, labels, targets, np.random.default_rng([seed, 11]), same=False)
    yield gaussian(codes, count, np.random.default_rng([seed, 20]))
    yield gaussian_by_digit(codes, labels, targets, np.random.default_rng([seed, 21]))


def perturbed(
    codes: Codes, labels: Bytes, targets: Bytes, size: float, draw: Generator
) -> CodedDigits:
    """Codes of real digits plus normal noise, `size` times the spread of each number."""
    first = _drawn(labels, targets, draw)
    noise = draw.standard_normal((len(targets), codes.shape[1])) * codes.std(axis=0)
    return CodedDigits(
        f"perturbed by {size:g}",
        f"the code of a training digit, plus normal noise of {size:g} standard deviations of each "
        "of its numbers over all training digits",
        _float(codes[first] + size * noise),
        targets.astype(np.int8),
    )


def between(
    codes: Codes, labels: Bytes, targets: Bytes, draw: Generator, *, same: bool
) -> CodedDigits:
    """Codes on the straight line between those of two real digits of one class, or of two."""
    first = _drawn(labels, targets, draw)
    steps = 0 if same else draw.integers(1, CLASSES, len(targets))
    second = _drawn(labels, ((targets + steps) % CLASSES).astype(np.uint8), draw)
    share = draw.uniform(0, 1, (len(targets), 1))
    kind = "two training digits of one class" if same else "training digits of two classes"
    return CodedDigits(
        f"between two of {'one class' if same else 'two classes'}",
        f"a code on the line between those of {kind}, anywhere on it",
        _float((1 - share) * codes[first] + share * codes[second]),
        targets.astype(np.int8) if same else np.full(len(targets), NO_DIGIT, np.int8),
    )


def gaussian(codes: Codes, count: int, draw: Generator) -> CodedDigits:
    """Samples of one normal distribution with mean and covariance of all codes."""
    return CodedDigits(
        "one Gaussian",
        "drawn from one normal distribution with the mean and the covariance of all codes",
        _float(_normal(codes, count, draw)),
        np.full(count, NO_DIGIT, np.int8),
    )


def gaussian_by_digit(codes: Codes, labels: Bytes, targets: Bytes, draw: Generator) -> CodedDigits:
    """Samples of one normal distribution for each class."""
    made = np.empty((len(targets), codes.shape[1]))
    for digit in np.unique(targets):
        wanted = targets == digit
        made[wanted] = _normal(codes[labels == digit], int(wanted.sum()), draw)
    return CodedDigits(
        "Gaussian of the class",
        "drawn from a normal distribution with the mean and the covariance of one class's codes",
        _float(made),
        targets.astype(np.int8),
    )


def path(first: Codes, second: Codes, steps: int) -> Codes:
    """Codes from one to another in even steps, both included, [steps, latent]."""
    share = np.linspace(0, 1, steps)[:, np.newaxis]
    return _float((1 - share) * first + share * second)


def _drawn(labels: Bytes, targets: Bytes, draw: Generator) -> NDArray[np.intp]:
    """Place of a random image of each digit that is asked for."""
    places = [np.flatnonzero(labels == digit) for digit in range(CLASSES)]
    picks = zip(targets, draw.random(len(targets)), strict=True)
    return np.array([places[digit][int(pick * len(places[digit]))] for digit, pick in picks])


def _normal(codes: Codes, count: int, draw: Generator) -> NDArray[np.float64]:
    """Samples with the mean and the covariance of codes, which may be singular."""
    centre = codes.mean(axis=0, dtype=np.float64)
    spread = (codes - centre) / np.sqrt(max(len(codes) - 1, 1))
    _, sizes, axes = np.linalg.svd(spread, full_matrices=False)
    sample: NDArray[np.float64] = centre + draw.standard_normal((count, len(sizes))) * sizes @ axes
    return sample


def _float(codes: NDArray[np.float64]) -> Codes:
    return codes.astype(np.float32)
