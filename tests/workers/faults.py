"""What may happen to a worker process, without any training.

The number of the trial says what its task does.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from distributed import get_worker

from mnist_tune.errors import Diverged, WorkerFailed
from mnist_tune.workers.tasks import Results, Task
from mnist_tune.workers.worker import topic
from tests.search.fakes import outcome

WELL, DIES, HANGS, OUT_OF_MEMORY, RAISES, DIVERGES, STOPPED = range(7)
PID_EVENT = "pid"


def misbehave(task: Task) -> Results:
    """Do what the task's trial number says, after the word that it has begun."""
    worker = get_worker()
    message: dict[str, Any] = {
        "task": task.name,
        "trained": False,
        "compiling": False,
        "metrics": [],
        "over": [],
    }
    worker.log_event(topic(task.run), message | {"worker": worker.address, PID_EVENT: os.getpid()})
    time.sleep(0.3)  # until that is sent
    _happen(task.lead.trial_number)
    if task.lead.trial_number == DIVERGES:
        return {task.lead.key: Diverged("nan")}
    return {task.lead.key: outcome({}, device=str(os.getpid()))}


def _happen(what: int) -> None:
    if what == DIES:
        os.kill(os.getpid(), signal.SIGKILL)
    if what == STOPPED:
        os.kill(os.getpid(), signal.SIGSTOP)
    if what == HANGS:
        time.sleep(1_000)
    if what == OUT_OF_MEMORY:
        kept = []
        while True:
            kept.append(bytearray(os.urandom(1)) * 20_000_000)
            time.sleep(0.01)
    if what == RAISES:
        raise WorkerFailed("ValueError: x", "out_of_memory", "Traceback")
