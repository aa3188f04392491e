"""Schedules the runs of trials on workers: queues them, forms tasks, retries what failed.

With a pruner, which needs the mean over the seeds at each epoch, the runs of a trial are trained in
lock-step, in one task. Without one each run is a task of its own, so that workers are filled evenly;
where all workers have a GPU, runs of one or several trials that share a program are a task. A run's
numbers do not depend on the task that it is in, nor on how often its tasks were lost: a task whose
worker died, hung or ran out of memory resumes from its last checkpoints.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from mnist_tune.errors import Diverged
from mnist_tune.search.events import EpochDone, Event, LogLine, RunsReported
from mnist_tune.search.under_way import (
    MOST_ATTEMPTS,
    RETRIED,
    Failure,
    RunGroup,
    TrialUnderWay,
    failure_of,
)
from mnist_tune.study import Grid, Study
from mnist_tune.trainer.program import program_key
from mnist_tune.workers.executor import Executor
from mnist_tune.workers.tasks import EpochMessage, Task, TaskEnded, TaskResults, TrialSpec

HANG_SECONDS = 300.0
_LONGEST_TICK_SECONDS = 2.0  # more between two looks at the clock means that nobody was running
_FIRST_EPOCH = 12  # times the limit: TensorFlow starts, data are loaded, the network is compiled
_EPOCHS = 20  # times the longest epoch so far, for networks whose epochs take minutes
# Runs and parameters of a batch. What is kept for each parameter (weight, gradient, two slots of Adam
# and their successors) makes some 2 GiB of the latter, which leaves room on any GPU of today.
_MOST_RUNS = 64
_MOST_PARAMETERS = 64_000_000


@dataclass(slots=True, eq=False)
class _TaskUnderWay:
    """A task that was submitted, and its signs of life.

    Attributes:
        sign_at: when the latest sign came, or it was last found hung.
        begun: whether a worker has said that it is at work on it.
        trained: whether it has trained an epoch.
        longest: of its epochs, seconds.
        hung_seconds: how long it was silent when it was last found hung.
    """

    groups: list[RunGroup]
    sign_at: float
    begun: bool = False
    trained: bool = False
    longest: float = 0.0
    hung_seconds: float | None = None

    def sign(self, now: float, *, trained: bool) -> None:
        """Note a sign of life: of a beginning, or of an epoch that was trained."""
        if trained and self.begun:
            self.longest = max(self.longest, now - self.sign_at)
        self.sign_at, self.begun, self.trained = now, True, self.trained or trained

    def found_hung(self, now: float, hang_seconds: float) -> bool:
        """Whether it has been silent for too long; each silence is found once."""
        usual = hang_seconds * (1 if self.trained else _FIRST_EPOCH)
        silent = now - self.sign_at
        if silent <= max(usual, _EPOCHS * self.longest):
            return False
        self.sign_at, self.hung_seconds = now, silent
        return True


class Scheduler:
    """Trains trials on workers.

    Args:
        executor: started; its events may hold anything else, which only wakes the scheduler.
        study: decides which runs are a task.
        checkpoint_seconds: least time between two checkpoints of a task.
        hang_seconds: how long a task that has trained an epoch may be silent.
        clock: seconds from any beginning, never going back.
    """

    def __init__(
        self,
        executor: Executor,
        study: Study,
        checkpoint_seconds: float = 10.0,
        hang_seconds: float = HANG_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._executor = executor
        self._checkpoint_seconds = checkpoint_seconds
        self._clock = clock
        self._hang_seconds = hang_seconds
        self._clock_said = clock()
        self._ran = (
            0.0  # seconds in which the coordinator ran: a suspended one hears no sign of life
        )
        self._prunes = study.pruner != "none"
        drawn_alone = isinstance(study.plan, Grid) or study.plan.sampler == "random"
        self._independent = drawn_alone and not self._prunes
        self._trials: dict[str, TrialUnderWay] = {}
        self._waiting: list[RunGroup] = []
        self._tasks: dict[str, _TaskUnderWay] = {}
        self._happened: list[Event] = []
        self._numbers = itertools.count()

    @property
    def idle(self) -> float:
        """Workers for which no run is waiting; below 0 if there are more runs than workers."""
        return float(self._free - sum(self._load(group) for group in self._waiting))

    @property
    def busy(self) -> bool:
        """Whether any trial is under way, or has ended without being reported."""
        return bool(self._trials) or bool(self._happened)

    def start(self, spec: TrialSpec) -> None:
        """Queue the runs of a trial."""
        lock_step = self._prunes and not spec.confirmation
        groups = [spec.runs] if lock_step else [(run,) for run in spec.runs]
        trial = TrialUnderWay(spec, self._clock(), len(groups), {seed: [] for seed in spec.seeds})
        self._trials[spec.key] = trial
        self._waiting += [RunGroup(trial, runs) for runs in groups]

    def end(self, specs: Iterable[TrialSpec]) -> None:
        """Save and end trials after the epoch under way; `TrialEnded` follows."""
        trials = [self._trials[spec.key] for spec in specs if spec.key in self._trials]
        for trial in trials:
            trial.ending = True
        for group in [group for group in self._waiting if group.trial in trials]:
            self._waiting.remove(group)
            self._close(group)
        # A task with runs of other trials continues: these leave it at its end.
        tasks = [
            name
            for name, task in self._tasks.items()
            if all(group.trial.ending for group in task.groups)
            and any(group.trial in trials for group in task.groups)
        ]
        if tasks:
            self._executor.end(tasks)

    def end_all(self) -> None:
        """Save and end every trial after the epoch under way."""
        self.end([trial.spec for trial in self._trials.values()])

    def wait(self, timeout_seconds: float) -> list[Event]:
        """Submit what is waiting, and wait until something happens."""
        self._look_after_workers()
        self._submit_waiting()
        try:
            message = self._executor.events.get(timeout=0 if self._happened else timeout_seconds)
        except queue.Empty:
            message = None
        if isinstance(message, EpochMessage) and message.task in self._tasks:
            self._on_epochs(message)
        elif isinstance(message, TaskEnded) and message.task in self._tasks:
            self._on_task_ended(message.task)
        happened, self._happened = self._happened, []
        return happened

    @property
    def _free(self) -> int:
        """Workers without a task; below 0 if some have left."""
        return self._executor.pool.workers - len(self._tasks)

    def _look_after_workers(self) -> None:
        """Replace workers that hang, once nothing is left to be heard from them."""
        now = self._clock()
        self._ran += min(now - self._clock_said, _LONGEST_TICK_SECONDS)
        self._clock_said = now
        if not self._executor.events.empty():
            return
        self._happened += map(LogLine, self._executor.pool.tend())
        for name, task in self._tasks.items():
            if task.found_hung(self._ran, self._hang_seconds):
                self._executor.replace(name)

    def _submit_waiting(self) -> None:
        while self._waiting and self._free > 0:
            groups = self._next_groups()
            self._waiting = [group for group in self._waiting if group not in groups]
            name = f"{groups[0].trial.spec.key}-task-{next(self._numbers)}"
            self._tasks[name] = _TaskUnderWay(groups, self._ran)
            runs = tuple(run for group in groups for run in group.runs)
            self._executor.submit(
                Task(name=name, runs=runs, checkpoint_seconds=self._checkpoint_seconds)
            )

    def _next_groups(self) -> list[RunGroup]:
        """The first group that waits, with others that share its program, if workers have GPUs.

        No more than leave some for each other free worker.
        """
        first = self._waiting[0]
        limit = self._batch_limit(first)
        if limit == 1:
            return [first]
        key = _program_key(first)
        alike = [g for g in self._waiting if not g.alone and _program_key(g) == key]
        return alike[: min(limit, -(-len(alike) // self._free))]

    def _batch_limit(self, group: RunGroup) -> int:
        """How many groups like this one a worker trains at a time: on a CPU nothing is gained by it."""
        if not self._executor.pool.gpus or group.alone or len(group.runs) > 1:
            return 1
        if _program_key(group) is None:  # a convolution
            return 1
        parameters = group.trial.spec.network.parameters
        return max(1, min(_MOST_RUNS, _MOST_PARAMETERS // parameters))

    def _load(self, group: RunGroup) -> Fraction:
        """The share of a worker that a waiting group takes.

        Where trials depend on one another, none is started only to fill a batch.
        """
        limit = self._batch_limit(group)
        return Fraction(1, limit if self._independent else min(limit, len(group.trial.spec.seeds)))

    def _on_epochs(self, message: EpochMessage) -> None:
        task = self._tasks[message.task]
        task.sign(self._ran, trained=message.phase == "trained")
        groups = task.groups
        if all(group.trial.ending for group in groups):
            self._executor.end([message.task])  # it has not heard yet, or its worker was replaced
        trials = dict.fromkeys(group.trial for group in groups)
        owners = [(group.trial, run.seed) for group in groups for run in group.runs]
        for index, metrics in message.epochs:
            trial, seed = owners[index]
            trial.add(seed, metrics)
        for trial in trials:
            if message.phase != "begun":
                self._happened.append(RunsReported(trial.spec, trial.latest))
            self._announce(trial)

    def _announce(self, trial: TrialUnderWay) -> None:
        """Report the epochs that the last of the seeds has now finished.

        Those that come after the trial was asked to end, too: its result must not depend on when its
        workers heard of that.
        """
        while all(len(history) > trial.announced for history in trial.histories.values()):
            metrics = {seed: history[trial.announced] for seed, history in trial.histories.items()}
            trial.announced += 1
            self._happened.append(EpochDone(trial.spec, trial.announced, metrics))

    def _on_task_ended(self, name: str) -> None:
        task = self._tasks.pop(name)
        groups = task.groups
        try:
            results = self._executor.result(name)
        except Exception as error:  # sorted here: a fatal one is raised, any other fails the task
            failure = failure_of(error)
            if failure.reason == "worker_lost" and task.hung_seconds is not None:
                failure = Failure("hung", f"no sign of life for {task.hung_seconds:.0f} s")
            retried = self._on_failure(groups, failure, begun=task.begun)
        else:
            retried = self._on_results(groups, results)
        self._waiting[:0] = retried
        for group in groups:
            if group not in retried:
                self._close(group)
        if self.idle <= 0:  # else trials are started first, so that batches are full
            self._submit_waiting()

    def _on_results(self, groups: Sequence[RunGroup], results: TaskResults) -> list[RunGroup]:
        """Take the results of a task; the groups that have to be trained further."""
        of_runs = iter(results)
        for group in groups:
            for run, result in zip(group.runs, of_runs, strict=False):
                if isinstance(result, Diverged):
                    self._fail(group.trial, failure_of(result), 1)
                    continue
                group.trial.add_result(run.seed, result)
                if result.warning:
                    self._happened.append(LogLine(f"warning: {result.warning}"))
            self._announce(group.trial)
        return [group for group in groups if not group.finished and not group.trial.ending]

    def _on_failure(
        self, groups: Sequence[RunGroup], failure: Failure, *, begun: bool
    ) -> list[RunGroup]:
        """Sort the groups of a failed task: those that are retried are returned, others have failed."""
        retried, attempt = [], 1
        for group in groups:
            if group.trial.ending and failure.reason in RETRIED:
                continue  # it was to end in any case, and its checkpoints are there
            following = group.next_attempt(failure, begun=begun, shared=len(groups) > 1)
            if following is None:
                self._fail(group.trial, failure, group.failed or 1)
            else:
                retried.append(group)
                attempt = following
        if retried and (attempt > 1 or (begun and len(groups) > 1)):
            self._happened.append(LogLine(f"warning: {_retry_line(retried, failure, attempt)}"))
        return [group for group in retried if not group.trial.ending]

    def _fail(self, trial: TrialUnderWay, failure: Failure, attempts: int) -> None:
        if trial.failure is None:
            trial.failure, trial.attempts = failure, attempts
            if failure.details:
                self._happened.append(LogLine(f"warning: {failure.details}"))
        self.end([trial.spec])

    def _close(self, group: RunGroup) -> None:
        """Report the end of a trial with the last of its groups."""
        trial = group.trial
        trial.groups -= 1
        if not trial.groups:
            del self._trials[trial.spec.key]
            self._happened.append(trial.ended(self._clock()))


def _program_key(group: RunGroup) -> Hashable | None:
    return program_key(group.trial.spec.network, group.trial.spec.recipe)


def _retry_line(groups: Sequence[RunGroup], failure: Failure, attempt: int) -> str:
    reason = f"{failure.reason} ({failure.message})"
    trials = list(dict.fromkeys(group.trial.spec for group in groups))
    if len(trials) > 1:
        numbers = ", ".join(str(trial.trial_number) for trial in trials)
        how = "each alone" if groups[0].alone else "together"
        return f"trials {numbers}: {reason}; they resume {how} from the last checkpoints"
    seeds = [run.seed for group in groups for run in group.runs]
    which = f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
    return (
        f"{trials[0].title}, {which}: {reason}; attempt {attempt} of {MOST_ATTEMPTS} resumes from the "
        "last checkpoint"
    )
