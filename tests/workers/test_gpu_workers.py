"""Workers on a real GPU, where there is one."""

from __future__ import annotations

import queue
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnist_tune.data.sources import load_dataset
from mnist_tune.workers.executor import Executor
from mnist_tune.workers.machine import this_machine
from mnist_tune.workers.pools import LocalPool
from mnist_tune.workers.specs import Wish, plan
from mnist_tune.workers.tasks import Outcome, Piece, Task
from tests.search.fakes import job

PATIENCE_SECONDS = 120.0

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not this_machine().gpus, reason="there is no GPU here"),
]


def test_each_worker_trains_on_the_gpu_of_its_seat(tmp_path: Path) -> None:
    seats = plan(Wish(workers_per_gpu=2), this_machine())
    work = replace(
        job(seeds=range(len(seats)), epochs=1),
        source=load_dataset(Path("embedded")).source,
        checkpoints=tmp_path,
    )
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with Executor(LocalPool(seats), events) as cluster:
        for seed in work.seeds:
            cluster.submit(
                Task(name=f"task-{seed}", pieces=(Piece(work, (seed,)),), checkpoint_seconds=60)
            )
        devices: list[str] = []
        while len(devices) < len(seats):
            event = events.get(timeout=PATIENCE_SECONDS)
            if isinstance(event, str):
                (outcome,) = cluster.result(event).values()
                assert isinstance(outcome, Outcome)
                devices.append(outcome.device)
    assert sorted(device.split()[1] for device in devices) == sorted(
        str(seat.gpu) for seat in seats
    )
    assert all(device.startswith("GPU ") for device in devices)
