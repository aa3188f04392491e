"""What may happen to a worker process, without any training.

The number of the trial says what its task does.
"""

from __future__ import annotations

import os
import signal
import time

from distributed import get_worker

from mnist_tune.errors import Diverged, WorkerFailed
from mnist_tune.workers.tasks import EpochMessage, Task, TaskResults
from mnist_tune.workers.worker import topic
from tests.search.fakes import run_result, timing

WELL, DIES, HANGS, OUT_OF_MEMORY, RAISES, DIVERGES, STOPPED = range(7)
PID_TOPIC = "pid"


def misbehave(task: Task) -> TaskResults:
    """Do what the task's trial number says, after the word that it has begun, by a worker's process."""
    worker = get_worker()
    message = EpochMessage(task.name, "begun", worker=worker.address)
    worker.log_event(topic(task.coordinator), message.to_event())
    worker.log_event(PID_TOPIC, {"task": task.name, "pid": os.getpid()})
    time.sleep(0.3)  # until that is sent
    number = task.runs[0].trial.trial_number
    _happen(number)
    if number == DIVERGES:
        return (Diverged("nan"),)
    return (run_result(timing=timing(device=str(os.getpid()))),)


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
