"""Whether a task that failed is worth another attempt.

What the machine did to it may not happen again; what follows from the numbers alone would. So a
diverged run is never tried again, anything else goes on from its last checkpoint, until it has
failed so often in a row without getting any further.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

RETRIED = frozenset({"worker_lost", "out_of_memory", "hung", "error"})
MOST_ATTEMPTS = 3  # in a row that get no further
_MOST_LOSSES = 8  # of the worker before the task had begun, which is rarely the task's fault


@dataclass(slots=True)
class Attempts:
    """The failed attempts at the runs of one job."""

    _failed: dict[int, int] = field(default_factory=dict)  # seed → attempts in a row
    _reached: dict[int, int] = field(default_factory=dict)  # seed → epochs at the last failure
    _losses: int = 0

    def failed(self, reached: Mapping[int, int]) -> int:
        """Note that the task of some seeds failed.

        Args:
            reached: seed → epochs that are known of it.

        Returns:
            How many attempts have failed in a row without getting any further.
        """
        for seed, epochs in reached.items():
            further = epochs > self._reached.get(seed, 0)
            self._failed[seed] = 1 if further else self._failed.get(seed, 0) + 1
            self._reached[seed] = epochs
        return max(self._failed[seed] for seed in reached)

    def lost(self) -> bool:
        """Note that a worker went before the task had begun; whether that may go on."""
        self._losses += 1
        return self._losses < _MOST_LOSSES
