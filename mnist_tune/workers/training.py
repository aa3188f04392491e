"""What a worker process does with a task: restore, train, save, report."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from mnist_tune import checkpoints
from mnist_tune.checkpoints import Cadence, CheckpointError
from mnist_tune.data.sources import Dataset, Source
from mnist_tune.data.splits import final, split
from mnist_tune.errors import MnistTuneError, StorageError, WorkerFailed
from mnist_tune.recipes import compiled_on_cpus
from mnist_tune.trainer.runtime import Device, available_cores, device
from mnist_tune.trainer.states import EpochMetrics, RunState
from mnist_tune.trainer.training import Progress, Trainer
from mnist_tune.workers import control, images
from mnist_tune.workers.plan import THREADS_VARIABLE
from mnist_tune.workers.tasks import EPOCH_TOPIC, Job, Outcome, Task

Publish = Callable[[dict[str, Any]], None]

# TensorFlow's settings are the process's, and workers that are not ours may have several threads.
_ONE_AT_A_TIME = threading.Lock()


def topic(run: str) -> str:
    """Of the events by which tasks of one coordinator tell of their epochs."""
    return f"{EPOCH_TOPIC}-{run}"


def run(task: Task, dataset: Dataset | None = None) -> Outcome:
    """Run a task on a Dask worker; epochs are published as events of its coordinator's topic.

    Args:
        task: to run.
        dataset: the images, where they were sent along.
    """
    from distributed import get_worker

    worker = get_worker()
    # Where nobody has shared out the cores. With one thread results cannot depend on it.
    os.environ.setdefault(THREADS_VARIABLE, "1")

    def publish(message: dict[str, Any]) -> None:
        worker.log_event(topic(task.run), message | {"worker": worker.address})

    def wanted() -> bool:
        # A coordinator that is gone wants nothing any more, and Dask cannot end a thread.
        known = worker.state.tasks.get(key)
        return known is not None and known.state == "executing"

    key = worker.get_current_task()
    if dataset is not None:
        images.take(dataset)
    try:
        publish(_message(task, {}))  # begun, whatever comes of it
        with _ONE_AT_A_TIME:
            return carry_out(task, publish, wanted)
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


def carry_out(task: Task, publish: Publish, wanted: Callable[[], bool] = lambda: True) -> Outcome:
    """Train the task's runs from their checkpoints to the end, or until told to end.

    Args:
        task: to carry out.
        publish: tells the coordinator.
        wanted: whether anybody still waits for the outcome.

    Raises:
        Diverged: a loss is no longer finite.
        DataError: the images are not those that the study began with.
    """
    started_at, job = _utc_now(), here(task)
    where = device(_threads(job))
    trainer = _trainer(job.source, "all" if job.confirmation else job.protocol, where)
    alone = job is not task.job
    restored, warnings = _restored(job, task.seeds)
    publish(_message(task, {state.seed: state.history for state in restored}))
    began = time.monotonic()
    states = trainer.train(
        job.network,
        job.recipe,
        restored,
        _Epochs(replace(task, job=job), publish, wanted).after_each,
    )
    train_seconds = time.monotonic() - began
    control.forget(task.key)
    finished = all(state.epoch == job.recipe.epochs for state in states)
    for state in states:
        _save(job, state, final=finished)
    scores = (
        trainer.score(job.network, job.recipe, states, _test(job.source))
        if finished and job.confirmation
        else ()
    )
    weights = _taken_along(job, task.seeds) if finished and alone else {}
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
        weights=weights,
    )


def here(task: Task) -> Job:
    """The task's job, with folders of this machine where it shares none with the coordinator.

    What is saved there serves the next task of the same runs on this machine; on another one they
    start anew, with the same result.
    """
    job = task.job
    if not task.mark or (job.checkpoints / task.mark).is_file():
        return job
    scratch = Path(tempfile.gettempdir(), f"mnist-tune-{os.getuid()}", job.checkpoints.name)
    return replace(
        job,
        checkpoints=scratch,
        weights=None if job.weights is None else scratch / job.weights.name,
    )


def _taken_along(job: Job, seeds: tuple[int, ...]) -> dict[int, bytes]:
    """Final weights as files for the coordinator; nothing stays on this machine."""
    kept = {} if job.weights is None else {seed: job.kept_weights(seed) for seed in seeds}
    content = {seed: path.read_bytes() for seed, path in kept.items()}
    checkpoints.remove([*kept.values(), *(job.checkpoint(seed) for seed in seeds)])
    return content


class _Epochs:
    """What happens after each epoch: publish, save now and then, see whether to go on."""

    def __init__(self, task: Task, publish: Publish, wanted: Callable[[], bool]) -> None:
        self._task = task
        self._publish = publish
        self._wanted = wanted
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
        return self._wanted() and not control.should_end(self._task.key)


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
def _trainer(source: Source, part: str, where: Device) -> Trainer:
    if part == "all":
        return Trainer(final(images.images(source))[0], None, where)
    parts = split(images.images(source), "notebook" if part == "notebook" else "holdout")
    return Trainer(parts.train, parts.validation, where)


def _test(source: Source) -> Any:
    return final(images.images(source))[1]


def _threads(job: Job) -> int:
    """CPU threads of one operation, as the coordinator shared them out, else all cores."""
    if not compiled_on_cpus(job.network, job.recipe):
        return 1
    return int(os.environ.get(THREADS_VARIABLE, available_cores()))


def _utc_now() -> str:
    return datetime.now(UTC).isoformat()
