"""Jobs on workers: seeds are shared out, put back together, and moved to workers that idle.

A job's numbers do not depend on how its seeds are grouped, so regrouping is only a matter of
time: when a worker has nothing to do and no job is left to start, the largest task is asked to
save and end, and its seeds go on in two halves.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from mnist_tune.errors import InputError, TrialFailed, WorkerFailed
from mnist_tune.trainer.states import EpochMetrics, Score
from mnist_tune.workers.tasks import Job, Outcome, Task

_WORTH_MOVING_SECONDS = 6.0  # a move costs one save, one load and one compilation, about a second


class Workers(Protocol):
    """What the crew needs of a cluster."""

    workers: int

    def submit(self, task: Task) -> None:
        """Start a task; its name is put into the events when it has ended."""

    def result(self, name: str) -> Outcome:
        """The outcome of an ended task, or the exception that ended it."""

    def end(self, names: list[str]) -> None:
        """Ask tasks to save and end after the epoch under way."""


@dataclass(frozen=True, slots=True)
class EpochDone:
    """All seeds of a job have finished an epoch.

    Attributes:
        job: which.
        epoch: 1 for the first.
        metrics: seed → what the epoch measured.
    """

    job: Job
    epoch: int
    metrics: dict[int, EpochMetrics]


@dataclass(frozen=True, slots=True)
class JobEnded:
    """A job has no task left.

    Attributes:
        job: which.
        failure: None, or why it failed: `diverged`, `worker_lost`, `out_of_memory` or `error`.
        message: the failure in a line.
        finished: whether every seed reached the last epoch.
        histories: seed → metrics of its epochs.
        scores: seed → score on the test set; empty in the search.
        outcomes: of its tasks, for the timings.
        elapsed_seconds: since the job was started by this coordinator.
    """

    job: Job
    failure: str | None
    message: str
    finished: bool
    histories: Mapping[int, tuple[EpochMetrics, ...]]
    scores: Mapping[int, Score]
    outcomes: tuple[Outcome, ...]
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class Warned:
    """A worker has something to say to people."""

    line: str


CrewEvent = EpochDone | JobEnded | Warned


@dataclass(slots=True)
class _Work:
    """A job under way."""

    job: Job
    waiting: list[tuple[int, ...]]
    histories: dict[int, list[EpochMetrics]]
    began: float
    epoch_ended: float  # when the latest epoch was announced; at first the beginning
    running: dict[str, tuple[int, ...]] = field(default_factory=dict)
    moving: set[str] = field(default_factory=set)
    ending: bool = False
    failure: tuple[str, str] | None = None
    announced: int = 0
    scores: dict[int, Score] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    epoch_seconds: float = 0.0  # of the latest epoch


class Crew:
    """Runs jobs on workers.

    Args:
        workers: a started cluster.
        events: what the cluster puts its events into; anything else found there is passed over,
            so that a signal handler can wake the crew.
        checkpoint_seconds: least time between two checkpoints of a task.
        clock: seconds from any beginning, never going back.
    """

    def __init__(
        self,
        workers: Workers,
        events: queue.SimpleQueue[Any],
        checkpoint_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = workers
        self._events = events
        self._checkpoint_seconds = checkpoint_seconds
        self._clock = clock
        self._works: dict[str, _Work] = {}
        self._task_works: dict[str, _Work] = {}
        self._ready: list[CrewEvent] = []  # happened outside `wait`, which has to tell of it
        self._numbers = itertools.count()

    @property
    def idle(self) -> int:
        """Workers with nothing to do."""
        return (
            self._workers.workers
            - len(self._task_works)
            - sum(len(w.waiting) for w in self._works.values())
        )

    @property
    def busy(self) -> bool:
        """Whether any job is under way, or has ended without being told of."""
        return bool(self._works) or bool(self._ready)

    def start(self, job: Job, groups: int = 1) -> None:
        """Start a job with its seeds in at most so many groups."""
        now = self._clock()
        work = _Work(job, _groups(job.seeds, groups), {seed: [] for seed in job.seeds}, now, now)
        self._works[job.key] = work
        self._dispatch()

    def end(self, jobs: Iterable[Job]) -> None:
        """Save and end jobs after the epoch under way; `JobEnded` follows."""
        works = [self._works[job.key] for job in jobs if job.key in self._works]
        for work in works:
            work.ending = True
            work.waiting.clear()
            if not work.running:
                self._ready.append(self._ended(work))
        if names := [name for work in works for name in work.running]:
            self._workers.end(names)

    def end_all(self) -> None:
        """Save and end every job after the epoch under way."""
        self.end([work.job for work in self._works.values()])

    def wait(self, timeout_seconds: float, more_to_start: bool) -> list[CrewEvent]:
        """Wait for something to happen and say what.

        Args:
            timeout_seconds: longest wait.
            more_to_start: whether idle workers will get other jobs; if not, tasks are split.
        """
        if self._ready:
            ready, self._ready = self._ready, []
            return ready
        if not more_to_start:
            self._share_out()
        try:
            event = self._events.get(timeout=timeout_seconds)
        except queue.Empty:
            return []
        if isinstance(event, dict):
            return self._on_epochs(event)
        return self._on_task_ended(event) if event in self._task_works else []

    def _dispatch(self) -> None:
        for work in self._works.values():
            while work.waiting and len(self._task_works) < self._workers.workers:
                seeds = work.waiting.pop(0)
                name = f"{work.job.key}-task-{next(self._numbers)}"
                work.running[name] = seeds
                self._task_works[name] = work
                self._workers.submit(
                    Task(
                        name=name,
                        job=work.job,
                        seeds=seeds,
                        checkpoint_seconds=self._checkpoint_seconds,
                    )
                )

    def _share_out(self) -> None:
        """Ask the task with the most work left to end, so that its seeds can be split."""
        moving = sum(len(work.moving) for work in self._works.values())
        if self.idle - moving <= 0:
            return
        candidates = [
            (_seconds_left(work, name), work, name)
            for work in self._works.values()
            if not work.ending
            for name, seeds in work.running.items()
            if len(seeds) > 1 and name not in work.moving
        ]
        seconds, work, name = max(candidates, key=lambda c: c[0], default=(0.0, None, ""))
        if work is not None and seconds > _WORTH_MOVING_SECONDS:
            work.moving.add(name)
            self._workers.end([name])

    def _on_epochs(self, message: dict[str, Any]) -> list[CrewEvent]:
        work = self._task_works.get(message["task"])
        if work is None:
            return []
        if work.ending or message["task"] in work.moving:
            # It goes on all the same: it has not heard yet, or it was run again by another worker.
            self._workers.end([message["task"]])
        _take(
            work,
            {
                seed: [EpochMetrics(**values) for values in history]
                for seed, history in message["metrics"]
            },
        )
        return list(_newly_done(work, self._clock()))

    def _on_task_ended(self, name: str) -> list[CrewEvent]:
        work = self._task_works.pop(name)
        seeds = work.running.pop(name)
        work.moving.discard(name)
        events: list[CrewEvent] = []
        try:
            outcome = self._workers.result(name)
        except Exception as error:  # sorted here: a fatal one goes on, any other fails the job
            work.failure = work.failure or _failure(error)
            if isinstance(error, WorkerFailed) and error.details:
                events.append(Warned(error.details))
            if work.running:
                self.end([work.job])
            work.waiting.clear()
        else:
            _take(work, outcome.histories)
            work.outcomes.append(outcome)
            work.scores.update({score.seed: score for score in outcome.scores})
            events += [Warned(line) for line in outcome.warnings]
            if not outcome.finished and not work.ending:
                work.waiting += _groups(seeds, 2)
            events += _newly_done(work, self._clock())
        if not work.running and not work.waiting:
            events.append(self._ended(work))
        self._dispatch()
        return events

    def _ended(self, work: _Work) -> JobEnded:
        del self._works[work.job.key]
        kind, message = work.failure or (None, "")
        return JobEnded(
            job=work.job,
            failure=kind,
            message=message,
            finished=all(len(h) == work.job.recipe.epochs for h in work.histories.values()),
            histories={seed: tuple(history) for seed, history in work.histories.items()},
            scores=work.scores,
            outcomes=tuple(work.outcomes),
            elapsed_seconds=self._clock() - work.began,
        )


def _groups(seeds: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    """Share seeds out evenly, neighbours together."""
    count = max(1, min(count, len(seeds)))
    ends = [len(seeds) * i // count for i in range(count + 1)]
    return [seeds[a:b] for a, b in itertools.pairwise(ends)]


def _take(work: _Work, histories: dict[int, Any]) -> None:
    """Add the epochs that come next; a restored run sends all of its epochs again.

    An epoch whose predecessor got lost is left to the task's outcome, which holds all of them.
    """
    for seed, history in histories.items():
        known = work.histories[seed]
        for metrics in history:
            if metrics.epoch == len(known) + 1:
                known.append(metrics)


def _newly_done(work: _Work, now: float) -> Iterable[EpochDone]:
    """Announce the epochs that the last of the seeds has now finished."""
    while not work.ending and all(
        len(history) > work.announced for history in work.histories.values()
    ):
        metrics = {seed: history[work.announced] for seed, history in work.histories.items()}
        work.announced += 1
        work.epoch_seconds, work.epoch_ended = now - work.epoch_ended, now
        yield EpochDone(work.job, work.announced, metrics)


def _seconds_left(work: _Work, name: str) -> float:
    """A guess from the latest epoch; 0 before the first one has ended."""
    done = min(len(work.histories[seed]) for seed in work.running[name])
    return work.epoch_seconds * (work.job.recipe.epochs - done)


def _failure(error: Exception) -> tuple[str, str]:
    """The word and the line for a task's exception.

    Raises:
        InputError: the study as a whole cannot go on.
    """
    if isinstance(error, InputError):
        raise error
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, TrialFailed):
        return error.reason, message
    if type(error).__name__ == "KilledWorker":
        return "worker_lost", message
    return "error", f"{type(error).__name__}: {message}"
