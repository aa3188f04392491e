"""Jobs on workers: seeds are shared out, put back together, and moved to workers that idle.

A job's numbers do not depend on how its seeds are grouped, so regrouping is only a matter of
time: when a worker has nothing to do and no job is left to start, the largest task is asked to
save and end, and its seeds go on in two halves. Nor do they depend on how often its tasks were
lost: a task whose worker died, hung or ran out of memory goes on from its last checkpoint.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mnist_tune.errors import WorkerFailed
from mnist_tune.search.attempts import RETRIED
from mnist_tune.search.watch import HANG_SECONDS, Watch
from mnist_tune.search.work import Failure, Work, failure_of, groups_of
from mnist_tune.trainer.states import EpochMetrics, Score
from mnist_tune.workers.tasks import Job, Outcome, Task

_WORTH_MOVING_SECONDS = 6.0  # a move costs one save, one load and one compilation, about a second


class Workers(Protocol):
    """What the crew needs of a cluster."""

    @property
    def workers(self) -> int:
        """How many tasks may be under way at a time; may change with `tend`."""

    def submit(self, task: Task) -> None:
        """Start a task; its name is put into the events when it has ended."""

    def result(self, name: str) -> Outcome:
        """The outcome of an ended task, or the exception that ended it."""

    def end(self, names: list[str]) -> None:
        """Ask tasks to save and end after the epoch under way."""

    def replace(self, name: str) -> None:
        """Replace the worker of a hung task, without waiting for it; the task ends, as lost."""

    def tend(self) -> Sequence[str]:
        """Look after the workers, called every second or so; lines for people."""


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
        failure: None, or why it failed: `diverged`, `worker_lost`, `out_of_memory`, `hung` or
            `error`.
        message: the failure in a line.
        attempts: how many failed in a row, the last one included.
        finished: whether every seed reached the last epoch.
        histories: seed → metrics of its epochs.
        scores: seed → score on the test set; empty in the search.
        outcomes: of its tasks, for the timings.
        elapsed_seconds: since the job was started by this coordinator.
    """

    job: Job
    failure: str | None
    message: str
    attempts: int
    finished: bool
    histories: Mapping[int, tuple[EpochMetrics, ...]]
    scores: Mapping[int, Score]
    outcomes: tuple[Outcome, ...]
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class Warned:
    """A worker has something to say to people."""

    line: str


@dataclass(frozen=True, slots=True)
class Told:
    """Something has changed that people may want to know."""

    line: str


CrewEvent = EpochDone | JobEnded | Warned | Told


class Crew:
    """Runs jobs on workers.

    Args:
        workers: a started cluster.
        events: what the cluster puts its events into; anything else found there is passed over,
            so that a signal handler can wake the crew.
        checkpoint_seconds: least time between two checkpoints of a task.
        hang_seconds: how long a task that has trained an epoch may be silent.
        clock: seconds from any beginning, never going back.
    """

    def __init__(
        self,
        workers: Workers,
        events: queue.SimpleQueue[Any],
        checkpoint_seconds: float = 10.0,
        hang_seconds: float = HANG_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = workers
        self._events = events
        self._checkpoint_seconds = checkpoint_seconds
        self._clock = clock
        self._watch = Watch(hang_seconds, clock())
        self._hung: dict[str, float] = {}  # task → seconds of silence, its worker being replaced
        self._works: dict[str, Work] = {}
        self._task_works: dict[str, Work] = {}
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
        work = Work(job, groups_of(job.seeds, groups), {seed: [] for seed in job.seeds}, now, now)
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
        self._look_after_workers()
        if self._ready:
            timeout_seconds = 0.0
        try:
            event = self._events.get(timeout=timeout_seconds)
        except queue.Empty:
            return []
        if isinstance(event, dict):
            return self._on_epochs(event)
        return self._on_task_ended(event) if event in self._task_works else []

    def _look_after_workers(self) -> None:
        """Replace workers that hang, once nothing is left to be heard from them."""
        self._watch.tick(self._clock())
        if not self._events.empty():
            return
        self._ready += map(Told, self._workers.tend())
        self._dispatch()  # there may be more workers now
        for name, seconds in self._watch.hung().items():
            self._hung[name] = seconds
            self._workers.replace(name)

    def _dispatch(self) -> None:
        for work in self._works.values():
            while work.waiting and len(self._task_works) < self._workers.workers:
                seeds = work.waiting.pop(0)
                name = f"{work.job.key}-task-{next(self._numbers)}"
                work.running[name] = seeds
                self._task_works[name] = work
                self._watch.begin(name, work.job.key)
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
            (work.seconds_left(name), work, name)
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
        self._watch.sign(message["task"], trained=message["trained"])
        work.take(
            {
                seed: [EpochMetrics(**values) for values in history]
                for seed, history in message["metrics"]
            }
        )
        return list(self._newly_done(work))

    def _on_task_ended(self, name: str) -> list[CrewEvent]:
        work = self._task_works.pop(name)
        seeds = work.running.pop(name)
        work.moving.discard(name)
        try:
            outcome = self._workers.result(name)
        except Exception as error:  # sorted here: a fatal one goes on, any other fails the task
            events = self._on_failure(work, name, seeds, error)
        else:
            events = self._on_outcome(work, seeds, outcome)
        self._watch.end(name)
        self._hung.pop(name, None)
        if not work.running and not work.waiting:
            events.append(self._ended(work))
        self._dispatch()
        return events

    def _on_outcome(self, work: Work, seeds: tuple[int, ...], outcome: Outcome) -> list[CrewEvent]:
        work.take(outcome.histories)
        work.outcomes.append(outcome)
        work.scores.update({score.seed: score for score in outcome.scores})
        if not outcome.finished and not work.ending:
            work.waiting += groups_of(seeds, 2)
        return [*map(Warned, outcome.warnings), *self._newly_done(work)]

    def _on_failure(
        self, work: Work, name: str, seeds: tuple[int, ...], error: Exception
    ) -> list[CrewEvent]:
        """Try again where that can help, else let the job fail."""
        failure = failure_of(error)
        if failure.reason == "worker_lost" and name in self._hung:
            failure = Failure("hung", f"no sign of life for {self._hung[name]:.0f} s")
        if work.ending and failure.reason in RETRIED:
            work.broken_off = True  # it was to end in any case, and its checkpoints are there
            return []
        lines = work.try_again(seeds, failure, begun=self._watch.has_begun(name))
        if lines is not None:
            return [*map(Warned, lines)]
        work.failure = work.failure or failure
        if work.running:
            self.end([work.job])
        work.waiting.clear()
        details = error.details if isinstance(error, WorkerFailed) else ""
        return [Warned(details)] if details else []

    def _newly_done(self, work: Work) -> Iterator[EpochDone]:
        for epoch, metrics in work.newly_done(self._clock()):
            yield EpochDone(work.job, epoch, metrics)

    def _ended(self, work: Work) -> JobEnded:
        del self._works[work.job.key]
        self._watch.forget(work.job.key)
        return JobEnded(
            job=work.job,
            failure=work.failure.reason if work.failure else None,
            message=work.failure.message if work.failure else "",
            attempts=work.failed_attempts or int(work.failure is not None),
            finished=work.finished,
            histories={seed: tuple(history) for seed, history in work.histories.items()},
            scores=work.scores,
            outcomes=tuple(work.outcomes),
            elapsed_seconds=self._clock() - work.began,
        )
