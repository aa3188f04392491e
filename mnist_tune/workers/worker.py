"""What a worker process does with a task: restore, train, save, report."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Container, Mapping, Sequence
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
from mnist_tune.trainer.batches import Member, Progress
from mnist_tune.trainer.runtime import Device, available_cores, device
from mnist_tune.trainer.states import EpochMetrics, RunState, TestMetrics
from mnist_tune.trainer.training import Trainer
from mnist_tune.workers import control, images
from mnist_tune.workers.specs import THREADS_VARIABLE
from mnist_tune.workers.tasks import EPOCH_TOPIC, Outcome, Piece, Results, Task, TrialSpec

Publish = Callable[[dict[str, Any]], None]

# TensorFlow's settings are the process's, and workers that are not ours may have several threads.
_ONE_AT_A_TIME = threading.Lock()


def topic(run: str) -> str:
    """Of the events by which tasks of one coordinator tell of their epochs."""
    return f"{EPOCH_TOPIC}-{run}"


def run_task(task: Task, dataset: Dataset | None = None) -> Results:
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


def carry_out(task: Task, publish: Publish, wanted: Callable[[], bool] = lambda: True) -> Results:
    """Train the task's runs from their checkpoints to the end, or until told to end.

    Args:
        task: to carry out.
        publish: tells the coordinator.
        wanted: whether anybody still waits for the outcome.

    Returns:
        What became of each job.

    Raises:
        DataError: the images are not those that the study began with.
    """
    pieces, lead = here(task), task.lead
    where = device(_threads(lead))
    trainer = _trainer(lead.source, "all" if lead.confirmation else lead.protocol, where)
    restored, warnings = zip(*(_restored(piece) for piece in pieces), strict=True)
    histories = {
        piece.job.key: {state.seed: state.history for state in states}
        for piece, states in zip(pieces, restored, strict=True)
    }
    publish(_message(task, histories, compiling=True))
    effort = _Effort(where, sum(len(piece.seeds) for piece in pieces))
    epochs = _Epochs(task, pieces, effort, publish, wanted)
    reached = trainer.train_together(
        [
            Member(piece.job.network, piece.job.recipe, states)
            for piece, states in zip(pieces, restored, strict=True)
        ],
        epochs.after_each,
    )
    facts = [effort.facts(piece) for piece in pieces]
    for piece in pieces:
        control.forget(task.piece_key(piece.job.key))
    alone = pieces is not task.pieces
    return {
        piece.job.key: states
        if isinstance(states, Diverged)
        else _outcome(piece, states, trainer, alone=alone, warnings=lines, **known)
        for piece, states, lines, known in zip(pieces, reached, warnings, facts, strict=True)
    }


class _Effort:
    """When, where and how long a task has been trained.

    Args:
        where: the device.
        runs: of all pieces together.
    """

    def __init__(self, where: Device, runs: int) -> None:
        self._where = where
        self._runs = runs
        self._started_at = datetime.now(UTC)
        self._began = time.monotonic()

    def facts(self, piece: Piece) -> dict[str, Any]:
        """What the outcome of a piece that ends now says of it, as plain values."""
        seconds = time.monotonic() - self._began
        return {
            "started_at": self._started_at,
            "finished_at": datetime.now(UTC),
            "train_seconds": seconds * len(piece.seeds) / self._runs,
            "host": socket.gethostname(),
            "device": self._where.name,
            "threads": self._where.threads,
        }


def _outcome(
    piece: Piece, states: tuple[RunState, ...], trainer: Trainer, *, alone: bool, **facts: Any
) -> Outcome:
    """Save what a piece came to, if it is finished, and score what is to be scored.

    Args:
        piece: of the task.
        states: that its runs reached.
        trainer: that trained them.
        alone: whether the coordinator cannot read what is saved here.
        facts: all else that the outcome says.
    """
    job = piece.job
    finished = all(state.epoch == job.recipe.epochs for state in states)
    scores: tuple[TestMetrics, ...] = ()
    if finished:
        for state in states:
            _save(job, state, final=True)
        if job.confirmation:
            scores = trainer.score(job.network, job.recipe, states, _test(job.source))
    return Outcome(
        finished=finished,
        histories={state.seed: state.history for state in states},
        scores=scores,
        weights=_taken_along(piece) if finished and alone else {},
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


def _moved(job: TrialSpec, folder: Path) -> TrialSpec:
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
        self,
        task: Task,
        pieces: tuple[Piece, ...],
        effort: _Effort,
        publish: Publish,
        wanted: Callable[[], bool],
    ) -> None:
        self._task = task
        self._pieces = pieces
        self._effort = effort
        self._publish = publish
        self._wanted = wanted
        self._cadence = Cadence(task.checkpoint_seconds)

    def after_each(self, reached: Mapping[int, Progress | Diverged]) -> Container[int]:
        progress = {i: done for i, done in reached.items() if isinstance(done, Progress)}
        metrics = {
            self._pieces[i].job.key: {seed: (each,) for seed, each in done.metrics.items()}
            for i, done in progress.items()
        }
        self._publish(_message(self._task, metrics, trained=True))
        staying = {i for i, done in progress.items() if self._goes_on(self._pieces[i].job, done)}
        due = self._cadence.due()
        for i, done in progress.items():
            if due or i not in staying:
                for state in done.snapshot():
                    _save(self._pieces[i].job, state, final=False)
        if due:
            self._cadence.saved()
        if staying and (over := [i for i in reached if i not in staying]):
            self._publish(_message(self._task, {}, over=[self._over(i, reached[i]) for i in over]))
        return staying

    def _goes_on(self, job: TrialSpec, done: Progress) -> bool:
        """Whether a piece does; to end after the last epoch is to finish."""
        asked = control.should_end(self._task.piece_key(job.key)) or not self._wanted()
        return not asked or done.epoch == job.recipe.epochs

    def _over(self, i: int, reached: Progress | Diverged) -> list[Any]:
        why = str(reached) if isinstance(reached, Diverged) else None
        facts = self._effort.facts(self._pieces[i])
        plain = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in facts.items()}
        return [self._pieces[i].job.key, why, plain]


def _message(
    task: Task,
    histories: Mapping[str, Mapping[int, tuple[EpochMetrics, ...]]],
    *,
    trained: bool = False,
    compiling: bool = False,
    over: Sequence[list[Any]] = (),
) -> dict[str, Any]:
    """Epochs as plain values, which is all that Dask's events carry.

    Args:
        task: that is under way.
        histories: job → seed → epochs, which may have been trained before.
        trained: whether the task has just trained them.
        compiling: whether the first epoch begins now, with the compilation of its program.
        over: jobs that have ended while others of the task go on: key, why they diverged if they
            did, and the facts of their outcomes.
    """
    return {
        "task": task.name,
        "trained": trained,
        "compiling": compiling,
        "over": list(over),
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
            state = checkpoints.load_checkpoint(job.checkpoint(seed), job.identity(seed))
        except CheckpointError as error:
            warnings.append(f"{error}; {job.key} starts its seed {seed} anew, with the same result")
        states.append(state or Trainer.start(job.network, job.recipe, seed))
    return tuple(states), tuple(warnings)


def _save(job: TrialSpec, state: RunState, *, final: bool) -> None:
    """Save a state.

    Raises:
        StorageError: nothing can be saved there, so that no other trial could end well either.
    """
    paths = [job.checkpoint(state.seed)]
    paths += [job.kept_weights(state.seed)] if final and job.weights is not None else []
    for path in paths:
        try:
            checkpoints.save_checkpoint(path, state, job.identity(state.seed))
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


def _threads(job: TrialSpec) -> int:
    """CPU threads of one operation, as the coordinator shared them out, else all cores."""
    if not compiled_on_cpus(job.network, job.recipe):
        return 1
    return int(os.environ.get(THREADS_VARIABLE, available_cores()))
