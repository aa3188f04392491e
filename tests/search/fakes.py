"""Workers that train nothing, and the jobs and metrics that go with them.

`FakeWorkers` is deterministic and in memory. The test says what happens next: a task finishes an
epoch, ends, fails or is lost. Like a cluster, it keeps the epochs of an ended task as if they
were in checkpoints, so that the next task of the same seed starts with them.
"""

from __future__ import annotations

import queue
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mnist_tune.data.sources import Source
from mnist_tune.errors import Diverged, WorkerFailed
from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe
from mnist_tune.trainer.states import EpochMetrics, TestMetrics
from mnist_tune.workers.tasks import Outcome, Piece, Results, Task, TrialSpec

STARTED = datetime(2026, 11, 23, 21, 20, 58, tzinfo=UTC)
FINISHED = datetime(2026, 11, 23, 21, 21, 58, tzinfo=UTC)
SOURCE = Source(
    kind="embedded", path=None, sha256="d" * 64, full=False, train_size=4_000, test_size=1_000
)
FACTS = ("started_at", "finished_at", "train_seconds", "host", "device", "threads")
Histories = dict[int, tuple[EpochMetrics, ...]]


def lost(message: str = "its worker process ended") -> WorkerFailed:
    """What a cluster raises for a task whose worker is gone."""
    return WorkerFailed(message, "worker_lost")


def job(
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


def history_of(job: TrialSpec, seed: int, epochs: int) -> tuple[EpochMetrics, ...]:
    return tuple(
        metrics_of(job.trial_number, seed, epoch, job.confirmation)
        for epoch in range(1, epochs + 1)
    )


def score_of(seed: int) -> TestMetrics:
    classes = np.arange(10, dtype=np.uint8)
    return TestMetrics(seed, loss=0.1 + seed, accuracy=0.9 + seed / 100_000, classes=classes)


def outcome(
    histories: Histories,
    *,
    finished: bool = True,
    scores: tuple[TestMetrics, ...] = (),
    warnings: tuple[str, ...] = (),
    **changes: Any,
) -> Outcome:
    values: dict[str, Any] = {
        "started_at": STARTED,
        "finished_at": FINISHED,
        "train_seconds": 1.5,
        "host": "here",
        "device": "CPU",
        "threads": 1,
    }
    return Outcome(
        finished=finished,
        histories=histories,
        scores=scores,
        warnings=warnings,
        **{**values, **changes},
    )


class FakeWorkers:
    """Workers as the crew sees them, and the strings that a test pulls.

    Attributes:
        workers: how many tasks may run at a time; one more is an error of the crew.
        events: what the crew reads.
        running: tasks under way, by name.
        gpus: whether they say that each has one.
        ending: names of tasks that were asked to end, or a piece of them.
        ending_pieces: task and job of each such piece.
        submitted: all tasks there were, in order.
        replacing: names of tasks whose workers were to be replaced.
        tended: how often somebody looked after the workers.
        silent: whether workers do not say that they have begun a task.
        history: what a seed of a job measures in so many epochs.
    """

    def __init__(self, workers: int = 2) -> None:
        self.workers = workers
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.running: dict[str, Task] = {}
        self.gpus = False
        self.ending: list[str] = []
        self.ending_pieces: list[tuple[str, str]] = []
        self.submitted: list[Task] = []
        self.replacing: list[str] = []
        self.tended = 0
        self.silent = False
        self.history = history_of
        self._epochs: dict[tuple[str, int], int] = {}  # (job, seed) → epochs trained
        self._results: dict[str, Results | Exception] = {}

    # What the crew calls

    def submit(self, task: Task) -> None:
        assert len(self.running) < self.workers, "more tasks than workers"
        assert len({piece.job.key for piece in task.pieces}) == len(task.pieces)
        taken = {run for other in self.running.values() for run in _runs(other)}
        assert not taken & _runs(task), "a seed runs twice"
        assert task.name not in {t.name for t in self.submitted}, "a name is used twice"
        self.submitted.append(task)
        self.running[task.name] = task
        if not self.silent:
            self.announce(task)

    def result(self, name: str) -> Results:
        result = self._results.pop(name)
        if isinstance(result, Exception):
            raise result
        return result

    def end(self, pieces: Sequence[tuple[str, str]]) -> None:
        assert pieces, "nobody was asked to end"
        self.ending += dict.fromkeys(task for task, _job in pieces)
        self.ending_pieces += pieces

    def replace(self, name: str) -> None:
        assert name in self.running, "nobody works on it"
        self.replacing.append(name)

    def tend(self) -> tuple[str, ...]:
        self.tended += 1
        return ()

    # What a test calls

    def done(self, task: Task, job_key: str | None = None) -> int:
        """How many epochs all seeds of a task, or of one of its jobs, have behind them."""
        return min(self._epochs.get(run, 0) for run in _runs(task) if job_key in (None, run[0]))

    def epochs(self, job: TrialSpec, seed: int) -> int:
        return self._epochs.get((job.key, seed), 0)

    def restore(self, job: TrialSpec, epochs: dict[int, int]) -> None:
        """Let seeds of a job have checkpoints from an earlier life."""
        self._epochs |= {(job.key, seed): count for seed, count in epochs.items()}

    def announce(self, task: Task) -> None:
        """Send what a task restores, as it does when it begins."""
        self._publish(task, {piece.job.key: self._histories(piece) for piece in task.pieces})

    def epoch(self, task: Task, *job_keys: str) -> None:
        """Let a task train the next epoch of the seeds that lack it, and send it.

        Args:
            task: one that runs.
            job_keys: of the jobs that still go on; all if none are given.
        """
        news: dict[str, Histories] = {}
        for piece in task.pieces:
            job = piece.job
            for seed in piece.seeds if not job_keys or job.key in job_keys else ():
                epoch = self.epochs(job, seed) + 1
                if epoch <= job.recipe.epochs:
                    self._epochs[job.key, seed] = epoch
                    news.setdefault(job.key, {})[seed] = self.history(job, seed, epoch)[-1:]
        self._publish(task, news, trained=True)

    def publish(self, task: Task, histories: Histories, *, trained: bool = False) -> None:
        """Send epochs of the first job."""
        self._publish(task, {task.lead.key: histories}, trained=trained)

    def _publish(
        self, task: Task, histories: dict[str, Histories], *, trained: bool = False
    ) -> None:
        """Send epochs as Dask's events carry them."""
        values = [
            [job, seed, [asdict(m) for m in history]]
            for job, of_job in histories.items()
            for seed, history in of_job.items()
        ]
        self.events.put(
            {
                "task": task.name,
                "trained": trained,
                "compiling": False,
                "metrics": values,
                "over": [],
            }
        )

    def lose(self, task: Task) -> None:
        """Let a task's worker go."""
        self.fail(task, lost())

    def finish(
        self, task: Task, warnings: tuple[str, ...] = (), diverged: Iterable[str] = ()
    ) -> None:
        """Let a task end well, with what its seeds have reached.

        Args:
            task: one that runs.
            warnings: of each of its pieces.
            diverged: keys of the jobs that did.
        """
        self._end(
            task,
            {
                piece.job.key: Diverged("the loss is no longer finite")
                if piece.job.key in diverged
                else self._outcome(piece, warnings)
                for piece in task.pieces
            },
        )

    def train(self, task: Task) -> None:
        """Let a task train to its last epoch and end."""
        while self.done(task) < task.lead.recipe.epochs:
            self.epoch(task)
        self.finish(task)

    def fail(self, task: Task, error: Exception) -> None:
        """Let a task end by an exception, or all its pieces by theirs."""
        if isinstance(error, Diverged):
            self._end(task, {piece.job.key: error for piece in task.pieces})
        else:
            self._end(task, error)

    def finish_with(self, task: Task, result: Outcome) -> None:
        """Let a task of one piece end with this."""
        (piece,) = task.pieces
        self._end(task, {piece.job.key: result})

    def leave(self, task: Task, *job_keys: str, diverged: str | None = None) -> None:
        """Say that jobs are over while others of the task go on.

        Args:
            task: one that runs.
            job_keys: of these jobs.
            diverged: why, if they did.
        """
        ended = outcome({})
        facts = {name: getattr(ended, name) for name in FACTS}
        facts |= {name: facts[name].isoformat() for name in ("started_at", "finished_at")}
        self.events.put(
            {
                "task": task.name,
                "trained": False,
                "compiling": False,
                "metrics": [],
                "over": [[key, diverged, facts] for key in job_keys],
            }
        )

    def _end(self, task: Task, result: Results | Exception) -> None:
        del self.running[task.name]
        self._results[task.name] = result
        self.events.put(task.name)

    def _histories(self, piece: Piece) -> Histories:
        return {s: self.history(piece.job, s, self.epochs(piece.job, s)) for s in piece.seeds}

    def _outcome(self, piece: Piece, warnings: tuple[str, ...]) -> Outcome:
        job, histories = piece.job, self._histories(piece)
        finished = all(len(history) == job.recipe.epochs for history in histories.values())
        scores = tuple(score_of(s) for s in piece.seeds if finished and job.confirmation)
        return outcome(histories, finished=finished, scores=scores, warnings=warnings)


def _runs(task: Task) -> set[tuple[str, int]]:
    return {(piece.job.key, seed) for piece in task.pieces for seed in piece.seeds}
