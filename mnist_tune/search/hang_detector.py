"""Detects hung tasks: those that have been silent for too long.

Time is counted only while the coordinator runs: a machine that sleeps, or a coordinator that is
suspended, makes no task look hung, since it could not have heard of it either.
"""

from __future__ import annotations

from dataclasses import dataclass

HANG_SECONDS = 300.0
_LONGEST_TICK_SECONDS = 2.0  # more between two looks at the clock means that nobody was running
_FIRST_EPOCH = 12  # times the limit: TensorFlow starts, data are loaded, the network is compiled
_EPOCHS = 20  # times the longest epoch so far, for networks whose epochs take minutes


@dataclass(slots=True)
class SignsOfLife:
    """What is known of a task.

    Attributes:
        at: when the latest sign came, or the task was last found hung.
        begun: whether a worker has said that it is at work on it.
        trained: whether it has trained an epoch.
        longest: of its epochs, seconds.
        hung_seconds: how long it was silent when it was last found hung.
    """

    at: float
    begun: bool = False
    trained: bool = False
    longest: float = 0.0
    hung_seconds: float | None = None


class HangDetector:
    """Counts how long tasks have been silent.

    Args:
        hang_seconds: silence that is too long, once a task has trained an epoch.
        now: what the clock says.
    """

    def __init__(self, hang_seconds: float, now: float) -> None:
        self._hang_seconds = hang_seconds
        self._clock = now
        self._running = 0.0  # seconds in which the coordinator ran
        self._tasks: dict[str, SignsOfLife] = {}

    def tick(self, now: float) -> None:
        """Let time pass; call it at least every few seconds."""
        self._running += min(now - self._clock, _LONGEST_TICK_SECONDS)
        self._clock = now

    def start(self, task: str) -> None:
        """Watch a task that has been submitted."""
        self._tasks[task] = SignsOfLife(self._running)

    def sign(self, task: str, *, trained: bool) -> None:
        """Note a sign of life: of a beginning, or of an epoch that was trained."""
        known = self._tasks[task]
        if trained and known.begun:
            known.longest = max(known.longest, self._running - known.at)
        known.at, known.begun, known.trained = self._running, True, known.trained or trained

    def end(self, task: str) -> SignsOfLife:
        """Watch a task no longer; what was known of it."""
        return self._tasks.pop(task)

    def hung(self) -> list[str]:
        """Tasks that have been silent for too long; each silence is reported once."""
        found = []
        for task, known in self._tasks.items():
            usual = self._hang_seconds * (1 if known.trained else _FIRST_EPOCH)
            silent = self._running - known.at
            if silent > max(usual, _EPOCHS * known.longest):
                known.at, known.hung_seconds = self._running, silent
                found.append(task)
        return found
