"""Typed events of a search, from the scheduler to the coordinator and on to those who observe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from mnist_tune.trainer.states import EpochMetrics, EvaluationMetrics
from mnist_tune.workers.tasks import Timing, TrialSpec

Histories = Mapping[int, tuple[EpochMetrics, ...]]
"""Seed → metrics of its epochs."""


@dataclass(frozen=True, slots=True)
class TrialStarted:
    """A trial or a confirmation starts, or resumes after an interruption."""

    trial: TrialSpec
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunsReported:
    """A worker reports of runs of a trial: it compiles the training program, or has trained an epoch.

    `latest` has the last epoch of each seed that has trained any so far, here or before.
    """

    trial: TrialSpec
    latest: Mapping[int, EpochMetrics]


@dataclass(frozen=True, slots=True)
class EpochDone:
    """All seeds of a trial have finished an epoch.

    Each epoch, 1 for the first, is announced once, in order and before the trial's `TrialEnded`, whether
    it was just trained, restored from a checkpoint, or came with the results of a task. `metrics` has
    what it measured for each seed.
    """

    trial: TrialSpec
    epoch: int
    metrics: Mapping[int, EpochMetrics]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEnded:
    """No run of a trial is waiting or under way any more.

    Attributes:
        state: `stopped` if it was asked to end before its last epoch; who asked knows why.
        failure: None, or why it failed: `diverged`, `worker_lost`, `out_of_memory`, `hung` or
            `error`.
        message: the failure in a line.
        attempts: how many failed in a row, the last one included.
        histories, tests: seed → metrics of its epochs, and on the test set if it is a confirmation.
        timings: of its runs in all their tasks.
        elapsed_seconds: since the trial was started by this coordinator.
    """

    trial: TrialSpec
    state: Literal["complete", "pruned", "failed", "stopped"]
    failure: str | None = None
    message: str = ""
    attempts: int = 0
    histories: Histories
    tests: Mapping[int, EvaluationMetrics]
    timings: tuple[Timing, ...]
    elapsed_seconds: float

    @property
    def last(self) -> dict[int, EpochMetrics]:
        """Seed → metrics of its last epoch, of the seeds that have any."""
        return {seed: history[-1] for seed, history in self.histories.items() if history}


@dataclass(frozen=True, slots=True)
class TrialSkipped:
    """`suggest` has pruned a trial, which ends without a run."""

    trial_number: int
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line for the log."""

    line: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A second or so has passed."""


Event = TrialStarted | TrialSkipped | RunsReported | EpochDone | TrialEnded | LogLine | Tick


class Observer(Protocol):
    """Hears of all events, of `TrialEnded` once it is stored; it must not fail."""

    def notify(self, event: Event) -> None:
        """Hear of an event."""
