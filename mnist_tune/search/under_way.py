"""State of the trials under way: histories of their runs, and which failed attempts are retried.

What the machine did to a task may not happen again; what follows from the numbers alone would. So a
diverged run is never retried; anything else is, until it has failed so often in a row without
getting any further.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mnist_tune.errors import InputError, TrialFailed
from mnist_tune.search.events import TrialEnded
from mnist_tune.trainer.states import EpochMetrics, EvaluationMetrics
from mnist_tune.workers.tasks import Run, RunResult, Timing, TrialSpec

RETRIED = frozenset({"worker_lost", "out_of_memory", "hung", "error"})
MOST_ATTEMPTS = 3  # in a row that get no further
_MOST_EARLY_LOSSES = 8  # of workers before the task had begun, which is rarely the task's fault
_FAULTS_OF_A_BATCH = frozenset({"out_of_memory", "error"})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a trial or a task failed: the word that is stored, a line, and a traceback for the log."""

    reason: str
    message: str
    details: str = ""


@dataclass(slots=True, eq=False)
class TrialUnderWay:
    """A trial under way.

    Attributes:
        began: when it was started by this coordinator.
        groups: how many of its groups of runs are not over.
        histories: seed → metrics of its epochs.
        announced: how many epochs of all seeds were announced.
        ending: whether it was asked to end.
        finished: seeds that have reached their last epoch.
    """

    spec: TrialSpec
    began: float
    groups: int
    histories: dict[int, list[EpochMetrics]]
    announced: int = 0
    ending: bool = False
    failure: Failure | None = None
    attempts: int = 0
    finished: set[int] = field(default_factory=set)
    tests: dict[int, EvaluationMetrics] = field(default_factory=dict)
    timings: list[Timing] = field(default_factory=list)

    @property
    def latest(self) -> dict[int, EpochMetrics]:
        """Seed → the last of its epochs, of the seeds that have any."""
        return {seed: history[-1] for seed, history in self.histories.items() if history}

    def add(self, seed: int, metrics: EpochMetrics) -> None:
        """Add the epoch that comes next; a restored run sends all of its epochs again.

        One whose predecessor got lost is left to the run's result, which holds all of them.
        """
        if metrics.epoch == len(self.histories[seed]) + 1:
            self.histories[seed].append(metrics)

    def add_result(self, seed: int, result: RunResult) -> None:
        """Take what a run came to in a task."""
        for metrics in result.history:
            self.add(seed, metrics)
        self.timings.append(result.timing)
        if result.finished:
            self.finished.add(seed)
        if result.test is not None:
            self.tests[seed] = result.test

    def ended(self, now: float) -> TrialEnded:
        """What it came to."""
        failure = self.failure or Failure("", "")
        complete = self.finished == set(self.spec.seeds)
        return TrialEnded(
            trial=self.spec,
            state="failed" if self.failure else "complete" if complete else "stopped",
            failure=failure.reason or None,
            message=failure.message,
            attempts=self.attempts,
            histories={seed: tuple(history) for seed, history in self.histories.items()},
            tests=self.tests,
            timings=tuple(self.timings),
            elapsed_seconds=now - self.began,
        )


@dataclass(slots=True, eq=False)
class RunGroup:
    """Runs of one trial that are always in one task: all of them in lock-step, or a single one.

    Attributes:
        alone: whether it shares no task with other groups any more, as it or they may be to blame.
        failed: attempts in a row that got no further.
    """

    trial: TrialUnderWay
    runs: tuple[Run, ...]
    alone: bool = False
    failed: int = 0
    _epochs: int = 0  # known at the latest failure
    _early_losses: int = 0

    @property
    def finished(self) -> bool:
        """Whether each run has reached its last epoch, and nothing of that was lost."""
        return all(run.seed in self.trial.finished for run in self.runs)

    def next_attempt(self, failure: Failure, *, begun: bool, shared: bool) -> int | None:
        """Count a failed task.

        Args:
            failure: that ended it.
            begun: whether a worker was at work on it.
            shared: whether other groups were in it; one of them may be to blame, so that it does
                not count as an attempt of this one.

        Returns:
            The number of the attempt that follows; 1 if none has been counted yet, None if the
            group has failed.
        """
        if failure.reason not in RETRIED:
            return None
        if not begun:
            self._early_losses += 1
            if self._early_losses < _MOST_EARLY_LOSSES:
                return 1
        known = sum(len(self.trial.histories[run.seed]) for run in self.runs)
        self.failed = 1 if known > self._epochs else self.failed + 1
        self._epochs = known
        self.alone = self.alone or self.failed > 1 or failure.reason in _FAULTS_OF_A_BATCH
        if not shared:
            return self.failed + 1 if self.failed < MOST_ATTEMPTS else None
        if self.alone:  # what follows are attempts of its own
            self.failed = 0
        return 1


def failure_of(error: Exception) -> Failure:
    """The word and the line for a task's exception.

    Raises:
        InputError: the study as a whole cannot continue.
    """
    if isinstance(error, InputError):
        raise error
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, TrialFailed):
        return Failure(error.reason, message, getattr(error, "details", ""))
    return Failure("error", f"{type(error).__name__}: {message}")
