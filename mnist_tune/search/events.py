"""What a crew has to say: how far jobs are, what became of them, and lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mnist_tune.trainer.states import EpochMetrics, Score
from mnist_tune.workers.tasks import Job, Outcome


@dataclass(frozen=True, slots=True)
class Compiling:
    """A worker has a task of a job: it loads the images and compiles the training program."""

    job: Job


@dataclass(frozen=True, slots=True)
class EpochDone:
    """All seeds of a job have finished an epoch.

    Each such epoch is announced once, in order and before the job's `JobEnded`, no matter whether it
    came while it was trained, from a checkpoint, or with the outcome of a task that was to end.

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


CrewEvent = Compiling | EpochDone | JobEnded | Warned | Told
