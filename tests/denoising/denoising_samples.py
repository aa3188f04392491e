"""Networks that need no training: nearest mean digits, as judge and as autoencoder."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.data.sources import Dataset, load_dataset
from mnist_tune.denoising.denoise import DenoisingInput
from mnist_tune.denoising.measuring import Denoise
from mnist_tune.noise import unit

TEST_IMAGES = 200


@cache
def digits() -> Dataset:
    return load_dataset(Path("embedded"))


@cache
def means() -> NDArray[np.float64]:
    """The mean training image of each class, [10, 784] of 0–1."""
    dataset = digits()
    flat = dataset.train.images.reshape(-1, 784) / 255
    return np.stack([flat[dataset.train.labels == digit].mean(axis=0) for digit in range(10)])


def classify(images: NDArray[Any]) -> NDArray[np.float64]:
    """The nearest mean digit, with a probability that falls with the distance."""
    flat = unit(images).reshape(len(images), 784)
    distances = ((flat[:, np.newaxis] - means()) ** 2).sum(axis=2)
    likelihoods = np.exp(-(distances - distances.min(axis=1, keepdims=True)))
    shares: NDArray[np.float64] = likelihoods / likelihoods.sum(axis=1, keepdims=True)
    return shares


@cache
def projecting(dimensions: int) -> Denoise:
    """Principal components of the training digits: an autoencoder without training."""
    flat = digits().train.images[:300].reshape(-1, 784) / 255
    centre = flat.mean(axis=0)
    axes = np.linalg.svd(flat - centre, full_matrices=False)[2][:dimensions]

    def denoise(images: NDArray[Any]) -> NDArray[np.float64]:
        codes = (images.reshape(len(images), 784) / 255 - centre) @ axes.T
        made: NDArray[np.float64] = np.clip(centre + codes @ axes, 0, 1)
        return made.reshape(images.shape)

    return denoise


def subject(**changes: Any) -> DenoisingInput:
    dataset = digits()
    values: dict[str, Any] = {
        "images": dataset.test.images[:TEST_IMAGES],
        "labels": dataset.test.labels[:TEST_IMAGES],
        "denoisers": {7: projecting(8), 9: projecting(12)},
        "classify": classify,
        "described": ("Principal components.",),
        "inputs": {"autoencoder": "none"},
    }
    return DenoisingInput(**{**values, **changes})
