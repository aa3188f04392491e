"""Share of synthetic and of real digits that a classifier recognises with high confidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.data.idx import Bytes
from mnist_tune.generation.code_sampling import NO_DIGIT, CodedDigits, Codes
from mnist_tune.networks import CLASSES
from mnist_tune.reports.analyses import Classify
from mnist_tune.statistics.means import Interval, wilson

Decode = Callable[[Codes], NDArray[np.floating[Any]]]
"""Codes [n, latent] → images [n, 28, 28] of 0–1."""

Encode = Callable[[NDArray[Any]], Codes]
"""Images uint8 [n, 28, 28] → codes [n, latent]."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many of n images, with the 95 % interval of Wilson (1927)."""

    count: int
    n: int

    @property
    def value(self) -> float:
        """0–1."""
        return self.count / self.n

    @property
    def interval(self) -> Interval:
        """Of the value."""
        return wilson(self.value, self.n)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Recognised(CodedDigits):
    """The same digits as images, as the classifier sees them.

    Attributes:
        images: uint8 [n, 28, 28].
        probabilities: float32 [n, 10].
        confidence: probability from which a digit counts as recognised.
    """

    images: Bytes
    probabilities: NDArray[np.float32]
    confidence: float

    @property
    def classes(self) -> NDArray[np.int8]:
        """The most probable digit of each image."""
        found: NDArray[np.int8] = self.probabilities.argmax(axis=1).astype(np.int8)
        return found

    @property
    def sure(self) -> NDArray[np.bool_]:
        """Which images the classifier recognises with confidence, as whatever digit."""
        sure: NDArray[np.bool_] = self.probabilities.max(axis=1) >= self.confidence
        return sure

    @property
    def recognised(self) -> Share:
        """Share of images recognised with confidence, as whatever digit."""
        return Share(int(self.sure.sum()), len(self.sure))

    @property
    def as_intended(self) -> Share | None:
        """Share recognised with confidence as the intended digit; None where there is none."""
        if (self.intended == NO_DIGIT).any():
            return None
        return Share(int((self.sure & (self.classes == self.intended)).sum()), len(self.sure))

    def of_digit(self, digit: int) -> Share | None:
        """The same of the images that are meant to be one digit; None if there is none."""
        own = self.intended == digit
        if not own.any():
            return None
        return Share(int((self.sure & (self.classes == digit))[own].sum()), int(own.sum()))

    @property
    def mean_confidence(self) -> float:
        """Mean probability of the most probable digit."""
        return float(self.probabilities.max(axis=1).mean())

    @property
    def effective_digits(self) -> float:
        """Effective number of digits among the recognised: exp of their entropy, 1–10; 0 of none."""
        counts = np.bincount(self.classes[self.sure], minlength=CLASSES)
        shares = counts[counts > 0] / max(counts.sum(), 1)
        return float(np.exp(-np.sum(shares * np.log(shares)))) if len(shares) else 0.0


def recognise(
    digits: CodedDigits, images: NDArray[Any], classify: Classify, confidence: float
) -> Recognised:
    """Show images of digits to the classifier.

    Floats of 0–1 are rounded to bytes first, so that what is stored is what was judged.
    """
    images = as_bytes(images)
    return Recognised(
        *(getattr(digits, field.name) for field in fields(digits)),
        images=images,
        probabilities=np.asarray(classify(images), np.float32),
        confidence=confidence,
    )


def as_bytes(images: NDArray[Any]) -> Bytes:
    """Pixels 0–1 as bytes; bytes stay."""
    if images.dtype == np.uint8:
        return images
    made: Bytes = np.clip(np.rint(images * 255), 0, 255).astype(np.uint8)
    return made
