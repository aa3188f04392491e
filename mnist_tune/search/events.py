"""What a crew has to say: how far jobs are, what became of them, and lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mnist_tune.trainer.states import EpochMetrics, TestMetrics
from mnist_tune.workers.tasks import Outcome, TrialSpec


@dataclass(frozen=True, slots=True)
class Compiling:
    """A worker has a task of a job: it loads the images and compiles the training program."""

    job: TrialSpec


@dataclass(frozen=True, slots=True)
class EpochDone:
    """All seeds of a job have finished an epoch.

    Each such epoch is announced once, in order and before the job's `TrialEnded`, no matter whether it
    came while it was trained, from a checkpoint, or with the outcome of a task that was to end.

    Attributes:
        job: which.
        epoch: 1 for the first.
        metrics: seed → what the epoch measured.
    """

    job: TrialSpec
    epoch: int
    metrics: dict[int, EpochMetrics]


@dataclass(frozen=True, slots=True)
class TrialEnded:
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

    job: TrialSpec
    failure: str | None
    message: str
    attempts: int
    finished: bool
    histories: Mapping[int, tuple[EpochMetrics, ...]]
    scores: Mapping[int, TestMetrics]
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


Event = Compiling | EpochDone | TrialEnded | Warned | Told
