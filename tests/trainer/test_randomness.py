"""Random numbers are functions of their keys, and stay what they are."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_tune.trainer.randomness import (
    Purpose,
    epoch_key,
    epoch_order,
    glorot_uniform,
    raw_bits,
)

seeds = st.integers(0, 2**63 - 1)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]


@given(seed=seeds, epoch=st.integers(0, 100_000), count=st.integers(1, 3_000))
def test_an_order_is_a_permutation(seed: int, epoch: int, count: int) -> None:
    order = epoch_order(seed, epoch, count)
    assert order.dtype == np.int32
    assert np.array_equal(np.sort(order), np.arange(count))


def test_orders_differ_by_seed_and_by_epoch_and_by_nothing_else() -> None:
    orders = {
        (seed, epoch): epoch_order(seed, epoch, 500).tobytes()
        for seed in (0, 1, 2**40)
        for epoch in (0, 1, 2)
    }
    assert len(set(orders.values())) == len(orders)
    assert orders[1, 2] == epoch_order(1, 2, 500).tobytes()


def test_every_image_comes_to_every_place() -> None:
    orders = np.stack([epoch_order(seed, 0, 20) for seed in range(4_000)])
    counts = np.stack([np.bincount(column, minlength=20) for column in orders.T])
    # Expected 200 ± 14 each; χ² of 19 × 19 degrees of freedom has mean 361 and std 27.
    assert ((counts - 200) ** 2 / 200).sum() == pytest.approx(361, abs=5 * 27)


def test_purposes_do_not_share_numbers() -> None:
    streams = [raw_bits(3, purpose, 0, 100) for purpose in Purpose]
    assert len(np.unique(np.concatenate(streams))) == 100 * len(Purpose)


def test_streams_of_neighbouring_indices_do_not_overlap() -> None:
    streams = [raw_bits(3, Purpose.EPOCH_ORDER, index, 5_000) for index in range(3)]
    assert len(np.unique(np.concatenate(streams))) == 15_000


@given(seed=seeds, layer=st.integers(0, 20))
def test_kernels_stay_within_glorots_bounds(seed: int, layer: int) -> None:
    kernel = glorot_uniform(seed, layer, (40, 30), (40, 30))
    assert kernel.shape == (40, 30)
    assert kernel.dtype == np.float32
    assert np.abs(kernel).max() <= math.sqrt(6 / 70)


def test_kernels_are_spread_evenly_within_glorots_bounds() -> None:
    kernel = glorot_uniform(0, 0, (784, 500), (784, 500))
    limit = math.sqrt(6 / (784 + 500))
    assert kernel.mean() == pytest.approx(0, abs=5 * limit / math.sqrt(3 * kernel.size))
    assert kernel.var() == pytest.approx(limit**2 / 3, rel=0.01)
    counts, _ = np.histogram(kernel, bins=50, range=(-limit, limit))
    assert counts == pytest.approx(kernel.size / 50, rel=0.06)


def test_kernels_differ_by_seed_and_by_layer() -> None:
    kernels = {
        glorot_uniform(s, layer, (9, 9), (9, 9)).tobytes() for s in range(3) for layer in range(3)
    }
    assert len(kernels) == 9


def test_epoch_keys_differ_in_both_words_and_are_32_bits_wide() -> None:
    keys = np.stack([epoch_key(seed, epoch) for seed in (0, 1, 2**40) for epoch in range(50)])
    assert [len(np.unique(words)) for words in keys.T] == [150, 150]
    assert keys.min() >= 0
    assert keys.max() < 2**32
    assert (keys > 2**31).any(axis=0).all()


# A change of any of these numbers gives other results than the studies that people have stored,
# and breaks their checkpoints: it needs a new format of both.


@pytest.mark.parametrize(
    ("purpose", "words"),
    [
        (Purpose.INITIAL_WEIGHTS, [980127395369309816, 10958090657380510566, 6746002740061119906]),
        (Purpose.EPOCH_ORDER, [2672325950562930440, 7430193390216688821, 8004569357599779652]),
        (Purpose.DROPOUT, [14782732156583515734, 1079830439501031960, 11920657935109712163]),
    ],
)
def test_the_numbers_of_each_purpose_are_pinned(purpose: Purpose, words: list[int]) -> None:
    assert raw_bits(7, purpose, 3, 3).tolist() == words


def test_every_purpose_is_pinned() -> None:
    assert [(purpose.name, purpose.value) for purpose in Purpose] == [
        ("INITIAL_WEIGHTS", 1),
        ("EPOCH_ORDER", 2),
        ("DROPOUT", 3),
    ]


def test_orders_are_pinned() -> None:
    assert epoch_order(7, 3, 10).tolist() == [3, 0, 5, 1, 2, 4, 8, 7, 9, 6]
    assert digest(epoch_order(7, 3, 60_000)) == "69692cb4e084fbe3"


def test_epoch_keys_are_pinned() -> None:
    assert epoch_key(7, 3).tolist() == [3441873042, 4209481302]


def test_kernels_are_pinned() -> None:
    assert digest(glorot_uniform(7, 1, (64, 10), (64, 10))) == "ca0a5b51750bf9b8"
