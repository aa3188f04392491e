"""One part of the data on a device, in the form that each goal takes it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.data.splits import Part
from mnist_tune.networks import PIXELS, Denoiser, Network
from mnist_tune.noise import evaluation_images, unit
from mnist_tune.trainer.runtime import Device, tensorflow


class DeviceImages:
    """Images that are copied to a device once, whatever is trained with them.

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

    def trained(self, network: Network) -> tuple[Any, ...]:
        """What a training program takes."""
        if isinstance(network, Denoiser):
            return self._images, self._floors
        return self._images, self._labels

    def scored(self, network: Network) -> tuple[Any, ...]:
        """What is scored; for a denoiser with its fixed noise."""
        if isinstance(network, Denoiser):
            return self._images, self._floors, self._seasoned(network.noise)
        return self._images, self._labels

    @cached_property
    def _labels(self) -> Any:
        return self._placed(self._part.labels.astype(np.int32))

    @cached_property
    def _floors(self) -> Any:
        return self._placed(floors(self._part))

    def _seasoned(self, noise: tuple[float, float]) -> Any:
        if noise not in self._noisy:
            self._noisy.clear()  # a study has one noise; a worker that goes on to another needs one
            noisy = evaluation_images(self._part.images, noise)
            self._noisy[noise] = self._placed(_flat(noisy))
        return self._noisy[noise]

    def _placed(self, array: NDArray[Any]) -> Any:
        tf = tensorflow()
        with tf.device(self._device.placement):
            return tf.constant(array)


def floors(part: Part) -> NDArray[np.float32]:
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
