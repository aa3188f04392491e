"""Trains a work with `model.fit`: python -m benchmarks.peers.keras_fit WORK FILE."""

from __future__ import annotations

import sys
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.peers.work import (
    ADAM_LEARNING_RATE,
    LEARNING_RATE,
    NOISE,
    WORKS,
    Floats,
    Work,
    load,
)


def main(name: str, file: str) -> None:
    """Train all runs of a work, one after the other, and print their validation results."""
    work = WORKS[name]
    images, labels, test_images, test_labels = load(file)
    for seed in range(work.seeds):
        keras.utils.set_random_seed(seed)
        result = 0.0
        if name == "autoencoder":
            model = _autoencoder(work)
            noise = np.random.default_rng(seed)
            for _epoch in range(work.epochs):
                model.fit(_noisy(images, noise), images, batch_size=work.batch_size, verbose=0)
                result = model.evaluate(_noisy(test_images, noise), test_images, verbose=0)
        else:
            model = _cnn() if name == "cnn" else _dense(work)
            shape = (-1, 28, 28, 1) if name == "cnn" else (-1, 784)
            test = (test_images.reshape(shape), test_labels)
            fitted = model.fit(
                images.reshape(shape),
                labels,
                batch_size=work.batch_size,
                epochs=work.epochs,
                validation_data=test,
                verbose=0,
            )
            result = fitted.history["val_accuracy"][-1]
        print(f"seed {seed}: {result:.4f}")


def _dense(work: Work) -> Any:
    model = keras.Sequential([keras.Input((784,))])
    for width in work.widths:
        penalty = keras.regularizers.L2(work.l2) if work.l2 else None
        model.add(layers.Dense(width, activation="relu", kernel_regularizer=penalty))
    model.add(layers.Dense(10, activation="softmax"))
    return _compiled(model)


def _cnn() -> Any:
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(3),
            layers.Dropout(0.4),
            layers.Flatten(),
            layers.Dense(64, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    return _compiled(model)


def _compiled(model: Any) -> Any:
    optimizer = keras.optimizers.SGD(LEARNING_RATE)
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _autoencoder(work: Work) -> Any:
    model = keras.Sequential([keras.Input((784,))])
    for width in work.widths:
        model.add(layers.Dense(width, activation="relu"))
    model.add(layers.Dense(784, activation="sigmoid"))
    model.compile(keras.optimizers.Adam(ADAM_LEARNING_RATE), loss="binary_crossentropy")
    return model


def _noisy(images: Floats, noise: np.random.Generator) -> Floats:
    draws = noise.random(images.shape, dtype=np.float32)
    return np.where(
        draws < NOISE / 2, np.float32(0), np.where(draws < NOISE, np.float32(1), images)
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
