"""The notebook's way: one plain Keras model after the other, trained by `model.fit`."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.data.idx import Bytes
from mnist_tune.data.sources import load_dataset
from mnist_tune.networks import Mlp
from mnist_tune.trainer.runtime import tensorflow

BATCH_SIZE = 128
LEARNING_RATE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Flattened:
    """Images as the notebook prepares them, before anything is timed.

    Attributes:
        images: float32 [n, 784] in 0–1.
        labels: uint8 [n].
    """

    images: NDArray[np.float32]
    labels: Bytes


class NotebookLoop:
    """Trains networks one after the other, each as a fresh model.

    TensorFlow keeps its own settings: every core, as in a notebook.

    Args:
        validate: score the test images after each epoch, as a notebook does to see how it goes.
    """

    def __init__(self, *, validate: bool) -> None:
        dataset = load_dataset()
        self._train = _flattened(dataset.train.images, dataset.train.labels)
        self._test = _flattened(dataset.test.images, dataset.test.labels)
        self._validation = (self._test.images, self._test.labels) if validate else None
        self._keras = _keras()

    def warm_up(self) -> None:
        """Pay once for what Keras and TensorFlow set up in the first `fit` of a process."""
        self._fitted(Mlp(hidden=(8,)), 1, self._train.images[:256], self._train.labels[:256])

    def seconds(self, networks: Sequence[Mlp], epochs: int) -> list[float]:
        """Train each network once; building and compiling its model is part of its time."""
        taken = []
        for network in networks:
            began = time.perf_counter()
            self._fitted(network, epochs, self._train.images, self._train.labels)
            taken.append(time.perf_counter() - began)
        return taken

    def _fitted(
        self, network: Mlp, epochs: int, images: NDArray[np.float32], labels: Bytes
    ) -> None:
        model = self._compiled(network)
        model.fit(
            images,
            labels,
            batch_size=BATCH_SIZE,
            epochs=epochs,
            verbose=0,
            validation_data=self._validation,
        )

    def _compiled(self, network: Mlp) -> Any:
        layers = self._keras.layers
        penalty = self._keras.regularizers.L2(network.l2) if network.l2 else None
        model = self._keras.Sequential(
            [
                self._keras.Input((network.widths[0],)),
                *(
                    layers.Dense(width, activation=network.activation, kernel_regularizer=penalty)
                    for width in network.hidden
                ),
                layers.Dense(network.widths[-1], activation="softmax"),
            ]
        )
        model.compile(
            optimizer=self._keras.optimizers.SGD(LEARNING_RATE),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        return model


def _flattened(images: Bytes, labels: Bytes) -> Flattened:
    return Flattened(images.reshape(len(images), -1).astype(np.float32) / np.float32(255), labels)


def _keras() -> Any:  # Keras ships no types
    tensorflow()
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    return keras
