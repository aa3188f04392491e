"""What a worker process does with a task: restore, train, save, report."""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from mnist_tune import checkpoints
from mnist_tune.checkpoints import Cadence, CheckpointError
from mnist_tune.data.sources import Dataset, Source, load_source
from mnist_tune.data.splits import final, split
from mnist_tune.errors import MnistTuneError, StorageError, WorkerFailed
from mnist_tune.recipes import compiled_on_cpus
from mnist_tune.trainer.runtime import Device, available_cores, device
from mnist_tune.trainer.states import EpochMetrics, RunState
from mnist_tune.trainer.training import Progress, Trainer
from mnist_tune.workers import control
from mnist_tune.workers.tasks import EPOCH_TOPIC, Job, Outcome, Task

THREADS_VARIABLE = "MNIST_TUNE_THREADS"
Publish = Callable[[dict[str, Any]], None]


def run(task: Task) -> Outcome:
    """Run a task on a Dask worker; epochs are published as events of `EPOCH_TOPIC`."""
    from distributed import get_worker

    worker = get_worker()

    def publish(message: dict[str, Any]) -> None:
        worker.log_event(EPOCH_TOPIC, message | {"worker": worker.address})

    try:
        publish(_message(task, {}))  # begun, whatever comes of it
        return carry_out(task, publish)
    except MnistTuneError:
        raise
    except Exception as error:  # whatever it is, the coordinator must be able to read it
        name = type(error).__name__
        reason = (
            "out_of_memory"
            if isinstance(error, MemoryError) or name == "ResourceExhaustedError"
            else "error"
        )
        line = " ".join(str(error).split())
        raise WorkerFailed(f"{name}: {line}", reason, traceback.format_exc()) from None


def carry_out(task: Task, publish: Publish) -> Outcome:
    """Train the task's runs from their checkpoints to the end, or until told to end.

    Raises:
        Diverged: a loss is no longer finite.
        DataError: the images are not those that the study began with.
    """
    started_at, job = _utc_now(), task.job
    where = device(_threads(job))
    trainer = _trainer(job.source, "all" if job.confirmation else job.protocol, where)
    restored, warnings = _restored(job, task.seeds)
    publish(_message(task, {state.seed: state.history for state in restored}))
    began = time.monotonic()
    states = trainer.train(job.network, job.recipe, restored, _Epochs(task, publish).after_each)
    train_seconds = time.monotonic() - began
    control.forget(task.name)
    finished = all(state.epoch == job.recipe.epochs for state in states)
    for state in states:
        _save(job, state, final=finished)
    scores = (
        trainer.score(job.network, job.recipe, states, _test(job.source))
        if finished and job.confirmation
        else ()
    )
    return Outcome(
        finished=finished,
        histories={state.seed: state.history for state in states},
        scores=scores,
        warnings=warnings,
        started_at=started_at,
        finished_at=_utc_now(),
        train_seconds=train_seconds,
        host=socket.gethostname(),
        device=where.name,
        threads=where.threads,
    )


class _Epochs:
    """What happens after each epoch: publish, save now and then, see whether to go on."""

    def __init__(self, task: Task, publish: Publish) -> None:
        self._task = task
        self._publish = publish
        self._cadence = Cadence(task.checkpoint_seconds)

    def after_each(self, progress: Progress) -> bool:
        self._publish(
            _message(
                self._task,
                {seed: (metrics,) for seed, metrics in progress.metrics.items()},
                trained=True,
            )
        )
        if self._cadence.due():
            for state in progress.snapshot():
                _save(self._task.job, state, final=False)
            self._cadence.saved()
        return not control.should_end(self._task.name)


def _message(
    task: Task, histories: dict[int, tuple[EpochMetrics, ...]], *, trained: bool = False
) -> dict[str, Any]:
    """Epochs as plain values, which is all that Dask's events carry.

    Args:
        task: that is under way.
        histories: seed → epochs, which may have been trained before.
        trained: whether the task has just trained them.
    """
    return {
        "task": task.name,
        "trained": trained,
        "metrics": [
            [seed, [asdict(metrics) for metrics in history]] for seed, history in histories.items()
        ],
    }


def _restored(job: Job, seeds: tuple[int, ...]) -> tuple[list[RunState], tuple[str, ...]]:
    states, warnings = [], []
    for seed in seeds:
        state = None
        try:
            state = checkpoints.load(job.checkpoint(seed), job.identity(seed))
        except CheckpointError as error:
            warnings.append(f"{error}; {job.key} starts its seed {seed} anew, with the same result")
        states.append(state or Trainer.start(job.network, job.recipe, seed))
    return states, tuple(warnings)


def _save(job: Job, state: RunState, *, final: bool) -> None:
    """Save a state.

    Raises:
        StorageError: nothing can be saved there, so that no other trial could end well either.
    """
    paths = [job.checkpoint(state.seed)]
    paths += [job.kept_weights(state.seed)] if final and job.weights is not None else []
    for path in paths:
        try:
            checkpoints.save(path, state, job.identity(state.seed))
        except OSError as error:
            raise StorageError(
                f"{path} cannot be written ({error.strerror}): make room there, or make its folder "
                "writable, and type the same command again; what was stored before is safe"
            ) from error


@lru_cache(maxsize=1)
def _dataset(source: Source) -> Dataset:
    return load_source(source)


@lru_cache(maxsize=1)
def _trainer(source: Source, images: str, where: Device) -> Trainer:
    if images == "all":
        return Trainer(final(_dataset(source))[0], None, where)
    parts = split(_dataset(source), "notebook" if images == "notebook" else "holdout")
    return Trainer(parts.train, parts.validation, where)


def _test(source: Source) -> Any:
    return final(_dataset(source))[1]


def _threads(job: Job) -> int:
    """CPU threads of one operation, as the coordinator shared them out, else all cores."""
    if not compiled_on_cpus(job.network, job.recipe):
        return 1
    return int(os.environ.get(THREADS_VARIABLE, available_cores()))


def _utc_now() -> str:
    return datetime.now(UTC).isoformat()
