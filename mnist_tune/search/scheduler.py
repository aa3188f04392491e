"""Jobs on workers: seeds are shared out, put back together, and moved to workers that idle.

A job's numbers do not depend on how its seeds are grouped, nor on the jobs that share a task with
it, so regrouping is only a matter of time: when a worker has nothing to do and no job is left to
start, the largest task is asked to save and end, and its runs go on in two halves. Nor do they
depend on how often its tasks were lost: a task whose worker died, hung or ran out of memory goes on
from its last checkpoint.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol

from mnist_tune.errors import Diverged, WorkerFailed
from mnist_tune.search.attempts import RETRIED
from mnist_tune.search.events import Compiling, EpochDone, Event, Told, TrialEnded, Warned
from mnist_tune.search.hang_detector import HANG_SECONDS, Watch
from mnist_tune.search.stacks import Stacks, alike
from mnist_tune.search.work import Failure, Work, failure_of, groups_of, told
from mnist_tune.trainer.states import EpochMetrics
from mnist_tune.workers.tasks import Outcome, Piece, Results, Task, TrialSpec

Part = tuple[Work, tuple[int, ...]]
"""A work and those of its seeds that a task trains."""

_WORTH_MOVING_SECONDS = 6.0  # a move costs one save, one load and one compilation, about a second


class Workers(Protocol):
    """What the crew needs of a cluster."""

    @property
    def workers(self) -> int:
        """How many tasks may be under way at a time; may change with `tend`."""

    @property
    def gpus(self) -> bool:
        """Whether all workers have one; may change with `tend`."""

    def submit(self, task: Task) -> None:
        """Start a task; its name is put into the events when it has ended."""

    def result(self, name: str) -> Results:
        """What became of each job of an ended task, or the exception that ended it."""

    def end(self, pieces: Sequence[tuple[str, str]]) -> None:
        """Ask pieces, named by task and job, to save and end after the epoch under way."""

    def replace(self, name: str) -> None:
        """Replace the worker of a hung task, without waiting for it; the task ends, as lost."""

    def tend(self) -> Sequence[str]:
        """Look after the workers, called every second or so; lines for people."""


class Scheduler:
    """Runs jobs on workers.

    Args:
        workers: a started cluster.
        events: what the cluster puts its events into; anything else found there is passed over,
            so that a signal handler can wake the crew.
        checkpoint_seconds: least time between two checkpoints of a task.
        hang_seconds: how long a task that has trained an epoch may be silent.
        stacks: which jobs may share a task.
        clock: seconds from any beginning, never going back.
    """

    def __init__(
        self,
        workers: Workers,
        events: queue.SimpleQueue[Any],
        checkpoint_seconds: float = 10.0,
        hang_seconds: float = HANG_SECONDS,
        stacks: Stacks = Stacks(),  # noqa: B008  # it is frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers = workers
        self._events = events
        self._checkpoint_seconds = checkpoint_seconds
        self._stacks = stacks
        self._clock = clock
        self._watch = Watch(hang_seconds, clock())
        self._hung: dict[str, float] = {}  # task → seconds of silence, its worker being replaced
        self._works: dict[str, Work] = {}
        self._tasks: dict[str, list[Part]] = {}  # without those that have left it
        self._moving: set[str] = set()  # tasks that were asked to end so that they can be split
        self._ready: list[Event] = []  # happened outside `wait`, which has to tell of it
        self._numbers = itertools.count()

    @property
    def idle(self) -> int:
        """Workers with nothing to do; below 0 if there are fewer of them than there were."""
        return self._free - sum(len(work.waiting) for work in self._works.values())

    @property
    def busy(self) -> bool:
        """Whether any job is under way, or has ended without being told of."""
        return bool(self._works) or bool(self._ready)

    def most_together(self, job: TrialSpec) -> int:
        """How many jobs like this one may share a task."""
        return self._stacks.most(job, gpus=self._workers.gpus)

    def start(self, job: TrialSpec, groups: int = 1) -> None:
        """Start a job with its seeds in at most so many groups."""
        self._begin(job, groups)
        self._dispatch()

    def start_together(self, jobs: Sequence[TrialSpec]) -> None:
        """Start jobs that are alike in one task, for which there must be a worker."""
        self._submit([self._begin(job, 1) for job in jobs])

    def end(self, jobs: Iterable[TrialSpec]) -> None:
        """Save and end jobs after the epoch under way; `TrialEnded` follows."""
        works = [self._works[job.key] for job in jobs if job.key in self._works]
        for work in works:
            work.ending = True
            work.waiting.clear()
            if not work.running:
                self._ready.append(self._ended(work))
        if pieces := [(task, work.job.key) for work in works for task in work.running]:
            self._workers.end(pieces)

    def end_all(self) -> None:
        """Save and end every job after the epoch under way."""
        self.end([work.job for work in self._works.values()])

    def wait(self, timeout_seconds: float, more_to_start: bool) -> list[Event]:
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
        return self._on_task_ended(event) if event in self._tasks else []

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

    @property
    def _free(self) -> int:
        """Workers without a task."""
        return self._workers.workers - len(self._tasks)

    def _begin(self, job: TrialSpec, groups: int) -> Work:
        now = self._clock()
        work = Work(job, groups_of(job.seeds, groups), {seed: [] for seed in job.seeds}, now, now)
        self._works[job.key] = work
        return work

    def _dispatch(self) -> None:
        while self._free > 0 and (works := self._next_stack()):
            self._submit(works)

    def _next_stack(self) -> list[Work]:
        """Works that wait for a worker and should share one, so that no other is left idle."""
        waiting = [work for work in self._works.values() if work.waiting]
        if not waiting:
            return []
        first = waiting[0]
        most = 1 if first.alone else self.most_together(first.job)
        if most == 1:
            return [first]
        stackable = [w for w in waiting if w is first or _may_share(first, w)]
        return stackable[: min(most, -(-len(stackable) // self._free))]

    def _submit(self, works: Sequence[Work]) -> None:
        """Hand the next seeds of some works to a worker."""
        parts = [(work, work.waiting.pop(0)) for work in works]
        lead = works[0].job
        name = f"{lead.key}-task-{next(self._numbers)}"
        for work, seeds in parts:
            work.running[name] = seeds
        self._tasks[name] = parts
        self._watch.begin(name, lead.key)
        self._workers.submit(
            Task(
                name=name,
                pieces=tuple(Piece(work.job, seeds) for work, seeds in parts),
                checkpoint_seconds=self._checkpoint_seconds,
            )
        )

    def _share_out(self) -> None:
        """Ask the task with the most work left to end, so that its runs can be split."""
        if self.idle - len(self._moving) <= 0:
            return
        going_on = {
            name: [(work, seeds) for work, seeds in parts if not work.ending]
            for name, parts in self._tasks.items()
            if name not in self._moving
        }
        candidates = [
            (max(work.seconds_left(name) for work, _seeds in parts), name)
            for name, parts in going_on.items()
            if sum(len(seeds) for _work, seeds in parts) > 1
        ]
        seconds, name = max(candidates, default=(0.0, ""))
        if seconds > _WORTH_MOVING_SECONDS:
            self._moving.add(name)
            self._workers.end([(name, work.job.key) for work, _seeds in going_on[name]])

    def _on_epochs(self, message: dict[str, Any]) -> list[Event]:
        name = message["task"]
        parts = self._tasks.get(name)
        if parts is None:
            return []
        self._watch.sign(name, trained=message["trained"])
        news: dict[str, dict[int, list[EpochMetrics]]] = defaultdict(dict)
        for job, seed, history in message["metrics"]:
            news[job][seed] = [EpochMetrics(**values) for values in history]
        # They go on all the same: they have not heard yet, or were run again by another worker.
        deaf = [
            (name, work.job.key)
            for work, _seeds in parts
            if (work.ending or name in self._moving) and (work.job.key in news or not news)
        ]
        if deaf and not message["over"]:
            self._workers.end(deaf)
        events: list[Event] = []
        if message["compiling"]:
            events += [Compiling(work.job) for work, _seeds in parts]
        for work, _seeds in parts:
            work.take(news[work.job.key])
            events += self._newly_done(work)
        for job, diverged, facts in message["over"]:
            events += self._on_over(name, job, diverged, facts)
        return events

    def _on_over(
        self, name: str, job: str, diverged: str | None, facts: dict[str, Any]
    ) -> list[Event]:
        """Let a job that is over leave a task that goes on; one that moves does so with its task."""
        part = next((part for part in self._tasks[name] if part[0].job.key == job), None)
        if part is None or (diverged is None and not part[0].ending):
            return []
        self._tasks[name].remove(part)
        work, _seeds = part
        del work.running[name]
        events: list[Event] = []
        if diverged is not None:
            events += self._on_failures(name, [(part, Diverged(diverged))])
        else:
            times = {k: datetime.fromisoformat(facts[k]) for k in ("started_at", "finished_at")}
            work.outcomes.append(Outcome(finished=False, histories={}, **(facts | times)))
        return [*events, *self._if_over(work)]

    def _on_task_ended(self, name: str) -> list[Event]:
        parts = self._tasks.pop(name)
        for work, _seeds in parts:
            del work.running[name]
        self._moving.discard(name)
        events: list[Event] = []
        try:
            results = self._workers.result(name)
        except Exception as error:  # sorted here: a fatal one goes on, any other fails the task
            events += self._on_failures(name, [(part, error) for part in parts])
        else:
            events += self._on_results(name, parts, results)
        self._watch.end(name)
        self._hung.pop(name, None)
        for work, _seeds in parts:
            events += self._if_over(work)
        self._dispatch()
        return events

    def _on_results(self, name: str, parts: Sequence[Part], results: Results) -> Iterator[Event]:
        unfinished: list[Part] = []
        for part in parts:
            work, seeds = part
            result = results[work.job.key]
            if isinstance(result, Diverged):
                yield from self._on_failures(name, [(part, result)])
                continue
            work.take(result.histories)
            work.outcomes.append(result)
            work.scores.update({score.seed: score for score in result.scores})
            yield from map(Warned, result.warnings)
            yield from self._newly_done(work)
            if not result.finished and not work.ending:
                unfinished.append((work, seeds))
        for work, seeds in unfinished:
            work.waiting += groups_of(seeds, 2 if len(unfinished) == 1 else 1)

    def _on_failures(self, name: str, failed: Sequence[tuple[Part, Exception]]) -> Iterator[Event]:
        """Try again where that can help, else let jobs fail."""
        again: dict[tuple[int, Failure], list[Part]] = defaultdict(list)
        for part, error in failed:
            work, seeds = part
            failure = failure_of(error)
            if failure.reason == "worker_lost" and name in self._hung:
                failure = Failure("hung", f"no sign of life for {self._hung[name]:.0f} s")
            if work.ending and failure.reason in RETRIED:
                work.broken_off = True  # it was to end in any case, and its checkpoints are there
                continue
            attempt = work.try_again(
                seeds, failure, begun=self._watch.has_begun(name), shared=len(failed) > 1
            )
            if attempt is not None:
                again[attempt, failure].append(part)
                continue
            work.failure = work.failure or failure
            if work.running:
                self.end([work.job])
            work.waiting.clear()
            if isinstance(error, WorkerFailed) and error.details:
                yield Warned(error.details)
        for (attempt, failure), parts in again.items():
            if line := told(parts, failure, attempt):
                yield Warned(line)

    def _if_over(self, work: Work) -> Iterator[TrialEnded]:
        """The end of a job that has no seeds left to train."""
        if not work.running and not work.waiting:
            yield self._ended(work)

    def _newly_done(self, work: Work) -> Iterator[EpochDone]:
        for epoch, metrics in work.newly_done(self._clock()):
            yield EpochDone(work.job, epoch, metrics)

    def _ended(self, work: Work) -> TrialEnded:
        del self._works[work.job.key]
        self._watch.forget(work.job.key)
        return TrialEnded(
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


def _may_share(one: Work, other: Work) -> bool:
    return not other.alone and alike(one.job, other.job)
