"""What a classifier makes of noisy, denoised and median-filtered digits, level by level."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_tune.data.idx import Bytes
from mnist_tune.noise import (
    EVALUATION_KEY,
    WHITE,
    ImageErrors,
    image_errors,
    median_filtered,
    salt_and_pepper,
)

Right = NDArray[np.bool_]
Pictures = Literal["seasoned", "denoised", "median filter"]

Denoise = Callable[[Bytes], NDArray[np.floating[Any]]]
"""Images uint8 [n, 28, 28] → what an autoencoder makes of them, [n, 28, 28] of 0–1."""

Classify = Callable[[NDArray[Any]], NDArray[np.floating[Any]]]
"""Images [n, 28, 28] with pixels 0–255 of any number type → probabilities [n, 10]."""

Say = Callable[[str], object]


@dataclass(frozen=True, slots=True, eq=False)
class Treated:
    """Test images after one treatment, at each of L levels.

    Attributes:
        pictures: which treatment.
        right: bool [L, S, n], whether each image is classified rightly; S is the number of
            autoencoders, 1 where there is none.
        errors: S values for each level.
    """

    pictures: Pictures
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


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """All that was measured.

    Attributes:
        levels: L noise levels, ascending, 0–1.
        labels: uint8 [n], the true digits.
        seeds: of the S autoencoders.
        seasoned, denoised, filtered: the three treatments.
    """

    levels: tuple[float, ...]
    labels: Bytes
    seeds: tuple[int, ...]
    seasoned: Treated
    denoised: Treated
    filtered: Treated

    @property
    def treatments(self) -> tuple[Treated, Treated, Treated]:
        """In the order of tables and legends."""
        return self.seasoned, self.denoised, self.filtered


def measure(
    images: Bytes,
    labels: Bytes,
    levels: Sequence[float],
    denoisers: Mapping[int, Denoise],
    classify: Classify,
    say: Say = lambda _line: None,
) -> Measured:
    """Measure all levels. The noise of an image is the same for every network.

    Args:
        images: uint8 [n, 28, 28], clean.
        labels: uint8 [n].
        levels: of the noise, 0–1, ascending.
        denoisers: seed → autoencoder.
        classify: the judge.
        say: takes a line about each level.
    """
    rows: dict[Pictures, list[tuple[Right, tuple[ImageErrors, ...]]]] = {
        "seasoned": [],
        "denoised": [],
        "median filter": [],
    }
    for level in levels:
        noisy = seasoned(images, level)
        made: dict[Pictures, list[NDArray[Any]]] = {
            "seasoned": [noisy],
            "median filter": [median_filtered(noisy)],
        }
        for pictures, found in made.items():
            rows[pictures].append(_judged(images, labels, found, classify))
        # One at a time: 10,000 float images take 63 MB.
        each = [
            _judged(images, labels, [denoise(noisy)], classify) for denoise in denoisers.values()
        ]
        rows["denoised"].append(
            (np.concatenate([right for right, _ in each]), tuple(e for _, (e,) in each))
        )
        say(
            f"noise {level:g}: {100 * rows['seasoned'][-1][0].mean():.2f} % recognised, "
            f"{100 * rows['denoised'][-1][0].mean():.2f} % after denoising"
        )
    treated = {
        pictures: Treated(pictures, np.stack([r for r, _ in found]), tuple(e for _, e in found))
        for pictures, found in rows.items()
    }
    return Measured(
        levels=tuple(levels),
        labels=labels,
        seeds=tuple(denoisers),
        seasoned=treated["seasoned"],
        denoised=treated["denoised"],
        filtered=treated["median filter"],
    )


def seasoned(images: Bytes, level: float) -> Bytes:
    """Images with the noise of a level; levels share their draws, so that curves are smooth."""
    return salt_and_pepper(images, level, EVALUATION_KEY)


def _judged(
    clean: Bytes, labels: Bytes, made: Sequence[NDArray[Any]], classify: Classify
) -> tuple[Right, tuple[ImageErrors, ...]]:
    """Right answers [len(made), n], and errors of each."""
    right = np.stack([classify(pixels(found)).argmax(axis=1) == labels for found in made])
    return right, tuple(image_errors(clean, found) for found in made)


def pixels(images: NDArray[Any]) -> NDArray[Any]:
    """Images as classifiers take them, 0–255: floats of 0–1 are scaled, bytes stay."""
    return images if images.dtype == np.uint8 else images * np.float32(WHITE)
