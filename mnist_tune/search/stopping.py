"""Stop requests by Ctrl-C or SIGTERM: the first at the end of the epoch, the second at once."""

from __future__ import annotations

import queue
import signal
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
WAKE_UP = "stop"  # wakes the scheduler


class StopRequests:
    """Counts requests to stop while it is entered; the signals' handlers are put back after.

    Args:
        events: where a wake-up call is put for each request.

    Attributes:
        count: how many there were.
    """

    def __init__(self, events: queue.SimpleQueue[Any]) -> None:
        self.count = 0
        self._events = events

    def __enter__(self) -> StopRequests:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self._events.put(WAKE_UP)  # SimpleQueue.put is safe to call in a signal handler
