"""Measures what a classifier recognises in noisy, denoised and median-filtered digits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_tune.data.idx import Bytes
from mnist_tune.errors import DefinitionError
from mnist_tune.noise import (
    EVALUATION_KEY,
    ImageErrors,
    image_errors,
    median_filtered,
    salt_and_pepper,
)
from mnist_tune.reports.analyses import Classify

Right = NDArray[np.bool_]
Treatment = Literal["noisy", "denoised", "median filter"]

Denoise = Callable[[Bytes], NDArray[np.floating[Any]]]
"""Images uint8 [n, 28, 28] → what an autoencoder makes of them, [n, 28, 28] of 0–1."""

MOST_LEVELS = 101
_HELP = "give how many (2 to 101, such as 11) or which, such as 0,0.1,0.4"


@dataclass(frozen=True, slots=True, eq=False)
class Treated:
    """Test images after one treatment, at each of L levels.

    Attributes:
        pictures: which treatment.
        right: bool [L, S, n], whether each image is classified rightly; S is the number of
            autoencoders, 1 where there is none.
        errors: S values for each level.
    """

    pictures: Treatment
    right: Right
    errors: tuple[tuple[ImageErrors, ...], ...]

    @property
    def accuracies(self) -> NDArray[np.float64]:
        """Share of images classified rightly, [L, S]."""
        shares: NDArray[np.float64] = self.right.mean(axis=2)
        return shares

    def psnr(self, level: int) -> NDArray[np.float64]:
        """PSNR in dB, [S], of the level with this index; NaN where nothing is wrong at all."""
        return np.array([e.psnr if e.mse else np.nan for e in self.errors[level]])

    def rates(self, labels: Bytes, digit: int) -> NDArray[np.float64]:
        """True-positive rate of a digit, [L, S]; NaN where no image shows it."""
        own = self.right[:, :, labels == digit]
        return own.mean(axis=2) if own.shape[2] else np.full(own.shape[:2], np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """All that was measured.

    Attributes:
        levels: L noise levels, ascending, 0–1.
        labels: uint8 [n], the true digits.
        seeds: of the S autoencoders.
        noisy, denoised, filtered: the three treatments.
    """

    levels: tuple[float, ...]
    labels: Bytes
    seeds: tuple[int, ...]
    noisy: Treated
    denoised: Treated
    filtered: Treated

    @property
    def treatments(self) -> tuple[Treated, Treated, Treated]:
        """In the order of tables and legends."""
        return self.noisy, self.denoised, self.filtered


def measure(
    images: Bytes,
    labels: Bytes,
    levels: Sequence[float],
    denoisers: Mapping[int, Denoise],
    classify: Classify,
    log: Callable[[str], object] = lambda _line: None,
) -> Measured:
    """Measure all levels. The noise of an image is the same for every network.

    Args:
        images: uint8 [n, 28, 28], clean.
        labels: uint8 [n].
        levels: of the noise, 0–1, ascending.
        denoisers: seed → autoencoder.
        classify: the judge.
        log: takes a line about each level.
    """

    def judged(made: NDArray[Any]) -> tuple[NDArray[np.bool_], ImageErrors]:
        return classify(made).argmax(axis=1) == labels, image_errors(images, made)

    rows: dict[Treatment, list[Any]] = {"noisy": [], "denoised": [], "median filter": []}
    for level in levels:
        noisy = noisy_images(images, level)
        rows["noisy"].append([judged(noisy)])
        rows["median filter"].append([judged(median_filtered(noisy))])
        # One at a time: 10,000 float images take 63 MB.
        rows["denoised"].append([judged(denoise(noisy)) for denoise in denoisers.values()])
        before, after = (
            100 * np.mean([right.mean() for right, _ in rows[kind][-1]])
            for kind in ("noisy", "denoised")
        )
        log(f"noise {level:g}: {before:.2f} % recognised, {after:.2f} % after denoising")
    treated = (
        Treated(
            kind,
            np.stack([np.stack([right for right, _ in level]) for level in found]),
            tuple(tuple(error for _, error in level) for level in found),
        )
        for kind, found in rows.items()
    )
    return Measured(tuple(levels), labels, tuple(denoisers), *treated)


def noisy_images(images: Bytes, level: float) -> Bytes:
    """Images with the noise of a level; levels share their draws, so that curves are smooth."""
    return salt_and_pepper(images, level, EVALUATION_KEY)


def parse_levels(text: str) -> tuple[float, ...]:
    """Read `11` as so many levels evenly from 0 to 1, and `0,0.1,0.4` as those.

    A single level is written with its point: 0.4.

    Returns:
        Levels from 0 to 1, ascending, each once.

    Raises:
        DefinitionError: it is neither, or a level is outside 0–1.
    """
    if text.strip().lstrip("+-").isdigit():
        count = int(text)
        if not 2 <= count <= MOST_LEVELS:
            raise DefinitionError(f"--levels {text}: not a number of levels; {_HELP}")
        # Rounded so that a third of ten is 0.3, in tables and in file names alike.
        return tuple(round(i / (count - 1), 6) for i in range(count))
    try:
        levels = sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise DefinitionError(f"--levels {text!r}: not numbers; {_HELP}") from None
    outside = [level for level in levels if not 0 <= level <= 1]
    if outside:
        raise DefinitionError(f"--levels {text}: {outside[0]:g} is outside 0–1; {_HELP}")
    if len(levels) > MOST_LEVELS:
        raise DefinitionError(f"--levels: {len(levels)} levels are too many; {_HELP}")
    return tuple(level + 0.0 for level in levels)  # -0.0 is 0
