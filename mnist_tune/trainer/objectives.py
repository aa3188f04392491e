"""What networks are trained for: to classify images, or to take noise out of them.

A goal says what goes into the network, what should come out, and what is measured of it. All
functions work on tensors within a program; sums over images become means outside.
"""

from __future__ import annotations

from typing import Any, Protocol

from mnist_tune.trainer.draws import DeviceRandom
from mnist_tune.trainer.runtime import tensorflow

Part = tuple[Any, ...]
"""Tensors with the images of one part of the data along axis 0."""


class Objective(Protocol):
    """What the program of an epoch needs to know.

    Attributes:
        trained: names of what is measured in training.
        scored: names of what is measured on other images.
    """

    @property
    def trained(self) -> tuple[str, ...]: ...  # noqa: D102

    @property
    def scored(self) -> tuple[str, ...]: ...  # noqa: D102

    def drawn(self, train: Part, rows: Any, draws: DeviceRandom, inputs: dict[str, Any]) -> Part:
        """Take training images `[S, B]` by their rows: what goes in, then what should come out."""

    def taken(self, part: Part, rows: Any) -> Part:
        """Take images for scoring, `[1, B]`: what goes in, then what should come out."""

    def losses(self, scores: Any, wanted: Part) -> Any:
        """What training makes small, for each image: `[S, B]`."""

    def trainings(self, scores: Any, wanted: Part, losses: Any) -> tuple[Any, ...]:
        """The values of `trained` for each image: `[S, B]` each."""

    def scores(self, scores: Any, wanted: Part) -> tuple[Any, ...]:
        """The values of `scored` for each image: `[S, B]` each."""


class Classification:
    """The right one of ten classes. Parts are uint8 images `[N, 784]` and int32 labels `[N]`."""

    trained = ("loss", "accuracy")
    scored = ("loss", "accuracy")

    def drawn(self, train: Part, rows: Any, _draws: DeviceRandom, _inputs: dict[str, Any]) -> Part:
        """Images and labels."""
        tf = tensorflow()
        return _pixels(train[0], rows), tf.gather(train[1], rows)

    def taken(self, part: Part, rows: Any) -> Part:
        """Images and labels."""
        tf = tensorflow()
        return _pixels(part[0], rows)[tf.newaxis], tf.gather(part[1], rows)[tf.newaxis]

    def losses(self, scores: Any, wanted: Part) -> Any:
        """Cross-entropy in nats."""
        tf = tensorflow()
        return tf.nn.sparse_softmax_cross_entropy_with_logits(_like(wanted[0], scores), scores)

    def trainings(self, scores: Any, wanted: Part, losses: Any) -> tuple[Any, ...]:
        """Cross-entropy and hits."""
        return losses, self._hits(scores, wanted)

    def scores(self, scores: Any, wanted: Part) -> tuple[Any, ...]:
        """Cross-entropy and hits."""
        return self.losses(scores, wanted), self._hits(scores, wanted)

    def _hits(self, scores: Any, wanted: Part) -> Any:
        tf = tensorflow()
        return tf.cast(tf.argmax(scores, -1, output_type=tf.int32) == wanted[0], tf.float32)


class Denoising:
    """The clean image from a noisy one.

    Parts are clean uint8 images `[N, 784]`, float32 floors `[N]` of their cross-entropies and, for
    scoring, the noisy images, which are the same for all networks.
    """

    trained = ("loss",)
    scored = ("loss", "mse", "psnr")

    def drawn(self, train: Part, rows: Any, draws: DeviceRandom, inputs: dict[str, Any]) -> Part:
        """Images with fresh noise, and the clean images with their floors."""
        tf = tensorflow()
        clean = _pixels(train[0], rows)
        noisy = draws.seasoned(clean, inputs["noise_low"], inputs["noise_high"])
        return noisy, clean, tf.gather(train[1], rows)

    def taken(self, part: Part, rows: Any) -> Part:
        """Images with their fixed noise, and the clean images with their floors."""
        tf = tensorflow()
        clean, noisy = _pixels(part[0], rows), _pixels(part[2], rows)
        return noisy[tf.newaxis], clean[tf.newaxis], tf.gather(part[1], rows)[tf.newaxis]

    def losses(self, scores: Any, wanted: Part) -> Any:
        """Binary cross-entropy above its floor, nats per pixel."""
        tf = tensorflow()
        clean, floors = wanted
        entropies = tf.nn.sigmoid_cross_entropy_with_logits(_like(clean, scores), scores)
        return tf.reduce_mean(entropies, -1) - floors

    def trainings(self, _scores: Any, _wanted: Part, losses: Any) -> tuple[Any, ...]:
        """The denoising error."""
        return (losses,)

    def scores(self, scores: Any, wanted: Part) -> tuple[Any, ...]:
        """Denoising error, mean squared error per pixel, and PSNR in dB."""
        tf = tensorflow()
        mse = tf.reduce_mean((tf.sigmoid(scores) - wanted[0]) ** 2, -1)
        decibels = -10 / tf.math.log(10.0) * tf.math.log(tf.maximum(mse, 1e-12))
        return self.losses(scores, wanted), mse, decibels


def _pixels(images: Any, rows: Any) -> Any:
    tf = tensorflow()
    return tf.cast(tf.gather(images, rows), tf.float32) / 255


def _like(wanted: Any, scores: Any) -> Any:
    """What is wanted of every seed alike, once for each of them."""
    tf = tensorflow()
    return tf.broadcast_to(wanted, (scores.shape[0], *wanted.shape[1:]))
