"""Runs a task in a worker process: restore, train, save checkpoints, report epochs, evaluate."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from mnist_tune import checkpoints
from mnist_tune.checkpoints import CheckpointError, CheckpointTimer
from mnist_tune.data.sources import Dataset, Source, load_dataset, load_source, split
from mnist_tune.errors import DataError, Diverged, MnistTuneError, WorkerFailed
from mnist_tune.trainer.runtime import Device, device
from mnist_tune.trainer.states import RunState
from mnist_tune.trainer.training import EpochProgress, Trainer, TrainingRun
from mnist_tune.workers.tasks import (
    EpochMessage,
    Run,
    RunResult,
    Task,
    TaskResults,
    Timing,
    TrialSpec,
)

Publish = Callable[[EpochMessage], object]

# TensorFlow's settings are the process's, and workers that are not ours may have several threads.
_ONE_AT_A_TIME = threading.Lock()

_ending: set[str] = set()  # keys of tasks that were asked to end
_sent_images: dict[str, Dataset] = {}  # checksum → images that came through the cluster


class ImagesMissing(MnistTuneError):
    """This machine does not have the images; whoever sent the task can send them, too."""


def topic(coordinator: str) -> str:
    """Dask topic of a coordinator's epoch messages."""
    return f"mnist-tune-epoch-{coordinator}"


async def end_tasks(keys: list[str]) -> None:
    """Ask tasks to save and end after the epoch under way; those not running here are ignored.

    The coordinator calls it in the worker's event loop while the task trains in its thread. A
    coroutine, since Dask sends nothing else without waiting for its result.
    """
    _ending.update(keys)


def run_task(task: Task, dataset: Dataset | None = None) -> TaskResults:
    """Run a task on a Dask worker, with images that were sent along or those of this machine.

    Its epochs are events of the coordinator's topic.
    """
    from distributed import get_worker

    worker = get_worker()

    def publish(message: EpochMessage) -> None:
        event = replace(message, worker=worker.address).to_event()
        worker.log_event(topic(task.coordinator), event)

    def wanted() -> bool:
        # A coordinator that is gone wants nothing any more, and Dask cannot end a thread.
        known = worker.state.tasks.get(key)
        return known is not None and known.state == "executing"

    key = worker.get_current_task()
    if dataset is not None:
        _sent_images[dataset.source.sha256] = dataset
    try:
        publish(EpochMessage(task.name, "begun"))
        with _ONE_AT_A_TIME:
            return train_task(task, publish, wanted)
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


def train_task(
    task: Task, publish: Publish, wanted: Callable[[], bool] = lambda: True
) -> TaskResults:
    """Train a task's runs from their checkpoints to the end, or until asked to end.

    Raises:
        DataError: the images are not those that the study began with.
    """
    runs = _local_runs(task)
    trial = runs[0].trial
    where = device()
    trainer = _trainer(trial.source, "all" if trial.confirmation else trial.protocol, where)
    states, warnings = zip(*map(_restored, runs), strict=True)
    known = ((i, metrics) for i, state in enumerate(states) for metrics in state.history)
    publish(EpochMessage(task.name, "compiling", tuple(known)))
    started_at, began = datetime.now(UTC), time.monotonic()
    reached = trainer.train(
        [
            TrainingRun(r.trial.network, r.trial.recipe, s)
            for r, s in zip(runs, states, strict=True)
        ],
        _EpochReporter(task, runs, publish, wanted).after_epoch,
    )
    _ending.discard(task.key)
    timing = Timing(
        started_at=started_at,
        finished_at=datetime.now(UTC),
        train_seconds=(time.monotonic() - began) / len(runs),
        host=socket.gethostname(),
        device=where.name,
        threads=where.threads,
    )
    results = _results(runs, reached, timing, trainer, take_weights=runs is not task.runs)
    return tuple(
        result if isinstance(result, Diverged) else replace(result, warning=warning)
        for result, warning in zip(results, warnings, strict=True)
    )


class _EpochReporter:
    """Publishes each epoch, saves checkpoints now and then, and decides whether training continues."""

    def __init__(
        self, task: Task, runs: tuple[Run, ...], publish: Publish, wanted: Callable[[], bool]
    ) -> None:
        self._task = task
        self._runs = runs
        self._publish = publish
        self._wanted = wanted
        self._timer = CheckpointTimer(task.checkpoint_seconds)

    def after_epoch(self, progress: EpochProgress) -> bool:
        self._publish(EpochMessage(self._task.name, "trained", tuple(progress.metrics.items())))
        going_on = self._goes_on(progress)
        due = self._timer.due()
        if due or not going_on:
            for i, state in progress.snapshot().items():
                _save(self._runs[i], state)
        if due:
            self._timer.saved()
        return going_on

    def _goes_on(self, progress: EpochProgress) -> bool:
        failed = {self._runs[i].trial.key for i in progress.diverged}
        if all(run.trial.key in failed for run in self._runs):
            return False
        return self._task.key not in _ending and self._wanted()


def _results(
    runs: Sequence[Run],
    reached: Sequence[RunState | Diverged],
    timing: Timing,
    trainer: Trainer,
    *,
    take_weights: bool,
) -> Iterator[RunResult | Diverged]:
    """Save finished runs, and evaluate those of a confirmation.

    Weights are taken along where the coordinator cannot read what is saved here.
    """
    trial = runs[0].trial
    finished = {
        i: state
        for i, state in enumerate(reached)
        if isinstance(state, RunState) and state.epoch == trial.recipe.epochs
    }
    for i, state in finished.items():
        _save(runs[i], state, final=True)
    tested = {}
    if trial.confirmation and finished:
        trained = [TrainingRun(trial.network, trial.recipe, state) for state in finished.values()]
        test = _images(trial.source).test
        tested = dict(zip(finished, trainer.evaluate(trained, test), strict=True))
    for i, outcome in enumerate(reached):
        if isinstance(outcome, Diverged):
            yield outcome
            continue
        yield RunResult(
            finished=i in finished,
            history=outcome.history,
            timing=timing,
            test=tested.get(i),
            weights=_taken_weights(runs[i]) if take_weights and i in finished else None,
        )


def _local_runs(task: Task) -> tuple[Run, ...]:
    """The task's runs, with folders of this machine where it shares none with the coordinator.

    What is saved there serves the next task of the same runs on this machine; on another one they
    restart, with the same result.
    """
    folder = task.runs[0].trial.checkpoints
    if not task.marker or (folder / task.marker).is_file():
        return task.runs
    scratch = Path(tempfile.gettempdir(), f"mnist-tune-{os.getuid()}", folder.name)

    def moved(trial: TrialSpec) -> TrialSpec:
        weights = None if trial.weights is None else scratch / trial.weights.name
        return replace(trial, checkpoints=scratch, weights=weights)

    return tuple(replace(run, trial=moved(run.trial)) for run in task.runs)


def _taken_weights(run: Run) -> bytes | None:
    """Final weights as the content of a file for the coordinator; nothing stays on this machine."""
    content = None if run.weights is None else run.weights.read_bytes()
    checkpoints.remove([run.checkpoint, *([run.weights] if run.weights else [])])
    return content


def _restored(run: Run) -> tuple[RunState, str]:
    """The state in a run's checkpoint, or the first one, and why it is that."""
    try:
        state, warning = checkpoints.load_checkpoint(run.checkpoint, run.identity), ""
    except CheckpointError as error:
        again = f"{run.trial.key} restarts its seed {run.seed}, with the same result"
        state, warning = None, f"{error}; {again}"
    return state or Trainer.start(run.trial.network, run.trial.recipe, run.seed), warning


def _save(run: Run, state: RunState, *, final: bool = False) -> None:
    checkpoints.save_checkpoint(run.checkpoint, state, run.identity)
    if final and run.weights is not None:
        checkpoints.save_checkpoint(run.weights, state, run.identity)


@lru_cache(maxsize=1)
def _trainer(source: Source, part: str, where: Device) -> Trainer:
    if part == "all":
        return Trainer(_images(source).train, None, where)
    return Trainer(*split(_images(source), part), where)


@lru_cache(maxsize=1)
def _images(source: Source) -> Dataset:
    """The images of a study: from where the coordinator has them, from this machine, or sent along.

    Raises:
        ImagesMissing: they are nowhere on this machine.
        DataError: what lies there is something else.
    """
    if source.sha256 in _sent_images:
        return _sent_images[source.sha256]
    if source.path is None or source.path.exists():
        return load_source(source)
    try:
        local = load_dataset(download=False).source
    except DataError as error:
        raise ImagesMissing(str(error)) from error
    if local.sha256 != source.sha256:
        raise ImagesMissing(f"{source.path} is not on this machine")
    return load_source(local)
