"""The embedded Dask cluster: worker processes of this machine, on loopback.

A worker that dies is replaced, and its task ends as lost: whoever submitted it decides whether it
is to go on from its checkpoints. Workers end with the coordinator, even when that is killed.

What is relied on, and checked by tests/workers/test_cluster.py: with no allowed failures Dask
raises KilledWorker for the task of a worker that went, and its nannies put another one in its
place; a worker over its memory limit is killed and an event says so.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from multiprocessing import resource_tracker
from types import TracebackType
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, LocalCluster

from mnist_tune.errors import DefinitionError, WorkerFailed, WorkersGone
from mnist_tune.workers import control, training
from mnist_tune.workers.tasks import EPOCH_TOPIC, Outcome, Task

_MOST_WORKERS = 1_024
_START_SECONDS = 60
_TEND_EVERY = 10  # calls of `tend`, a second apart or so
_WITHOUT_WORKERS = 30  # looks at an empty cluster before it is given up: some five minutes
_OUT_OF_MEMORY_TOPIC = "worker-restart-memory"  # of Dask's nannies
_SETTINGS = {
    # Its task is lost with its worker; by default Dask would start it anew three times in silence.
    "distributed.scheduler.allowed-failures": 0,
    # Dask's own alarm goes by the clock on the wall: a machine that slept would lose all workers.
    "distributed.scheduler.worker-ttl": None,
    # A busy machine takes its time to start a process.
    "distributed.deploy.lost-worker-timeout": "60s",
    # These save results, of which there are none, and would leave a large worker without tasks.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}


class Cluster:
    """Worker processes, used as a context manager.

    Args:
        workers: how many processes; each trains one task at a time.
        threads: CPU threads of one operation in each worker.
        events: where epoch messages (dict) and finished task names (str) are put.
        memory_limit: of each worker, in bytes; None shares out what the machine has.
        work: what a worker does with a task.
    """

    def __init__(
        self,
        workers: int,
        threads: int,
        events: queue.SimpleQueue[Any],
        memory_limit: int | None = None,
        work: Callable[[Task], Outcome] = training.run,
    ) -> None:
        self.workers = workers
        self._threads = threads
        self._events = events
        self._memory = {} if memory_limit is None else {"memory_limit": memory_limit}
        self._work = work
        self._futures: dict[str, Future[Outcome]] = {}
        self._addresses: dict[str, str] = {}  # task → worker that has begun it
        self._over_memory: set[str] = set()  # addresses of workers that were killed for it
        self._calls = self._empty = 0

    def __enter__(self) -> Cluster:
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        self._settings = dask.config.set(_SETTINGS)
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
                **self._memory,
            )
            self._client = Client(self._cluster, timeout=_START_SECONDS)
        self._client.subscribe_topic(EPOCH_TOPIC, self._on_epoch)
        self._client.subscribe_topic(_OUT_OF_MEMORY_TOPIC, self._on_out_of_memory)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()
        self._cluster.close()
        self._settings.__exit__(None, None, None)

    def submit(self, task: Task) -> None:
        """Hand a task to a free worker; its name appears in the events when it has ended."""
        future = self._client.submit(self._work, task, key=task.name, pure=False)
        self._futures[task.name] = future
        future.add_done_callback(lambda future: self._on_end(task.name, future))

    def result(self, name: str) -> Outcome:
        """The outcome of a task that has ended, or the exception that ended it."""
        address = self._addresses.pop(name, "")
        try:
            outcome: Outcome = self._futures.pop(name).result()
        except KilledWorker:
            if address in self._over_memory:
                raise WorkerFailed(
                    "its worker went over its memory limit", "out_of_memory"
                ) from None
            raise WorkerFailed("its worker process ended", "worker_lost") from None
        except CancelledError:
            raise WorkerFailed("no worker took it", "worker_lost") from None
        return outcome

    def end(self, names: list[str]) -> None:
        """Ask tasks to save and end after the epoch under way."""
        self._client.run(control.end, names, wait=False, on_error="ignore")

    def replace(self, name: str) -> None:
        """Replace the worker of a hung task, without waiting for it; the task ends, as lost."""
        future = self._futures[name]

        def make_sure() -> None:
            if not future.done():  # no worker has it, or nobody knows which
                future.cancel()

        self._restart(self._addresses.get(name), make_sure)

    def tend(self) -> None:
        """Bring back workers that went for good; called every second or so.

        Raises:
            WorkersGone: none can be started.
        """
        self._calls += 1
        if self._calls % _TEND_EVERY:
            return
        self._empty = 0 if self._cluster.scheduler_info["workers"] else self._empty + 1
        if self._empty > _WITHOUT_WORKERS:
            raise WorkersGone(
                "no worker process can be started any more: see what `mnist-tune doctor` says and "
                "whether memory and processes are left, then type the same command again; "
                "everything is saved"
            )
        if len(self._cluster.workers) < self.workers:  # Dask drops those that could not be replaced
            self._cluster.scale(self.workers)

    def _on_epoch(self, event: tuple[float, dict[str, Any]]) -> None:
        message = event[1]
        if message["task"] in self._futures:
            self._addresses[message["task"]] = message["worker"]
        self._events.put(message)

    def _on_out_of_memory(self, event: tuple[float, dict[str, Any]]) -> None:
        self._over_memory.add(event[1]["worker"])

    def _on_end(self, name: str, future: Future[Outcome]) -> None:
        """Tell of the end of a task, after its worker was replaced where it may be spoilt.

        An exception that nobody expected may have left memory or a device in a bad state.
        """
        spoilt = future.status == "error" and isinstance(future.exception(), WorkerFailed)
        if spoilt:
            self._restart(self._addresses.get(name), lambda: self._events.put(name))
        else:
            self._events.put(name)

    def _restart(self, address: str | None, then: Callable[[], None]) -> None:
        """Replace a worker in a thread of its own, since that takes seconds."""

        def restart() -> None:
            # It may be gone already, or the whole cluster may be about to end.
            with contextlib.suppress(Exception):
                if address is not None:
                    self._client.restart_workers(
                        [address], timeout=_START_SECONDS, raise_for_error=False
                    )
            with contextlib.suppress(Exception):
                then()

        threading.Thread(target=restart, daemon=True).start()


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
