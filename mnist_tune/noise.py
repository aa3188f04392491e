"""Salt-and-pepper noise, median filter, image quality (MSE, PSNR) and reference errors, by NumPy.

Noisy images are uint8 like clean ones; what a denoiser makes is float, 0–1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.data.idx import Bytes

Floats = NDArray[np.floating[Any]]

WHITE = 255
EVALUATION_KEY = 1
"""Of the noise on validation and test images, the same for every network and seed."""

# Keras keeps probabilities this far from 0 and 1 before it takes their logarithm.
_SURE = 1e-7
_AT_ONCE = 1_000  # images; more at a time would only take memory


@dataclass(frozen=True, slots=True)
class ImageErrors:
    """How far images are from the clean ones, as means over the images.

    Attributes:
        loss: denoising error: binary cross-entropy above its floor, nats per pixel.
        mse: mean squared error per pixel, pixels 0–1.
        psnr: −10·log10(mse) of each image, dB.
    """

    loss: float
    mse: float
    psnr: float


def salt_and_pepper(images: Bytes, levels: float | Floats, key: int) -> Bytes:
    """Set a share of each image's pixels to black or white, each half of the time.

    Args:
        images: uint8 [n, …].
        levels: of the noise, 0–1, one for all or one for each image.
        key: chooses the noise; the i-th image gets the same one whatever n is.

    Raises:
        ValueError: a level is below 0 or above 1.
    """
    levels = np.broadcast_to(np.asarray(levels, np.float64), len(images))
    if not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError(f"noise levels {levels}: give shares from 0 to 1")
    noisy = images.copy()
    for first in range(0, len(images), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        draws = _stream(key, first // _AT_ONCE, images[rows].size).reshape(images[rows].shape)
        level = levels[rows].reshape(-1, *[1] * (images.ndim - 1))
        black, white = draws < level / 2, (draws >= level / 2) & (draws < level)
        noisy[rows][black] = 0
        noisy[rows][white] = WHITE
    return noisy


def evaluation_images(images: Bytes, noise: tuple[float, float]) -> Bytes:
    """Images with the noise that denoisers are judged by.

    Args:
        images: uint8 [n, …].
        noise: the lowest and the highest level, 0–1; each image draws its own evenly between them.
    """
    low, high = noise
    levels = low + (high - low) * _stream(EVALUATION_KEY, 2**32 - 1, len(images))
    return salt_and_pepper(images, levels, EVALUATION_KEY)


def median_filtered(images: Bytes) -> Bytes:
    """The median of each pixel's 3×3 neighbourhood; at the border the outermost pixel repeats."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows, columns = images.shape[1:]
    shifted = [
        padded[:, row : row + rows, column : column + columns]
        for row in range(3)
        for column in range(3)
    ]
    # Only the middle one is needed, which partition finds faster than a sort.
    middle: Bytes = np.partition(np.stack(shifted), 4, axis=0)[4]
    return middle


def image_errors(clean: Bytes, made: Floats | Bytes) -> ImageErrors:
    """Compare images with the clean ones.

    Args:
        clean: uint8 [n, …].
        made: of the same shape, uint8 or floats 0–1; kept 1e-7 away from 0 and 1 for the
            cross-entropy, as Keras does.
    """
    loss = mse = psnr = 0.0
    for first in range(0, len(clean), _AT_ONCE):
        rows = slice(first, first + _AT_ONCE)
        target, found = unit(clean[rows]), unit(made[rows])
        loss += float(np.sum(divergence(target, found)))
        squares = ((target - found) ** 2).reshape(len(target), -1).mean(axis=1)
        mse += float(squares.sum())
        psnr += float(np.sum(-10 * np.log10(np.maximum(squares, 1e-12))))
    return ImageErrors(loss / clean.size, mse / len(clean), psnr / len(clean))


def denoising_references(train_images: Bytes, clean: Bytes, noisy: Bytes) -> dict[str, ImageErrors]:
    """What a denoiser must beat: doing nothing, a simple filter, and always the same image.

    Args:
        train_images: uint8 [m, 28, 28], whose mean is the image that is always the same.
        clean: uint8 [n, 28, 28].
        noisy: the same images with noise.
    """
    mean = train_images.mean(axis=0) / WHITE
    return {
        "noisy": image_errors(clean, noisy),
        "median filter": image_errors(clean, median_filtered(noisy)),
        "mean image": image_errors(clean, np.broadcast_to(mean, clean.shape)),
    }


def divergence(target: Floats, found: Floats) -> Floats:
    """Cross-entropy above its floor, pixel by pixel: the divergence of Kullback and Leibler (1951)."""
    found = np.clip(found, _SURE, 1 - _SURE)
    with np.errstate(divide="ignore", invalid="ignore"):
        white = np.where(target > 0, target * np.log(target / found), 0.0)
        black = np.where(target < 1, (1 - target) * np.log((1 - target) / (1 - found)), 0.0)
    total: Floats = white + black
    return total


def unit(images: Bytes | Floats) -> NDArray[np.float64]:
    """Pixels as floats 0–1."""
    return images / np.float64(WHITE) if images.dtype == np.uint8 else images.astype(np.float64)


def _stream(key: int, index: int, count: int) -> NDArray[np.float64]:
    """Numbers in 0–1 from the raw stream of Philox, which NumPy keeps the same for ever."""
    words = np.random.Philox(key=[key, 0x5A17], counter=[0, 0, 0, index]).random_raw(count)
    numbers: NDArray[np.float64] = (words >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers
