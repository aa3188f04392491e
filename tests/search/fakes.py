"""An executor that trains nothing, and the trials and metrics that go with it.

`FakeExecutor` is deterministic and in memory. The test says what happens next: a task finishes an
epoch, ends, fails or is lost. Like a real one, it keeps the epochs of an ended task as if they
were in checkpoints, so that the next task of the same run starts with them.
"""

from __future__ import annotations

import queue
from collections.abc import Container, Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from mnist_tune.data.sources import Source
from mnist_tune.errors import Diverged, WorkerFailed
from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe
from mnist_tune.study import Grid, Search, Study
from mnist_tune.trainer.states import EpochMetrics, EvaluationMetrics
from mnist_tune.workers.executor import Executor
from mnist_tune.workers.pools import WorkerPool
from mnist_tune.workers.tasks import (
    EpochMessage,
    Run,
    RunResult,
    Task,
    TaskEnded,
    TaskResults,
    Timing,
    TrialSpec,
)

STARTED = datetime(2026, 11, 23, 21, 20, 58, tzinfo=UTC)
FINISHED = datetime(2026, 11, 23, 21, 21, 58, tzinfo=UTC)
SOURCE = Source(
    kind="embedded", path=None, sha256="d" * 64, full=False, train_size=4_000, test_size=1_000
)


def lost(message: str = "its worker process ended") -> WorkerFailed:
    """What a cluster raises for a task whose worker is gone."""
    return WorkerFailed(message, "worker_lost")


def spec(
    trial_number: int = 0,
    seeds: Iterable[int] = (0, 1, 2),
    epochs: int = 3,
    confirmation: int = 0,
    hidden: tuple[int, ...] = (64, 64),
) -> TrialSpec:
    return TrialSpec(
        trial_number=trial_number,
        confirmation=confirmation,
        network=Mlp(hidden=hidden),
        recipe=Recipe(epochs=epochs),
        seeds=tuple(seeds),
        protocol="holdout",
        source=SOURCE,
        checkpoints=Path("checkpoints"),
    )


def metrics_of(trial_number: int, seed: int, epoch: int, confirmation: int = 0) -> EpochMetrics:
    """What a run measures in an epoch: a function of trial, seed and epoch, as in reality."""
    accuracy = 1 - 1 / (2 + epoch + trial_number / 7 + seed / 100)
    return EpochMetrics(
        epoch=epoch,
        train_loss=1 / epoch,
        train_accuracy=accuracy,
        val_loss=None if confirmation else 1.5 / epoch,
        val_accuracy=None if confirmation else accuracy - 0.01,
    )


def history_of(trial: TrialSpec, seed: int, epochs: int) -> tuple[EpochMetrics, ...]:
    return tuple(
        metrics_of(trial.trial_number, seed, epoch, trial.confirmation)
        for epoch in range(1, epochs + 1)
    )


def evaluation_of(seed: int) -> EvaluationMetrics:
    classes = np.arange(10, dtype=np.uint8)
    return EvaluationMetrics(seed, loss=0.1 + seed, accuracy=0.9 + seed / 100_000, classes=classes)


def timing(**changes: Any) -> Timing:
    values: dict[str, Any] = {
        "started_at": STARTED,
        "finished_at": FINISHED,
        "train_seconds": 1.5,
        "host": "here",
        "device": "CPU",
        "threads": 1,
    }
    return Timing(**{**values, **changes})


def run_result(
    history: tuple[EpochMetrics, ...] = (), *, finished: bool = True, **changes: Any
) -> RunResult:
    values: dict[str, Any] = {"timing": timing(), **changes}
    return RunResult(history=history, finished=finished, **values)


def study(plan: Grid | Search = Grid(({},)), pruner: str = "none") -> Study:  # noqa: B008
    """A study, of which a scheduler wants to know how trials depend on one another."""
    return Study(
        suggest=lambda _trial: Mlp(hidden=(8,)),
        recipe=Recipe(epochs=1),
        plan=plan,
        pruner=pruner,  # type: ignore[arg-type]
    )


LOCK_STEP = study(pruner="median")
RUN_BY_RUN = study()


class FakePool(WorkerPool):
    """Workers as a scheduler sees them.

    Attributes:
        tended: how often somebody looked after them.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.tended = 0

    def tend(self) -> Sequence[str]:
        self.tended += 1
        return ()

    def _connect(self, stack: ExitStack) -> Client:
        raise NotImplementedError


class FakeExecutor(Executor):
    """An executor as the scheduler sees it, and the strings that a test pulls.

    Attributes:
        pool: how many tasks may run at a time; one more is an error of the scheduler.
        events: what the scheduler reads.
        running: tasks under way, by name.
        ending: names of tasks that were asked to end.
        submitted: all tasks there were, in order.
        replacing: names of tasks whose workers were to be replaced.
        silent: whether workers do not say that they have begun a task.
        history: what a seed of a trial measures in so many epochs.
    """

    def __init__(self, workers: int = 2) -> None:
        self.pool = self.fake_pool = FakePool(workers)
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.running: dict[str, Task] = {}
        self.ending: list[str] = []
        self.submitted: list[Task] = []
        self.replacing: list[str] = []
        self.silent = False
        self.history = history_of
        self._reached: dict[tuple[str, int], int] = {}  # run → epochs trained
        self._ended_with: dict[str, TaskResults | Exception] = {}

    # What the scheduler calls

    def submit(self, task: Task) -> None:
        assert len(self.running) < self.pool.workers, "more tasks than workers"
        taken = {key for other in self.running.values() for key in _keys(other)}
        assert not taken & _keys(task), "a run is in two tasks"
        assert len(_keys(task)) == len(task.runs), "a run is in a task twice"
        assert task.name not in {t.name for t in self.submitted}, "a name is used twice"
        self.submitted.append(task)
        self.running[task.name] = task
        if not self.silent:
            self.announce(task)

    def result(self, name: str) -> TaskResults:
        ended = self._ended_with.pop(name)
        if isinstance(ended, Exception):
            raise ended
        return ended

    def end(self, names: Sequence[str]) -> None:
        assert names, "nobody was asked to end"
        self.ending += names

    def replace(self, name: str) -> None:
        assert name in self.running, "nobody works on it"
        self.replacing.append(name)

    # What a test calls

    @property
    def only(self) -> Task:
        """The only task that runs."""
        (task,) = self.running.values()
        return task

    def epochs(self, run: Run) -> int:
        """How many epochs a run has behind it."""
        return self._reached.get(_key(run), 0)

    def done(self, task: Task) -> int:
        """How many epochs all runs of a task have behind them."""
        return min(map(self.epochs, task.runs))

    def restore(self, trial: TrialSpec, epochs: dict[int, int]) -> None:
        """Let seeds of a trial have checkpoints from an earlier life."""
        self._reached |= {_key(Run(trial, seed)): count for seed, count in epochs.items()}

    def announce(self, task: Task) -> None:
        """Send what a task restores, as it does when it begins."""
        known = [(i, m) for i, run in enumerate(task.runs) for m in self._history(run)]
        self.events.put(EpochMessage(task.name, "compiling", tuple(known)))

    def epoch(self, task: Task, *, without: Container[int] = ()) -> None:
        """Let a task train the next epoch of the runs that lack it, and send it.

        Args:
            task: one that runs.
            without: numbers of trials that have diverged.
        """
        news = []
        for i, run in enumerate(task.runs):
            if self.epochs(run) < run.trial.recipe.epochs and run.trial.trial_number not in without:
                self._reached[_key(run)] = self.epochs(run) + 1
                news.append((i, self._history(run)[-1]))
        self.publish(task, *news)

    def publish(self, task: Task, *epochs: tuple[int, EpochMetrics]) -> None:
        """Send epochs of runs, by their index."""
        self.events.put(EpochMessage(task.name, "trained", epochs))

    def lose(self, task: Task) -> None:
        """Let a task's worker go."""
        self.fail(task, lost())

    def finish(self, task: Task, warning: str = "", diverged: Container[int] = ()) -> None:
        """Let a task end well, with what its runs have reached.

        Args:
            task: one that runs.
            warning: of each of its runs.
            diverged: numbers of the trials that did.
        """
        results: list[RunResult | Diverged] = []
        for run in task.runs:
            if run.trial.trial_number in diverged:
                results.append(Diverged("the loss is no longer finite"))
                continue
            finished = self.epochs(run) == run.trial.recipe.epochs
            tested = evaluation_of(run.seed) if finished and run.trial.confirmation else None
            result = run_result(self._history(run), finished=finished, test=tested, warning=warning)
            results.append(result)
        self._end(task, tuple(results))

    def train(self, task: Task) -> None:
        """Let a task train to its last epoch and end."""
        while self.done(task) < task.runs[0].trial.recipe.epochs:
            self.epoch(task)
        self.finish(task)

    def train_all(self) -> None:
        """Let all tasks under way train to their ends."""
        for task in list(self.running.values()):
            self.train(task)

    def fail(self, task: Task, error: Exception) -> None:
        """Let a task end by an exception, or all its runs diverge."""
        self._end(task, (error,) * len(task.runs) if isinstance(error, Diverged) else error)

    def finish_with(self, task: Task, *results: RunResult) -> None:
        """Let a task end with these."""
        self._end(task, results)

    def _end(self, task: Task, ended: TaskResults | Exception) -> None:
        del self.running[task.name]
        self._ended_with[task.name] = ended
        self.events.put(TaskEnded(task.name))

    def _history(self, run: Run) -> tuple[EpochMetrics, ...]:
        return self.history(run.trial, run.seed, self.epochs(run))


def _key(run: Run) -> tuple[str, int]:
    return run.trial.key, run.seed


def _keys(task: Task) -> set[tuple[str, int]]:
    return set(map(_key, task.runs))
