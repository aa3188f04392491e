"""Dropout masks: functions of (seed, step, layer), with the right share and scale."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_tune.data.sources import Part
from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.trainer.randomness import DeviceRandom, epoch_key, epoch_order
from mnist_tune.trainer.runtime import Device, tensorflow
from mnist_tune.trainer.training import Trainer
from tests.trainer.training_samples import train

Masks = list[NDArray[np.float32] | None]


def masks(
    rates: Sequence[float | None],
    seeds: Sequence[int] = (7,),
    epoch: int = 2,
    step: int = 3,
    widths: tuple[int, ...] = (50, 41, 33, 10),
    batch_size: int = 31,
) -> Masks:
    """Draw as the compiled program does; step counts within the epoch."""
    tf = tensorflow()
    drawn = drawing(widths, tuple(rate is not None for rate in rates), batch_size)(
        tf.constant(np.stack([epoch_key(seed, epoch) for seed in seeds])),
        tf.constant(step, tf.int64),
        [tf.constant(rate or 0, tf.float32) for rate in rates],
    )
    return [None if mask is None else mask.numpy() for mask in drawn]


@cache
def drawing(widths: tuple[int, ...], dropped: tuple[bool, ...], batch_size: int) -> Any:
    def draw(keys: Any, step: Any, rates: list[Any]) -> list[Any]:
        draws = DeviceRandom(keys, step, compiled=True)
        return [
            draws.mask(place, (batch_size, widths[place]), rate) if dropped[place] else None
            for place, rate in enumerate(rates)
        ]

    return tensorflow().function(draw, jit_compile=True, autograph=False)


def one(rate: float, **keys: Any) -> NDArray[np.float32]:
    mask = masks([rate, None, None], **keys)[0]
    assert mask is not None
    return mask


@pytest.fixture(autouse=True)
def _one_thread(cpu: Device) -> None:
    """Set the device up before TensorFlow is used."""


@pytest.mark.parametrize("rate", [1e-4, 0.1, 0.2, 0.5, 0.9, 0.999])
def test_the_share_dropped_is_the_rate_and_the_mean_stays(rate: float) -> None:
    mask = one(rate, batch_size=1_000, widths=(1_024, 0, 0, 0))
    assert mask.shape == (1, 1_000, 1_024)
    assert len(np.unique(mask)) == 2
    assert mask.max() == pytest.approx(1 / (1 - rate), rel=2**-16 / (1 - rate))
    noise = math.sqrt(rate * (1 - rate) / mask.size)
    assert (mask == 0).mean() == pytest.approx(rate, abs=5 * noise + 2**-17)
    assert mask.mean(dtype=np.float64) == pytest.approx(1, abs=5 * noise / (1 - rate))


def test_a_rate_next_to_1_keeps_the_scale_finite() -> None:
    assert np.isfinite(one(1 - 1e-7)).all()


def test_no_rate_is_no_mask() -> None:
    first, second, third = masks([None, 0.5, None])
    assert first is None
    assert second is not None
    assert third is None


def test_masks_differ_by_seed_by_epoch_by_step_and_by_layer() -> None:
    drawn = [
        run.tobytes()
        for epoch, step in itertools.product((0, 1, 99_999), (0, 1, 59_999))
        for mask in masks([0.5] * 3, (0, 1, 2**40), epoch, step, (40, 40, 40, 10))
        if mask is not None
        for run in mask
    ]
    assert len(drawn) == 81
    assert len(set(drawn)) == 81


def test_masks_of_all_steps_of_an_epoch_and_of_all_layers_differ() -> None:
    # The generator looks at 32 bits of the index only: make sure that they hold all.
    rates = [0.5 if layer in (0, 1, 2, 15, 16, 255, 256, 299) else None for layer in range(300)]
    drawn = [
        mask.tobytes()
        for step in (0, 1, 2, 15, 16, 255, 256, 2**15, 59_998, 59_999)
        for mask in masks(rates, step=step, widths=(20,) * 301, batch_size=10)
        if mask is not None
    ]
    assert len(drawn) == 80
    assert len(set(drawn)) == 80


def test_neighbours_in_a_mask_are_independent() -> None:
    dropped = (one(0.5, batch_size=500, widths=(600, 0, 0, 0))[0] == 0).astype(float) - 0.5
    halves = np.split(dropped.ravel(), 2)  # the two halves of each word lie so far apart
    for left, right in [
        (dropped[1:], dropped[:-1]),
        (dropped[:, 1:], dropped[:, :-1]),
        (halves[0], halves[1]),
    ]:
        correlation = (left * right).mean() / 0.25
        assert abs(correlation) < 5 / math.sqrt(left.size)


def test_equal_keys_give_equal_masks_in_any_company() -> None:
    stacked = masks([0.2, None, 0.5], [5, 7, 11])
    alone = masks([0.2, None, 0.5], [7])
    for together, single in zip(stacked, alone, strict=True):
        if together is not None and single is not None:
            assert together[1].tobytes() == single[0].tobytes()


def test_the_rate_decides_how_many_of_the_same_numbers_are_dropped() -> None:
    assert (one(0.5) == 0)[one(0.2) == 0].all()


def test_masks_are_pinned() -> None:
    # Like the other random numbers: a change breaks checkpoints and stored results.
    drawn = [mask for mask in masks([0.2, 0.5, None]) if mask is not None]
    packed = b"".join(np.packbits(mask > 0).tobytes() for mask in drawn)
    assert hashlib.sha256(packed).hexdigest()[:16] == "2954e42e60223123"


def test_training_uses_the_masks_of_its_seed_epoch_step_and_layer(
    train_part: Part, cpu: Device
) -> None:
    """Two epochs of a small network by hand, in float64."""
    network = Mlp(hidden=(12,), dropout=0.5, input_dropout=0.2)
    recipe = Recipe(epochs=2, batch_size=300, optimizer=Sgd(learning_rate=0.1))
    start = Trainer.start(network, recipe, 3)
    trainer = Trainer(train_part, None, cpu)
    states = [Trainer.start(network, recipe, 8), start]
    _, after = train(trainer, network, recipe, states, lambda _progress: True)

    w1, b1, w2, b2 = (weight.astype(np.float64) for weight in start.weights)
    for epoch, step in itertools.product(range(2), range(3)):
        rows = epoch_order(3, epoch, len(train_part))[300 * step : 300 * (step + 1)]
        first, second = (
            mask[0, : len(rows)]
            for mask in masks([0.2, 0.5], [3], epoch, step, (784, 12, 10), batch_size=300)
            if mask is not None
        )
        inputs = train_part.images[rows].reshape(len(rows), -1) / 255 * first
        raw = inputs @ w1 + b1
        hidden = np.maximum(raw, 0) * second
        odds = np.exp(hidden @ w2 + b2)
        slope = odds / odds.sum(axis=1, keepdims=True) - np.eye(10)[train_part.labels[rows]]
        slope /= len(rows)
        back = slope @ w2.T * second * (raw > 0)
        w2, b2 = w2 - 0.1 * hidden.T @ slope, b2 - 0.1 * slope.sum(axis=0)
        w1, b1 = w1 - 0.1 * inputs.T @ back, b1 - 0.1 * back.sum(axis=0)
    for found, wanted in zip(after.weights, (w1, b1, w2, b2), strict=True):
        assert found == pytest.approx(wanted, abs=1e-6)
