"""What a worker process does with a task: restore, train, save, report."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Container, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from mnist_tune import checkpoints
from mnist_tune.checkpoints import Cadence, CheckpointError
from mnist_tune.data.sources import Dataset, Source
from mnist_tune.data.splits import final, split
from mnist_tune.errors import Diverged, MnistTuneError, StorageError, WorkerFailed
from mnist_tune.recipes import compiled_on_cpus
from mnist_tune.trainer.runtime import Device, available_cores, device
from mnist_tune.trainer.states import EpochMetrics, RunState, Score
from mnist_tune.trainer.training import Member, Progress, Trainer
from mnist_tune.workers import control, images
from mnist_tune.workers.plan import THREADS_VARIABLE
from mnist_tune.workers.tasks import EPOCH_TOPIC, Job, Outcome, Piece, Result, Task

Publish = Callable[[dict[str, Any]], None]

# TensorFlow's settings are the process's, and workers that are not ours may have several threads.
_ONE_AT_A_TIME = threading.Lock()


def topic(run: str) -> str:
    """Of the events by which tasks of one coordinator tell of their epochs."""
    return f"{EPOCH_TOPIC}-{run}"


def run(task: Task, dataset: Dataset | None = None) -> tuple[Result, ...]:
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
        failure = _in_words(error)
    # Not above: an exception takes along what was being handled, and one of TensorFlow's would
    # import TensorFlow where it arrives.
    raise failure


def _in_words(error: Exception) -> WorkerFailed:
    name, line = type(error).__name__, " ".join(str(error).split())
    full = isinstance(error, MemoryError) or name == "ResourceExhaustedError"
    reason = "out_of_memory" if full else "error"
    return WorkerFailed(f"{name}: {line}", reason, "".join(traceback.format_exception(error)))


def carry_out(
    task: Task, publish: Publish, wanted: Callable[[], bool] = lambda: True
) -> tuple[Result, ...]:
    """Train the task's runs from their checkpoints to the end, or until told to end.

    Args:
        task: to carry out.
        publish: tells the coordinator.
        wanted: whether anybody still waits for the outcome.

    Returns:
        What became of each piece.

    Raises:
        DataError: the images are not those that the study began with.
    """
    started_at, pieces, lead = _utc_now(), here(task), task.lead
    where = device(_threads(lead))
    trainer = _trainer(lead.source, "all" if lead.confirmation else lead.protocol, where)
    restored, warnings = zip(*(_restored(piece) for piece in pieces), strict=True)
    publish(
        _message(
            task,
            {
                piece.job.key: {state.seed: state.history for state in states}
                for piece, states in zip(pieces, restored, strict=True)
            },
        )
    )
    began = time.monotonic()
    reached = trainer.train_together(
        [
            Member(piece.job.network, piece.job.recipe, states)
            for piece, states in zip(pieces, restored, strict=True)
        ],
        _Epochs(task, pieces, publish, wanted).after_each,
    )
    train_seconds = time.monotonic() - began
    for piece in pieces:
        control.forget(task.piece_key(piece.job.key))
    runs = sum(len(piece.seeds) for piece in pieces)
    return tuple(
        states
        if isinstance(states, Diverged)
        else _outcome(
            piece,
            states,
            trainer,
            alone=pieces is not task.pieces,
            warnings=lines,
            started_at=started_at,
            train_seconds=train_seconds * len(piece.seeds) / runs,
            host=socket.gethostname(),
            device=where.name,
            threads=where.threads,
        )
        for piece, states, lines in zip(pieces, reached, warnings, strict=True)
    )


def _outcome(
    piece: Piece, states: tuple[RunState, ...], trainer: Trainer, *, alone: bool, **facts: Any
) -> Outcome:
    """Save what a piece came to, and score what is finished and to be scored.

    Args:
        piece: of the task.
        states: that its runs reached.
        trainer: that trained them.
        alone: whether the coordinator cannot read what is saved here.
        facts: all else that the outcome says.
    """
    job = piece.job
    finished = all(state.epoch == job.recipe.epochs for state in states)
    for state in states:
        _save(job, state, final=finished)
    scores: tuple[Score, ...] = ()
    if finished and job.confirmation:
        scores = trainer.score(job.network, job.recipe, states, _test(job.source))
    return Outcome(
        finished=finished,
        histories={state.seed: state.history for state in states},
        scores=scores,
        weights=_taken_along(piece) if finished and alone else {},
        finished_at=_utc_now(),
        **facts,
    )


def here(task: Task) -> tuple[Piece, ...]:
    """The task's pieces, with folders of this machine where it shares none with the coordinator.

    What is saved there serves the next task of the same runs on this machine; on another one they
    start anew, with the same result.
    """
    if not task.mark or (task.lead.checkpoints / task.mark).is_file():
        return task.pieces
    scratch = Path(tempfile.gettempdir(), f"mnist-tune-{os.getuid()}", task.lead.checkpoints.name)
    return tuple(replace(piece, job=_moved(piece.job, scratch)) for piece in task.pieces)


def _moved(job: Job, folder: Path) -> Job:
    weights = None if job.weights is None else folder / job.weights.name
    return replace(job, checkpoints=folder, weights=weights)


def _taken_along(piece: Piece) -> dict[int, bytes]:
    """Final weights as files for the coordinator; nothing stays on this machine."""
    job, seeds = piece.job, piece.seeds
    kept = {} if job.weights is None else {seed: job.kept_weights(seed) for seed in seeds}
    content = {seed: path.read_bytes() for seed, path in kept.items()}
    checkpoints.remove([*kept.values(), *(job.checkpoint(seed) for seed in seeds)])
    return content


class _Epochs:
    """What happens after each epoch: publish, save now and then, see which pieces are to go on."""

    def __init__(
        self, task: Task, pieces: tuple[Piece, ...], publish: Publish, wanted: Callable[[], bool]
    ) -> None:
        self._task = task
        self._jobs = [piece.job for piece in pieces]
        self._publish = publish
        self._wanted = wanted
        self._cadence = Cadence(task.checkpoint_seconds)

    def after_each(self, progress: Mapping[int, Progress]) -> Container[int]:
        self._publish(
            _message(
                self._task,
                {
                    self._jobs[i].key: {seed: (done,) for seed, done in of_job.metrics.items()}
                    for i, of_job in progress.items()
                },
                trained=True,
            )
        )
        if self._cadence.due():
            for i, of_job in progress.items():
                for state in of_job.snapshot():
                    _save(self._jobs[i], state, final=False)
            self._cadence.saved()
        if not self._wanted():
            return ()
        keys = {i: self._task.piece_key(self._jobs[i].key) for i in progress}
        return {i for i, key in keys.items() if not control.should_end(key)}


def _message(
    task: Task,
    histories: Mapping[str, Mapping[int, tuple[EpochMetrics, ...]]],
    *,
    trained: bool = False,
) -> dict[str, Any]:
    """Epochs as plain values, which is all that Dask's events carry.

    Args:
        task: that is under way.
        histories: job → seed → epochs, which may have been trained before.
        trained: whether the task has just trained them.
    """
    return {
        "task": task.name,
        "trained": trained,
        "metrics": [
            [job, seed, [asdict(metrics) for metrics in history]]
            for job, of_job in histories.items()
            for seed, history in of_job.items()
        ],
    }


def _restored(piece: Piece) -> tuple[tuple[RunState, ...], tuple[str, ...]]:
    states, warnings, job = [], [], piece.job
    for seed in piece.seeds:
        state = None
        try:
            state = checkpoints.load(job.checkpoint(seed), job.identity(seed))
        except CheckpointError as error:
            warnings.append(f"{error}; {job.key} starts its seed {seed} anew, with the same result")
        states.append(state or Trainer.start(job.network, job.recipe, seed))
    return tuple(states), tuple(warnings)


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
