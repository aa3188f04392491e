"""Random numbers from (seed, purpose, index) alone, so that nothing but the epoch need be saved.

Every draw is a function of its key: Philox, a counter-based generator (Salmon et al., SC 2011),
is placed at the key's own counter and read raw. NumPy guarantees the raw stream of a bit
generator across versions, which it does not for `Generator` methods.
"""

from __future__ import annotations

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

_INDEX_BITS = 24  # low bits of a sort key that hold the position; 16.7 million images are enough


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
