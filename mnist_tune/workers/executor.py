"""Executes tasks on the workers of a pool: submits, ends, collects results, replaces workers.

A worker that dies is replaced, and its task ends as lost: the scheduler decides whether it resumes
from its checkpoints. With no allowed failures Dask raises KilledWorker for the task of a worker that
went.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from typing import Any

from distributed import Future, KilledWorker

from mnist_tune import checkpoints
from mnist_tune.data.sources import load_source
from mnist_tune.errors import StorageError, WorkerFailed
from mnist_tune.workers import worker
from mnist_tune.workers.pools import WorkerPool
from mnist_tune.workers.tasks import EpochMessage, RunResult, Task, TaskEnded, TaskResults

_RESTART_SECONDS = 60
_OUT_OF_MEMORY_TOPIC = "worker-restart-memory"  # of Dask's nannies


class Executor:
    """Executes tasks, one at a time on each worker; a context manager.

    Args:
        pool: the workers.
        events: where every `EpochMessage` and `TaskEnded` is put.
        work: what a worker does with a task.
        priority: against the tasks of other studies on the same workers; higher ones come first.
    """

    def __init__(
        self,
        pool: WorkerPool,
        events: queue.SimpleQueue[Any],
        work: Callable[..., TaskResults] = worker.run_task,
        priority: int = 0,
    ) -> None:
        self.pool = pool
        self.events = events
        self._work = work
        self._priority = priority
        self._name = uuid.uuid4().hex[:12]  # other coordinators may use the same workers
        self._tasks: dict[str, Task] = {}
        self._futures: dict[str, Future[TaskResults]] = {}
        self._ended: dict[str, TaskResults | BaseException] = {}
        self._addresses: dict[str, str] = {}  # task → worker that has begun it
        self._over_memory: set[str] = set()  # addresses of workers that were killed for it
        self._images: Future[Any] | None = None  # for workers that have none

    def __enter__(self) -> Executor:
        self._client = self.pool.__enter__()
        self._client.subscribe_topic(worker.topic(self._name), self._on_epochs)
        self._client.subscribe_topic(_OUT_OF_MEMORY_TOPIC, self._on_out_of_memory)
        return self

    def __exit__(self, *exception: object) -> None:
        self.pool.__exit__(*exception)

    def submit(self, task: Task) -> None:
        """Hand a task to a free worker; `TaskEnded` appears in the events when it is over."""
        if self.pool.remote:
            folder = task.runs[0].trial.checkpoints
            task = replace(task, marker=_put_marker(folder, self._name))
        self._tasks[task.name] = replace(task, coordinator=self._name)
        self._start(task.name)

    def result(self, name: str) -> TaskResults:
        """The results of a task that is over, or the exception that ended it."""
        address = self._addresses.pop(name, "")
        task = self._tasks.pop(name)
        del self._futures[name]
        ended = self._ended.pop(name)
        if isinstance(ended, KilledWorker):
            if address in self._over_memory:
                raise WorkerFailed("its worker went over its memory limit", "out_of_memory")
            raise WorkerFailed("its worker process ended", "worker_lost")
        if isinstance(ended, CancelledError):
            raise WorkerFailed("no worker took it", "worker_lost")
        if isinstance(ended, BaseException):
            raise ended
        for run, result in zip(task.runs, ended, strict=True):
            if isinstance(result, RunResult) and result.weights is not None:
                assert run.weights is not None
                checkpoints.write_checkpoint(run.weights, result.weights)
        return ended

    def end(self, names: Sequence[str]) -> None:
        """Ask tasks to save and end after the epoch under way."""
        keys = [self._tasks[name].key for name in names if name in self._tasks]
        self._client.run(worker.end_tasks, keys, wait=False, on_error="ignore")

    def replace(self, name: str) -> None:
        """Replace the worker of a hung task, without waiting for it; the task ends, as lost."""
        future = self._futures[name]

        def make_sure() -> None:
            if not future.done():  # no worker has it, or nobody knows which
                future.cancel()

        self._restart(self._addresses.get(name), make_sure)

    def _start(self, name: str, *images: Any) -> None:
        task = self._tasks[name]
        future = self._client.submit(
            self._work,
            task,
            *images,
            key=f"{task.key}-{uuid.uuid4().hex[:8]}" if images else task.key,
            pure=False,
            priority=self._priority,
        )
        self._futures[name] = future
        future.add_done_callback(lambda future: self._on_end(name, future))

    def _on_epochs(self, event: tuple[float, dict[str, Any]]) -> None:
        message = EpochMessage.from_event(event[1])
        if message.task in self._futures:
            self._addresses[message.task] = message.worker
        self.events.put(message)

    def _on_out_of_memory(self, event: tuple[float, dict[str, Any]]) -> None:
        self._over_memory.add(event[1]["worker"])

    def _on_end(self, name: str, future: Future[TaskResults]) -> None:
        """Fetch the results of a task in Dask's own thread, so that nobody waits for a worker."""
        assert self._client.loop is not None
        self._client.loop.add_callback(self._fetch, name, future)

    async def _fetch(self, name: str, future: Future[TaskResults]) -> None:
        """Tell of the end of a task, after its worker was replaced where it may be spoilt.

        An exception that nobody expected may have left memory or a device in a bad state.
        """
        try:
            ended: TaskResults | BaseException = await future
        except (Exception, CancelledError) as error:  # sorted by whoever asks for the result
            ended = error
        self._ended[name] = ended
        if isinstance(ended, worker.ImagesMissing):
            threading.Thread(target=self._send_images, args=(name,), daemon=True).start()
        elif isinstance(ended, WorkerFailed):
            self._restart(self._addresses.get(name), lambda: self.events.put(TaskEnded(name)))
        else:
            self.events.put(TaskEnded(name))

    def _send_images(self, name: str) -> None:
        """Start a task again with the images, which go to each worker once and stay there."""
        try:
            if self._images is None:
                source = self._tasks[name].runs[0].trial.source
                self._images = self._client.scatter(load_source(source))
            self._start(name, self._images)
        except Exception:  # the cluster is about to end: the task then ends as it did
            self.events.put(TaskEnded(name))

    def _restart(self, address: str | None, then: Callable[[], None]) -> None:
        """Replace a worker in a thread of its own, since that takes seconds."""

        def restart() -> None:
            # It may be gone already, or the whole cluster may be about to end.
            with contextlib.suppress(Exception):
                if address is not None:
                    self._client.restart_workers(
                        [address], timeout=_RESTART_SECONDS, raise_for_error=False
                    )
            with contextlib.suppress(Exception):
                then()

        threading.Thread(target=restart, daemon=True).start()


def _put_marker(folder: Path, coordinator: str) -> str:
    """Put a file beside the checkpoints, by which workers know the folder; its name.

    Raises:
        StorageError: it cannot be written.
    """
    marker = folder / f"coordinator-{coordinator}"
    try:
        if not marker.exists():
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob("coordinator-*"):  # of coordinators before this one
                old.unlink()
            marker.touch()
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written ({error.strerror}): make it writable and type the same command again"
        ) from error
    return marker.name
