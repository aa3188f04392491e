"""Counter-based random numbers: shuffling and initial weights on the host, dropout and noise on the device.

Every draw follows from its key alone, so that nothing but the epoch need be saved. On the host
Philox (Salmon et al., SC 2011) is placed at the key's own counter and read raw: NumPy guarantees the
raw stream of a bit generator across versions, which it does not for `Generator` methods. On the
device TensorFlow has only Philox uncompiled; compiled for CPUs, ThreeFry is six times as fast as it.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.trainer.runtime import per_run, tensorflow

_INDEX_BITS = 24  # low bits of a sort key that hold the position; 16.7 million images are enough
# Keeps the numbers of all layers and steps apart: an epoch has at most 60,000 steps, and 16 bits for
# the step and 16 for the place fill one word of the generator's key.
_PLACE_BITS = 16
_NOISE_PLACE = 2**_PLACE_BITS - 1
_LEVEL_PLACE = 2**_PLACE_BITS - 2


class Purpose(IntEnum):
    """What a stream of random numbers is for; the numbers are part of the checkpoint format."""

    INITIAL_WEIGHTS = 1
    EPOCH_ORDER = 2
    DROPOUT = 3


def raw_bits(seed: int, purpose: Purpose, index: int, count: int) -> NDArray[np.uint64]:
    """Draw `count` 64-bit words that depend on the three keys alone."""
    stream = np.random.Philox(key=[seed, int(purpose)], counter=[0, 0, 0, index])
    return stream.random_raw(count)


def epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int32]:
    """The order in which a run visits its `count` images in an epoch: a permutation.

    Sorting random words that carry their position in the low bits is a shuffle with no ties,
    so the result does not depend on the sorting algorithm.
    """
    low = np.uint64((1 << _INDEX_BITS) - 1)
    keys = raw_bits(seed, Purpose.EPOCH_ORDER, epoch, count) & ~low
    keys |= np.arange(count, dtype=np.uint64)
    keys.sort()
    return (keys & low).astype(np.int32)


def glorot_uniform(
    seed: int, layer: int, shape: tuple[int, ...], fans: tuple[int, int]
) -> NDArray[np.float32]:
    """Initial kernel, uniform within ±√(6/(fan in + fan out)) (Glorot and Bengio, 2010)."""
    words = raw_bits(seed, Purpose.INITIAL_WEIGHTS, layer, math.prod(shape))
    unit = (words >> np.uint64(40)).astype(np.float64) / 2**24  # 24 bits: exact in float32
    limit = math.sqrt(6 / sum(fans))
    return ((2 * unit - 1) * limit).astype(np.float32).reshape(shape)


def epoch_key(seed: int, epoch: int) -> NDArray[np.int64]:
    """Key of a run's draws on the device in an epoch: two 32-bit words, as its generators take."""
    word = int(raw_bits(seed, Purpose.DROPOUT, epoch, 1)[0])
    return np.array([word >> 32, word & 0xFFFFFFFF], np.int64)


class DeviceRandom:
    """Random numbers that are drawn on the device in one step.

    Args:
        keys: int64 `[K, 2]`, of each seed in this epoch, from `epoch_key`.
        step: int64 scalar within the epoch.
        compiled: whether the program is compiled by XLA, which decides on the generator.
        seeds: int32 `[S]`, which of the keys is each run's; None if each has its own. Runs of one
            seed draw the same numbers, so that these are drawn once.
    """

    def __init__(self, keys: Any, step: Any, *, compiled: bool, seeds: Any = None) -> None:
        self._keys = keys
        self._seeds = seeds
        self._step = step
        self._algorithm = "threefry" if compiled else "philox"

    def mask(self, place: int, shape: tuple[int, ...], rate: Any) -> Any:
        """Dropout masks float32 `[S, *shape]`: 0 where dropped, else 1/(1-rate).

        Args:
            place: of the layer.
            shape: batch size first.
            rate: of each run, float32 `[S]`, 0 ≤ rate < 1.
        """
        tf = tensorflow()
        halves = self._halves(place, shape)
        # 16 bits decide on one number, which halves the draws. The rate becomes a multiple of 2⁻¹⁶,
        # and the scale follows it, so that the expectation of the mask is 1 to float precision.
        steps = per_run(tf.clip_by_value(tf.round(rate * 2**16), 0, 2**16 - 1), halves)
        kept = tf.cast(halves >= tf.cast(steps, tf.uint32), tf.float32)
        return kept / (1 - steps / 2**16)

    def noisy(self, images: Any, low: Any, high: Any) -> Any:
        """Images `[S, B, pixels]` with salt-and-pepper noise, as `mnist_tune.noise` describes it.

        Args:
            images: float32, 0–1.
            low: float32 `[S]`; each image draws its level evenly between it and `high`.
            high: float32 `[S]`.
        """
        tf = tensorflow()
        shape = tuple(images.shape[1:])
        unit = tf.cast(self._halves(_LEVEL_PLACE, (shape[0],)), tf.float32) / 2**16
        level = per_run(low, unit) + per_run(high - low, unit) * unit
        level = tf.round(level * 2**16)[:, :, tf.newaxis]
        draws = tf.cast(self._halves(_NOISE_PLACE, shape), tf.float32)
        return tf.where(draws < level / 2, 0.0, tf.where(draws < level, 1.0, images))

    def _halves(self, place: int, shape: tuple[int, ...]) -> Any:
        """Numbers of 16 bits as uint32 `[S, *shape]`, two from each word."""
        tf = tensorflow()
        index, count = self._step * 2**_PLACE_BITS + place, math.prod(shape)
        keys = range(self._keys.shape[0])
        # One call per seed, so that a run's numbers do not depend on which others share its program.
        words = tf.stack([self._words(self._keys[k], index, -(-count // 2)) for k in keys])
        halves = tf.concat([words & 0xFFFF, tf.bitwise.right_shift(words, 16)], axis=1)[:, :count]
        halves = tf.reshape(halves, (-1, *shape))
        return halves if self._seeds is None else tf.gather(halves, self._seeds)

    def _words(self, key: Any, index: Any, count: int) -> Any:
        tf = tensorflow()
        # Compiled, ThreeFry takes the low 32 bits of each of two numbers, whatever their type: both
        # are below 2³² here, so that no two indices share their numbers.
        seed = tf.stack([key[0], tf.bitwise.bitwise_xor(key[1], index)])
        return tf.random.stateless_uniform(
            (count,), seed, None, None, tf.uint32, alg=self._algorithm
        )
