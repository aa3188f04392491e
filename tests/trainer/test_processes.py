"""Equal seeds give equal bits in freshly started processes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from mnist_tune.data import embedded
from mnist_tune.data.sources import Part
from mnist_tune.networks import Mlp
from mnist_tune.recipes import Adam, Recipe, Sgd
from mnist_tune.trainer.runtime import Device, device
from mnist_tune.trainer.training import Trainer
from tests.trainer.training_samples import BUSY, BUSY_RECIPE, bits, trained

WIDE = Mlp(hidden=(500, 300), l2=1e-4, dropout=0.5)
CASES = {
    "64-64": (Mlp(hidden=(64, 64)), Recipe(epochs=2, optimizer=Sgd(learning_rate=0.1))),
    "busy": (BUSY, BUSY_RECIPE),
    "wide": (WIDE, Recipe(epochs=1, optimizer=Adam())),
}


def digests(where: Device) -> dict[str, str]:
    """Train every case in this process; digests of all bits of its runs."""
    images, labels, _, _ = embedded.read_embedded()
    parts = Part(images[:810], labels[:810]), Part(images[-1_234:], labels[-1_234:])
    trainer = Trainer(*parts, where)
    everything = {
        name: repr([bits(state) for state in trained(trainer, *case, [3, 11])])
        for name, case in CASES.items()
    }
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in everything.items()}


def answer() -> None:
    """What a child process does."""
    where = device()
    print(json.dumps(digests(where)))
    assert where.threads == 1
    assert device() is where


def test_a_fresh_process_makes_no_difference_and_prints_nothing(cpu: Device) -> None:
    child = subprocess.run(
        [sys.executable, "-c", "from tests.trainer.test_processes import answer; answer()"],
        cwd=Path(__file__).parent.parent.parent,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        check=False,
    )
    assert (child.stderr, child.returncode) == (b"", 0)
    assert json.loads(child.stdout) == digests(Device("CPU", "/CPU:0", cpu.threads))
