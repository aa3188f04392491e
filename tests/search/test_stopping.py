"""Requests to stop are counted while somebody wants to know, and wake the crew."""

from __future__ import annotations

import os
import queue
import signal
from typing import Any

import pytest

from mnist_tune.search.stopping import WAKE_UP, StopRequests


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_counted_and_wake_the_crew(number: signal.Signals) -> None:
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with StopRequests(events) as stop:
        assert stop.count == 0
        for count in (1, 2):
            os.kill(os.getpid(), number)
            assert events.get(timeout=10) == WAKE_UP
            assert stop.count == count


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyError), StopRequests(queue.SimpleQueue()):
        raise KeyError
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert after == before
