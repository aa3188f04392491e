"""What the peer scripts train: networks, epochs and images, in plain NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Work:
    """One training.

    Attributes:
        seeds: runs, one after the other or together.
        epochs: of each run.
        batch_size: images in a step.
        widths: units of the hidden dense layers; of the autoencoder's layers.
        l2: factor of the penalty on hidden kernels.
    """

    seeds: int
    epochs: int
    batch_size: int = 128
    widths: tuple[int, ...] = ()
    l2: float = 0.0


WORKS = {
    "64-64": Work(seeds=3, epochs=10, widths=(64, 64)),
    "500-300": Work(seeds=3, epochs=6, widths=(500, 300), l2=2.5e-4),
    "autoencoder": Work(seeds=3, epochs=4, batch_size=64, widths=(128, 96, 128)),
    "cnn": Work(seeds=2, epochs=1),
}
LEARNING_RATE = 0.1  # of SGD
ADAM_LEARNING_RATE = 1e-3
NOISE = 0.4  # share of the pixels that become black or white


def load(file: str) -> tuple[Floats, Labels, Floats, Labels]:
    """Training images, labels, test images and labels from a file like Keras' `mnist.npz`.

    Returns:
        Images as float32 [n, 784] in 0–1, labels as int64 [n].
    """
    with np.load(file) as arrays:
        train, test = (
            (
                arrays[f"x_{part}"].reshape(-1, 784).astype(np.float32) / np.float32(255),
                arrays[f"y_{part}"].astype(np.int64),
            )
            for part in ("train", "test")
        )
    return (*train, *test)
