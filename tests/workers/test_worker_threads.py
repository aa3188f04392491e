"""Convolutions round differently with each number of threads: a worker gives them one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import pytest

from mnist_tune.data.sources import load
from mnist_tune.networks import Autoencoder, Block, Cnn, ConvAutoencoder, Mlp, Network
from mnist_tune.recipes import Adam, Recipe
from mnist_tune.workers.tasks import Job, Task
from mnist_tune.workers.training import THREADS_VARIABLE, carry_out

CHECKOUT = Path(__file__).parent.parent.parent
CNN = Cnn(blocks=(Block(filters=16, convolutions=2, pool=4),), dense=(16,))


def answer() -> None:
    """What a child process does: train as a worker does, and say what came out."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            trial_number=0,
            network=CNN,
            recipe=Recipe(epochs=1, batch_size=128, optimizer=Adam()),
            seeds=(3,),
            protocol="holdout",
            source=load(Path("embedded")).source,
            checkpoints=Path(folder),
        )
        task = Task(name="task", job=job, seeds=(3,), checkpoint_seconds=100.0)
        outcome = carry_out(task, lambda _message: None)
    history = [asdict(metrics) for metrics in outcome.histories[3]]
    print(json.dumps({"threads": outcome.threads, "history": history}))


@pytest.mark.slow
def test_a_convolutional_run_is_the_same_whatever_threads_its_worker_has() -> None:
    code = "from tests.workers.test_worker_threads import answer; answer()"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=CHECKOUT,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", THREADS_VARIABLE: threads},
            stdout=subprocess.PIPE,
        )
        for threads in ("1", "2")
    ]
    first, second = (json.loads(child.communicate(timeout=110)[0]) for child in children)
    assert first["threads"] == 1
    assert first == second


@pytest.mark.parametrize(
    ("network", "convolutional"),
    [
        (Mlp(hidden=(8,)), False),
        (Autoencoder(latent=2), False),
        (CNN, True),
        (ConvAutoencoder(latent=2), True),
    ],
)
def test_which_networks_are_convolutional(network: Network, convolutional: bool) -> None:
    assert network.convolutional is convolutional
