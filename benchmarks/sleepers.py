"""Workers that train nothing: they sleep through their epochs and tell of each, as real ones do.

`python -m benchmarks.sleepers ADDRESS COUNT` joins so many of them to a scheduler, in one process.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from distributed import Worker, get_worker

from mnist_tune.trainer.states import EpochMetrics
from mnist_tune.workers.tasks import Outcome, Results, Task
from mnist_tune.workers.worker import topic

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


def sleep(task: Task) -> Results:
    """Take the recipe's batch size as milliseconds of an epoch, and sleep."""
    worker, began = get_worker(), time.monotonic()
    (piece,) = task.pieces
    job, seeds = piece.job, piece.seeds
    seconds = job.recipe.batch_size / 1_000

    def publish(metrics: list[Any], *, trained: bool) -> None:
        message = {"task": task.name, "trained": trained, "metrics": metrics, "over": []}
        worker.log_event(topic(task.run), message | {"worker": worker.address})

    publish([], trained=False)
    histories: dict[int, tuple[EpochMetrics, ...]] = dict.fromkeys(seeds, ())
    for epoch in range(1, job.recipe.epochs + 1):
        time.sleep(max(0.0, began + epoch * seconds - time.monotonic()))
        done = EpochMetrics(
            epoch=epoch, train_loss=0.1, train_accuracy=0.9, val_loss=0.1, val_accuracy=0.9
        )
        histories = {seed: (*history, done) for seed, history in histories.items()}
        publish([[job.key, seed, [asdict(done)]] for seed in seeds], trained=True)
    outcome = Outcome(
        finished=True,
        histories=histories,
        started_at=NOW,
        finished_at=NOW,
        train_seconds=time.monotonic() - began,
        host="nowhere",
        device="none",
        threads=1,
    )
    return {job.key: outcome}


async def _join(address: str, count: int) -> None:
    workers = [
        await Worker(address, nthreads=1, memory_limit=0, dashboard=False) for _ in range(count)
    ]
    await asyncio.gather(*(worker.finished() for worker in workers))


if __name__ == "__main__":
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    asyncio.run(_join(sys.argv[1], int(sys.argv[2])))
