"""A job under way: its seeds in groups, what is known of each, and what went wrong."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from mnist_tune.errors import InputError, TrialFailed
from mnist_tune.search.attempts import MOST_ATTEMPTS, RETRIED, Attempts
from mnist_tune.trainer.states import EpochMetrics, TestMetrics
from mnist_tune.workers.tasks import Outcome, TrialSpec

_FAULT_OF_A_STACK = frozenset({"out_of_memory", "error"})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task failed.

    Attributes:
        reason: `diverged`, `worker_lost`, `out_of_memory`, `hung` or `error`.
        message: one line.
    """

    reason: str
    message: str


@dataclass(slots=True)
class Work:
    """A job under way.

    Attributes:
        waiting: groups of seeds that no worker has yet.
        histories: seed → metrics of its epochs.
        began: when the job was started by this coordinator.
        epoch_ended: when the latest epoch was announced; at first the beginning.
        running: task → its seeds.
        ending: whether the job was asked to end.
        broken_off: whether a task of an ending job was lost, so that its outcome is unknown.
        alone: whether it shares no task with other jobs any more, as it or they may be to blame.
        epoch_seconds: of the latest epoch.
    """

    job: TrialSpec
    waiting: list[tuple[int, ...]]
    histories: dict[int, list[EpochMetrics]]
    began: float
    epoch_ended: float
    running: dict[str, tuple[int, ...]] = field(default_factory=dict)
    ending: bool = False
    broken_off: bool = False
    alone: bool = False
    failure: Failure | None = None
    attempts: Attempts = field(default_factory=Attempts)
    shared: Attempts = field(default_factory=Attempts)  # together with other jobs
    failed_attempts: int = 0
    announced: int = 0
    scores: dict[int, TestMetrics] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    epoch_seconds: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether every seed has reached the last epoch, and nothing of that was lost."""
        epochs = self.job.recipe.epochs
        return not self.broken_off and all(len(h) == epochs for h in self.histories.values())

    def reached(self, seeds: tuple[int, ...]) -> dict[int, int]:
        """How many epochs of some seeds are known."""
        return {seed: len(self.histories[seed]) for seed in seeds}

    def try_again(
        self, seeds: tuple[int, ...], failure: Failure, *, begun: bool, shared: bool
    ) -> int | None:
        """Queue the seeds of a failed task again, where that can help.

        Args:
            seeds: of the task.
            failure: that ended it.
            begun: whether a worker was at work on it.
            shared: whether other jobs were in it; one of them may be to blame, so that it does not
                count as an attempt of this one.

        Returns:
            The number of the attempt that follows; 1 if none has been counted yet, None if the job
            has failed.
        """
        if failure.reason not in RETRIED:
            return None
        if not begun and self.attempts.lost():
            self.waiting.append(seeds)
            return 1
        if shared:
            in_a_row = self.shared.failed(self.reached(seeds))
            self.alone = self.alone or in_a_row > 1 or failure.reason in _FAULT_OF_A_STACK
            self.waiting.append(seeds)
            return 1
        failed = self.attempts.failed(self.reached(seeds))
        if failed >= MOST_ATTEMPTS:
            self.failed_attempts = self.failed_attempts or failed
            return None
        self.alone = self.alone or failed > 1 or failure.reason in _FAULT_OF_A_STACK
        self.waiting.append(seeds)
        return failed + 1

    def take(self, histories: dict[int, Any]) -> None:
        """Add the epochs that come next; a restored run sends all of its epochs again.

        An epoch whose predecessor got lost is left to the task's outcome, which holds all of them.
        """
        for seed, history in histories.items():
            known = self.histories[seed]
            for metrics in history:
                if metrics.epoch == len(known) + 1:
                    known.append(metrics)

    def newly_done(self, now: float) -> Iterator[tuple[int, dict[int, EpochMetrics]]]:
        """The epochs that the last of the seeds has now finished.

        Those that come after the job was asked to end, too: its result must not depend on when its
        workers heard of that.
        """
        while all(len(history) > self.announced for history in self.histories.values()):
            metrics = {seed: history[self.announced] for seed, history in self.histories.items()}
            self.announced += 1
            self.epoch_seconds, self.epoch_ended = now - self.epoch_ended, now
            yield self.announced, metrics

    def seconds_left(self, task: str) -> float:
        """A guess from the latest epoch; 0 before the first one has ended."""
        done = min(self.reached(self.running[task]).values())
        return self.epoch_seconds * (self.job.recipe.epochs - done)


def groups_of(seeds: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    """Share seeds out evenly, neighbours together."""
    count = max(1, min(count, len(seeds)))
    ends = [len(seeds) * i // count for i in range(count + 1)]
    return [seeds[a:b] for a, b in itertools.pairwise(ends)]


def told(
    parts: Sequence[tuple[Work, tuple[int, ...]]], failure: Failure, attempt: int
) -> str | None:
    """What people hear of seeds that are tried again; None if there was no attempt before.

    Args:
        parts: jobs that were in one task, each with its seeds.
        failure: that ended it.
        attempt: that follows.
    """
    reason = f"{failure.reason} ({failure.message})"
    if len(parts) > 1:
        numbers = ", ".join(str(work.job.trial_number) for work, _seeds in parts)
        how = "each goes on alone" if parts[0][0].alone else "they go on together"
        return f"trials {numbers}: {reason}; {how} from the last checkpoint"
    if attempt == 1:
        return None
    ((work, seeds),) = parts
    which = f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"
    return (
        f"{work.job.title}, {which}: {reason}; attempt {attempt} of {MOST_ATTEMPTS} goes on from the "
        "last checkpoint"
    )


def failure_of(error: Exception) -> Failure:
    """The word and the line for a task's exception.

    Raises:
        InputError: the study as a whole cannot go on.
    """
    if isinstance(error, InputError):
        raise error
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, TrialFailed):
        return Failure(error.reason, message)
    return Failure("error", f"{type(error).__name__}: {message}")
