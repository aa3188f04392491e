"""Workers that train nothing: they sleep through their epochs and tell of each, as real ones do.

`python -m benchmarks.sleepers ADDRESS COUNT` joins so many of them to a scheduler, in one process.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime

from distributed import Worker, get_worker

from mnist_tune.trainer.states import EpochMetrics
from mnist_tune.workers.tasks import EpochMessage, RunResult, Task, TaskResults, Timing
from mnist_tune.workers.worker import topic

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def sleep(task: Task) -> TaskResults:
    """Take the recipe's batch size as milliseconds of an epoch, and sleep."""
    worker, began = get_worker(), time.monotonic()
    recipe = task.runs[0].trial.recipe
    seconds = recipe.batch_size / 1_000
    history: list[EpochMetrics] = []

    def publish(message: EpochMessage) -> None:
        event = replace(message, worker=worker.address).to_event()
        worker.log_event(topic(task.coordinator), event)

    publish(EpochMessage(task.name, "begun"))
    for epoch in range(1, recipe.epochs + 1):
        time.sleep(max(0.0, began + epoch * seconds - time.monotonic()))
        history.append(
            EpochMetrics(
                epoch=epoch, train_loss=0.1, train_accuracy=0.9, val_loss=0.1, val_accuracy=0.9
            )
        )
        of_runs = tuple((index, history[-1]) for index in range(len(task.runs)))
        publish(EpochMessage(task.name, "trained", of_runs))
    timing = Timing(
        started_at=NOW,
        finished_at=NOW,
        train_seconds=time.monotonic() - began,
        host="nowhere",
        device="none",
        threads=1,
    )
    return tuple(RunResult(finished=True, history=tuple(history), timing=timing) for _ in task.runs)


async def _join(address: str, count: int) -> None:
    workers = [
        await Worker(address, nthreads=1, memory_limit=0, dashboard=False) for _ in range(count)
    ]
    await asyncio.gather(*(worker.finished() for worker in workers))


if __name__ == "__main__":
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    asyncio.run(_join(sys.argv[1], int(sys.argv[2])))
