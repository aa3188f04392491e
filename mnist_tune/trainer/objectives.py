"""Training objectives, to classify images or to take noise out of them, and the images that they take.

An objective says what goes into the network, what should come out, and what is measured of it. Its
functions work on tensors within a program; sums over images become means outside.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.data.sources import Part
from mnist_tune.networks import PIXELS, Denoiser, Network
from mnist_tune.noise import evaluation_images, unit
from mnist_tune.trainer.randomness import DeviceRandom
from mnist_tune.trainer.runtime import Device, tensorflow

Tensors = tuple[Any, ...]
"""Tensors with the images of one part of the data along axis 0."""


class Classification:
    """The right one of ten classes. Parts are uint8 images `[N, 784]` and int32 labels `[N]`."""

    trained = ("loss", "accuracy")
    scored = ("loss", "accuracy")

    def training_batch(
        self, train: Tensors, rows: Any, _random: DeviceRandom, _inputs: dict[str, Any]
    ) -> Tensors:
        """Images and labels."""
        tf = tensorflow()
        return _pixels(train[0], rows), tf.gather(train[1], rows)

    def evaluation_batch(self, part: Tensors, rows: Any) -> Tensors:
        """Images and labels."""
        tf = tensorflow()
        return _pixels(part[0], rows)[tf.newaxis], tf.gather(part[1], rows)[tf.newaxis]

    def losses(self, logits: Any, wanted: Tensors) -> Any:
        """Cross-entropy in nats."""
        tf = tensorflow()
        return tf.nn.sparse_softmax_cross_entropy_with_logits(_like(wanted[0], logits), logits)

    def training_metrics(self, logits: Any, wanted: Tensors, losses: Any) -> tuple[Any, ...]:
        """Cross-entropy and hits."""
        return losses, self._hits(logits, wanted)

    def evaluation_metrics(self, logits: Any, wanted: Tensors) -> tuple[Any, ...]:
        """Cross-entropy and hits."""
        return self.losses(logits, wanted), self._hits(logits, wanted)

    def _hits(self, logits: Any, wanted: Tensors) -> Any:
        tf = tensorflow()
        return tf.cast(tf.argmax(logits, -1, output_type=tf.int32) == wanted[0], tf.float32)


class Denoising:
    """The clean image from a noisy one.

    Parts are clean uint8 images `[N, 784]`, float32 floors `[N]` of their cross-entropies and, for
    scoring, the noisy images, which are the same for all networks.
    """

    trained = ("loss",)
    scored = ("loss", "mse", "psnr")

    def training_batch(
        self, train: Tensors, rows: Any, random: DeviceRandom, inputs: dict[str, Any]
    ) -> Tensors:
        """Images with fresh noise, and the clean images with their floors."""
        tf = tensorflow()
        clean = _pixels(train[0], rows)
        noisy = random.noisy(clean, inputs["noise_low"], inputs["noise_high"])
        return noisy, clean, tf.gather(train[1], rows)

    def evaluation_batch(self, part: Tensors, rows: Any) -> Tensors:
        """Images with their fixed noise, and the clean images with their floors."""
        tf = tensorflow()
        clean, noisy = _pixels(part[0], rows), _pixels(part[2], rows)
        return noisy[tf.newaxis], clean[tf.newaxis], tf.gather(part[1], rows)[tf.newaxis]

    def losses(self, logits: Any, wanted: Tensors) -> Any:
        """Binary cross-entropy above its floor, nats per pixel."""
        tf = tensorflow()
        clean, floors = wanted
        entropies = tf.nn.sigmoid_cross_entropy_with_logits(_like(clean, logits), logits)
        return tf.reduce_mean(entropies, -1) - floors

    def training_metrics(self, _logits: Any, _wanted: Tensors, losses: Any) -> tuple[Any, ...]:
        """The denoising error."""
        return (losses,)

    def evaluation_metrics(self, logits: Any, wanted: Tensors) -> tuple[Any, ...]:
        """Denoising error, mean squared error per pixel, and PSNR in dB."""
        tf = tensorflow()
        mse = tf.reduce_mean((tf.sigmoid(logits) - wanted[0]) ** 2, -1)
        decibels = -10 / tf.math.log(10.0) * tf.math.log(tf.maximum(mse, 1e-12))
        return self.losses(logits, wanted), mse, decibels


def _pixels(images: Any, rows: Any) -> Any:
    tf = tensorflow()
    return tf.cast(tf.gather(images, rows), tf.float32) / 255


def _like(wanted: Any, logits: Any) -> Any:
    """What is wanted of every seed alike, once for each of them."""
    tf = tensorflow()
    return tf.broadcast_to(wanted, (logits.shape[0], *wanted.shape[1:]))


Objective = Classification | Denoising


class DeviceImages:
    """Images on a device, copied there once, in the form that each objective takes them.

    Args:
        part: the images.
        device: where they go.
    """

    def __init__(self, part: Part, device: Device) -> None:
        self._part = part
        self._device = device
        self._images = self._placed(_flat(part.images))
        self._noisy: dict[tuple[float, float], Any] = {}

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._part)

    def trained(self, network: Network) -> Tensors:
        """What a training program takes."""
        if isinstance(network, Denoiser):
            return self._images, self._floors
        return self._images, self._labels

    def scored(self, network: Network) -> Tensors:
        """What is scored; for a denoiser with its fixed noise."""
        if isinstance(network, Denoiser):
            return self._images, self._floors, self._noisy_images(network.noise)
        return self._images, self._labels

    @cached_property
    def _labels(self) -> Any:
        return self._placed(self._part.labels.astype(np.int32))

    @cached_property
    def _floors(self) -> Any:
        return self._placed(entropy_floors(self._part))

    def _noisy_images(self, noise: tuple[float, float]) -> Any:
        if noise not in self._noisy:
            self._noisy.clear()  # a study has one noise; a worker that goes on to another needs one
            noisy = evaluation_images(self._part.images, noise)
            self._noisy[noise] = self._placed(_flat(noisy))
        return self._noisy[noise]

    def _placed(self, array: NDArray[Any]) -> Any:
        tf = tensorflow()
        with tf.device(self._device.placement):
            return tf.constant(array)


def entropy_floors(part: Part) -> NDArray[np.float32]:
    """The least binary cross-entropy of each image, nats per pixel: grey pixels have an entropy."""
    # Of 256 possible pixels, so that no image need become floats.
    shares = unit(np.arange(256, dtype=np.uint8))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.nan_to_num(shares * np.log(shares), nan=0.0)
    entropy = -(terms + terms[::-1]).astype(np.float32)
    floor: NDArray[np.float32] = np.array(
        [entropy[image].mean() for image in _flat(part.images)], np.float32
    )
    return floor


def _flat(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return images.reshape(len(images), PIXELS)  # -1 would not do for no images at all
