"""One device and one small set of real digits for all tests of the trainer."""

from __future__ import annotations

import pytest

from mnist_tune.data import embedded
from mnist_tune.data.sources import Part
from mnist_tune.trainer.runtime import Device, device
from mnist_tune.trainer.training import Trainer

# Neither divides into batches of 32 or blocks of 1,000, so that the last ones are incomplete.
TRAIN_SIZE = 810
VALIDATION_SIZE = 1_234


@pytest.fixture(scope="session")
def cpu() -> Device:
    """The device of this process; one thread, as a worker has."""
    return device()


@pytest.fixture(scope="session")
def train_part() -> Part:
    images, labels, _, _ = embedded.read_embedded()
    return Part(images[:TRAIN_SIZE], labels[:TRAIN_SIZE])


@pytest.fixture(scope="session")
def validation_part() -> Part:
    images, labels, _, _ = embedded.read_embedded()
    return Part(images[-VALIDATION_SIZE:], labels[-VALIDATION_SIZE:])


@pytest.fixture(scope="session")
def trainer(train_part: Part, validation_part: Part, cpu: Device) -> Trainer:
    return Trainer(train_part, validation_part, cpu)
