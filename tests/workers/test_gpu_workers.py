"""Workers on a real GPU, where there is one."""

from __future__ import annotations

import queue
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnist_tune.data.sources import load_dataset
from mnist_tune.workers.executor import Executor
from mnist_tune.workers.pools import LocalPool
from mnist_tune.workers.specs import WorkerOptions, this_machine, worker_specs
from mnist_tune.workers.tasks import RunResult, Task, TaskEnded
from tests.search.fakes import spec

PATIENCE_SECONDS = 120.0

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not this_machine().gpus, reason="there is no GPU here"),
]


def test_each_worker_trains_on_the_gpu_of_its_spec(tmp_path: Path) -> None:
    specs = worker_specs(WorkerOptions(workers_per_gpu=2), this_machine())
    trial = replace(
        spec(seeds=range(len(specs)), epochs=1),
        source=load_dataset(Path("embedded")).source,
        checkpoints=tmp_path,
    )
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with Executor(LocalPool(specs), events) as executor:
        for run in trial.runs:
            executor.submit(Task(name=f"task-{run.seed}", runs=(run,), checkpoint_seconds=60))
        devices: list[str] = []
        while len(devices) < len(specs):
            event = events.get(timeout=PATIENCE_SECONDS)
            if isinstance(event, TaskEnded):
                (result,) = executor.result(event.task)
                assert isinstance(result, RunResult)
                devices.append(result.timing.device)
    assert sorted(device.split()[1] for device in devices) == sorted(str(s.gpu) for s in specs)
