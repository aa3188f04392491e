"""The embedded Dask cluster: worker processes of this machine, on loopback.

A worker that dies is replaced and its task runs again from its checkpoints; workers end with the
coordinator, even when that is killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import signal
import subprocess
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Any

from distributed import Client, Future, LocalCluster

from mnist_tune.errors import DefinitionError
from mnist_tune.workers import control, training
from mnist_tune.workers.tasks import EPOCH_TOPIC, Outcome, Task

_MOST_WORKERS = 1_024
_START_SECONDS = 60


class Cluster:
    """Worker processes, used as a context manager.

    Args:
        workers: how many processes; each trains one task at a time.
        threads: CPU threads of one operation in each worker.
        events: where epoch messages (dict) and finished task names (str) are put.
    """

    def __init__(self, workers: int, threads: int, events: queue.SimpleQueue[Any]) -> None:
        self.workers = workers
        self._threads = threads
        self._events = events
        self._futures: dict[str, Future[Outcome]] = {}

    def __enter__(self) -> Cluster:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        with _signals_kept_from_children():
            self._cluster = LocalCluster(
                n_workers=self.workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                # No dashboard; and any free port of Dask's status pages, since a fixed one that is
                # taken by another study makes it warn.
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                worker_dashboard_address=None,
                silence_logs=logging.CRITICAL,
                env={training.THREADS_VARIABLE: str(self._threads)},
            )
            self._client = Client(self._cluster, timeout=_START_SECONDS)
        self._client.subscribe_topic(EPOCH_TOPIC, self._on_epoch)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()
        self._cluster.close()

    def submit(self, task: Task) -> None:
        """Hand a task to a free worker; its name appears in the events when it has ended."""
        future = self._client.submit(training.run, task, key=task.name, pure=False)
        self._futures[task.name] = future
        future.add_done_callback(lambda _future: self._events.put(task.name))

    def result(self, name: str) -> Outcome:
        """The outcome of a task that has ended, or the exception that ended it."""
        outcome: Outcome = self._futures.pop(name).result()
        return outcome

    def end(self, names: list[str]) -> None:
        """Ask tasks to save and end after the epoch under way."""
        self._client.run(control.end, names, wait=False, on_error="ignore")

    def _on_epoch(self, event: tuple[float, dict[str, Any]]) -> None:
        self._events.put(event[1])


def worker_plan(workers: int | None, runs: int, cores: int, gpus: int) -> tuple[int, int]:
    """Decide how many workers there are, and how many CPU threads each has.

    Args:
        workers: what the user asked for; None decides by the machine.
        runs: how many runs (trial × seed) there are at most at one time.
        cores: of this machine.
        gpus: that are visible.

    Returns:
        Workers and threads per worker. On CPUs one thread per worker and as many workers as
        cores is fastest; a GPU is fed by one worker.

    Raises:
        DefinitionError: the wish is not a usable number.
    """
    if workers is not None and not 1 <= workers <= _MOST_WORKERS:
        raise DefinitionError(f"--workers {workers}: give a number from 1 to {_MOST_WORKERS:,}")
    count = workers or max(1, min(gpus or cores, runs))
    return count, max(1, cores // count)


def visible_gpus() -> int:
    """How many NVIDIA GPUs a worker will find, asked without importing TensorFlow."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return len([name for name in chosen.split(",") if name.strip() not in ("", "-1")])
    command = shutil.which("nvidia-smi")
    if command is None:
        return 0
    listing = subprocess.run(
        [command, "--list-gpus"], capture_output=True, text=True, timeout=20, check=False
    )
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())


@contextlib.contextmanager
def _signals_kept_from_children() -> Iterator[None]:
    """Block Ctrl-C in the threads and processes started meanwhile, which inherit the mask.

    A terminal sends Ctrl-C to every process in the foreground. The coordinator alone answers it;
    a worker must live to the end of its epoch and save.
    """
    # Started first, since starting it unblocks these signals in the thread that does so.
    resource_tracker.ensure_running()
    blocked = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
