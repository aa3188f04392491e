"""Random numbers that are drawn on the device: dropout masks and noise.

Key, step and place alone decide which numbers are drawn, so that nothing of them need be saved.
Uncompiled, TensorFlow has only Philox; compiled for CPUs, ThreeFry is six times as fast as it.
"""

from __future__ import annotations

import math
from typing import Any

from mnist_tune.trainer.runtime import tensorflow
from mnist_tune.trainer.stacked import per_run

# Keeps the numbers of all layers and steps apart: an epoch has at most 60,000 steps, and 16 bits for
# the step and 16 for the place fill one word of the generator's key.
_PLACE_BITS = 16
_NOISE_PLACE = 2**_PLACE_BITS - 1
_LEVEL_PLACE = 2**_PLACE_BITS - 2


class DeviceRandom:
    """The numbers of one step.

    Args:
        keys: int64 `[K, 2]`, of each seed in this epoch, from `randomness.epoch_key`.
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

    def seasoned(self, images: Any, low: Any, high: Any) -> Any:
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
