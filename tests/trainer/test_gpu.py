"""What only a GPU can show; run by `pytest -m gpu` where TensorFlow sees one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mnist_tune.data.sources import Part
from mnist_tune.errors import Diverged
from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.trainer.runtime import Device, tensorflow
from mnist_tune.trainer.training import Trainer, TrainingRun, _Batch
from tests.trainer.training_samples import BUSY, BUSY_RECIPE, bits, go_on, trained

pytestmark = pytest.mark.gpu


@pytest.fixture
def gpu(cpu: Device) -> Device:
    if not tensorflow().config.list_physical_devices("GPU"):
        pytest.skip("TensorFlow sees no GPU")
    assert cpu.placement == "/GPU:0"  # `device` prefers it
    return cpu


def test_a_gpu_is_used_and_weights_stay_on_it(
    gpu: Device, train_part: Part, validation_part: Part
) -> None:
    network, recipe = (
        Mlp(hidden=(64, 64)),
        Recipe(epochs=1, batch_size=32, optimizer=Sgd(momentum=0.9)),
    )
    trainer = Trainer(train_part, validation_part, gpu)
    states = [Trainer.start(network, recipe, seed) for seed in (3, 11)]
    runs = {i: (TrainingRun(network, recipe, state), state) for i, state in enumerate(states)}
    batch = _Batch(runs, gpu, len(train_part))
    trainer._train_epoch(batch)  # noqa: SLF001
    kept = [*batch._weights, *batch._slots, trainer._train.trained(network)[0]]  # noqa: SLF001
    assert {tensor.device.rpartition("/")[2] for tensor in kept} == {"device:GPU:0"}
    assert gpu.shares_programs
    assert gpu.name != "CPU"


def test_a_gpu_agrees_with_the_cpu(gpu: Device, train_part: Part, validation_part: Part) -> None:
    """As far as its shorter mantissa in matrix products lets it."""
    on_gpu = trained(Trainer(train_part, validation_part, gpu), BUSY, BUSY_RECIPE, [3, 11])
    host = Device("CPU", "/CPU:0", 1)
    on_cpu = trained(Trainer(train_part, validation_part, host), BUSY, BUSY_RECIPE, [3, 11])
    for mine, theirs in zip(on_gpu, on_cpu, strict=True):
        for a, b in zip(mine.weights, theirs.weights, strict=True):
            assert np.abs(a - b).max() < 0.02 * np.abs(b).max()


def test_a_gpu_repeats_itself(gpu: Device, train_part: Part, validation_part: Part) -> None:
    trainer = Trainer(train_part, validation_part, gpu)
    first, second = (trained(trainer, BUSY, BUSY_RECIPE, [3, 11]) for _ in range(2))
    assert [bits(state) for state in first] == [bits(state) for state in second]


def test_a_batch_on_a_gpu_agrees_with_the_cpu(
    gpu: Device, train_part: Part, validation_part: Part
) -> None:
    networks = [replace(BUSY, l2=l2) for l2 in (0.0, 1e-4, 1e-3)]
    host = Trainer(train_part, validation_part, Device("CPU", "/CPU:0", 1))
    runs = [
        TrainingRun(network, BUSY_RECIPE, Trainer.start(network, BUSY_RECIPE, seed))
        for network in networks
        for seed in (3, 11)
    ]
    on_gpu = Trainer(train_part, validation_part, gpu).train(runs, go_on)
    on_cpu = [s for network in networks for s in trained(host, network, BUSY_RECIPE, [3, 11])]
    for mine, theirs in zip(on_gpu, on_cpu, strict=True):
        assert not isinstance(mine, Diverged)
        for a, b in zip(mine.weights, theirs.weights, strict=True):
            assert np.abs(a - b).max() < 0.02 * np.abs(b).max()
