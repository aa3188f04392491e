"""Which tasks have given no sign of life for too long.

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
class _Sign:
    """The latest sign of life of a task."""

    job: str
    at: float
    begun: bool = False
    trained: bool = False


class Watch:
    """Counts how long tasks have been silent.

    Args:
        hang_seconds: silence that is too long, once a task has trained an epoch.
        now: what the clock says.
    """

    def __init__(self, hang_seconds: float, now: float) -> None:
        self._hang_seconds = hang_seconds
        self._clock = now
        self._running = 0.0  # seconds in which the coordinator ran
        self._signs: dict[str, _Sign] = {}
        self._longest: dict[str, float] = {}  # job → its longest epoch, seconds

    def tick(self, now: float) -> None:
        """Let time pass; call it at least every few seconds."""
        self._running += min(now - self._clock, _LONGEST_TICK_SECONDS)
        self._clock = now

    def begin(self, task: str, job: str) -> None:
        """Watch a task that has been handed out."""
        self._signs[task] = _Sign(job, self._running)

    def sign(self, task: str, *, trained: bool) -> None:
        """Note a sign of life: of a beginning, or of an epoch that was trained."""
        sign = self._signs[task]
        if trained and sign.begun:
            took = self._running - sign.at
            self._longest[sign.job] = max(took, self._longest.get(sign.job, 0.0))
        sign.at, sign.begun, sign.trained = self._running, True, sign.trained or trained

    def has_begun(self, task: str) -> bool:
        """Whether a worker has said that it is at work on the task."""
        return self._signs[task].begun

    def end(self, task: str) -> None:
        """Watch a task no longer."""
        del self._signs[task]

    def forget(self, job: str) -> None:
        """Drop what is known of a job that has ended."""
        self._longest.pop(job, None)

    def hung(self) -> dict[str, float]:
        """Tasks that have been silent for too long → seconds; each silence is told once."""
        silent = {
            task: self._running - sign.at
            for task, sign in self._signs.items()
            if self._running - sign.at > self._limit(sign)
        }
        for task in silent:
            self._signs[task].at = self._running
        return silent

    def _limit(self, sign: _Sign) -> float:
        usual = self._hang_seconds * (1 if sign.trained else _FIRST_EPOCH)
        return max(usual, _EPOCHS * self._longest.get(sign.job, 0.0))
