"""What runs by kernels that round differently with each number of threads gets one of a worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from mnist_tune.data.sources import load_dataset
from mnist_tune.networks import Autoencoder, Block, Cnn, ConvAutoencoder, Mlp, Network
from mnist_tune.recipes import Adam, Recipe, compiled_on_cpus
from mnist_tune.workers.specs import THREADS_VARIABLE
from mnist_tune.workers.tasks import RunResult, Task, TrialSpec
from mnist_tune.workers.worker import train_task

CHECKOUT = Path(__file__).parent.parent.parent
CNN = Cnn(blocks=(Block(filters=16, convolutions=2, pool=4),), dense=(16,))
FLOAT32 = Recipe(epochs=1, batch_size=128, optimizer=Adam())
BFLOAT16 = replace(FLOAT32, precision="bfloat16")
ONE_THREAD: dict[str, tuple[Network, Recipe]] = {
    "convolutions": (CNN, FLOAT32),
    "bfloat16": (Mlp(hidden=(512, 64)), BFLOAT16),
}


def answer(kind: str) -> None:
    """What a child process does: train as a worker does, and say what came out."""
    network, recipe = ONE_THREAD[kind]
    with tempfile.TemporaryDirectory() as folder:
        trial = TrialSpec(
            trial_number=0,
            network=network,
            recipe=recipe,
            seeds=(3,),
            protocol="holdout",
            source=load_dataset(Path("embedded")).source,
            checkpoints=Path(folder),
        )
        task = Task(name="task", runs=trial.runs, checkpoint_seconds=100.0)
        (result,) = train_task(task, lambda _message: None)
    assert isinstance(result, RunResult)
    history = [asdict(metrics) for metrics in result.history]
    print(json.dumps({"threads": result.timing.threads, "history": history}))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ONE_THREAD)
def test_a_run_is_the_same_whatever_threads_its_worker_has(kind: str) -> None:
    code = f"from tests.workers.test_worker_threads import answer; answer({kind!r})"
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
    ("network", "recipe", "compiled"),
    [
        (Mlp(hidden=(8,)), FLOAT32, True),
        (Mlp(hidden=(8,)), BFLOAT16, False),
        (Autoencoder(latent=2), FLOAT32, True),
        (CNN, FLOAT32, False),
        (ConvAutoencoder(latent=2), BFLOAT16, False),
    ],
)
def test_what_is_compiled_on_cpus(network: Network, recipe: Recipe, compiled: bool) -> None:
    assert compiled_on_cpus(network, recipe) is compiled
