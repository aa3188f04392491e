"""Tasks on the workers of a fleet: submitted, watched, asked to end, and told apart when they fail.

A worker that dies is replaced, and its task ends as lost: whoever submitted it decides whether it
is to go on from its checkpoints. With no allowed failures Dask raises KilledWorker for the task of a
worker that went.
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
from types import TracebackType
from typing import Any

from distributed import Future, KilledWorker

from mnist_tune import checkpoints
from mnist_tune.data.sources import load_source
from mnist_tune.errors import StorageError, WorkerFailed
from mnist_tune.workers import control, worker
from mnist_tune.workers.images import ImagesMissing
from mnist_tune.workers.pools import WorkerPool
from mnist_tune.workers.tasks import Outcome, Results, Task

_RESTART_SECONDS = 60
_OUT_OF_MEMORY_TOPIC = "worker-restart-memory"  # of Dask's nannies


class Executor:
    """Runs tasks on a fleet; a context manager.

    Args:
        fleet: the workers; each trains one task at a time.
        events: where epoch messages (dict) and finished task names (str) are put.
        work: what a worker does with a task.
        priority: against the tasks of other studies on the same workers; higher ones come first.
    """

    def __init__(
        self,
        fleet: WorkerPool,
        events: queue.SimpleQueue[Any],
        work: Callable[..., Results] = worker.run_task,
        priority: int = 0,
    ) -> None:
        self._fleet = fleet
        self._events = events
        self._work = work
        self._priority = priority
        self._run = uuid.uuid4().hex[:12]  # other coordinators may use the same workers
        self._tasks: dict[str, Task] = {}
        self._futures: dict[str, Future[Results]] = {}
        self._ended: dict[str, Results | BaseException] = {}
        self._addresses: dict[str, str] = {}  # task → worker that has begun it
        self._over_memory: set[str] = set()  # addresses of workers that were killed for it
        self._images: Future[Any] | None = None  # for workers that have none

    def __enter__(self) -> Executor:
        self._client = self._fleet.__enter__()
        self._client.subscribe_topic(worker.topic(self._run), self._on_epoch)
        self._client.subscribe_topic(_OUT_OF_MEMORY_TOPIC, self._on_out_of_memory)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._fleet.__exit__(kind, error, trace)

    @property
    def workers(self) -> int:
        """How many tasks may be under way at a time."""
        return self._fleet.workers

    @property
    def gpus(self) -> bool:
        """Whether all workers have one."""
        return self._fleet.gpus

    def submit(self, task: Task) -> None:
        """Hand a task to a free worker; its name appears in the events when it has ended."""
        if self._fleet.elsewhere:
            task = replace(task, mark=_mark(task.lead.checkpoints, self._run))
        task = replace(task, run=self._run)
        self._tasks[task.name] = task
        self._start(task)

    def result(self, name: str) -> Results:
        """What became of each job of a task that has ended, or the exception that ended it."""
        address = self._addresses.pop(name, "")
        task = self._tasks.pop(name)
        del self._futures[name]
        ended = self._ended.pop(name)
        try:
            if isinstance(ended, BaseException):
                raise ended
        except KilledWorker:
            if address in self._over_memory:
                raise WorkerFailed(
                    "its worker went over its memory limit", "out_of_memory"
                ) from None
            raise WorkerFailed("its worker process ended", "worker_lost") from None
        except CancelledError:
            raise WorkerFailed("no worker took it", "worker_lost") from None
        for piece in task.pieces:
            result = ended[piece.job.key]
            if isinstance(result, Outcome):
                for seed, content in result.weights.items():
                    _keep(piece.job.kept_weights(seed), content)
        return ended

    def end(self, pieces: Sequence[tuple[str, str]]) -> None:
        """Ask pieces of tasks, by the names of both, to save and end after the epoch under way."""
        keys = [self._tasks[task].piece_key(job) for task, job in pieces if task in self._tasks]
        self._client.run(control.end, keys, wait=False, on_error="ignore")

    def replace(self, name: str) -> None:
        """Replace the worker of a hung task, without waiting for it; the task ends, as lost."""
        future = self._futures[name]

        def make_sure() -> None:
            if not future.done():  # no worker has it, or nobody knows which
                future.cancel()

        self._restart(self._addresses.get(name), make_sure)

    def tend(self) -> Sequence[str]:
        """Look after the workers; called every second or so.

        Returns:
            Lines for people.

        Raises:
            WorkersGone: there are none any more, and there will be none.
        """
        return self._fleet.tend()

    def _start(self, task: Task, *images: Any) -> None:
        future = self._client.submit(
            self._work,
            task,
            *images,
            key=f"{task.key}-{uuid.uuid4().hex[:8]}" if images else task.key,
            pure=False,
            priority=self._priority,
        )
        self._futures[task.name] = future
        future.add_done_callback(lambda future: self._on_end(task, future))

    def _on_epoch(self, event: tuple[float, dict[str, Any]]) -> None:
        message = event[1]
        if message["task"] in self._futures:
            self._addresses[message["task"]] = message["worker"]
        self._events.put(message)

    def _on_out_of_memory(self, event: tuple[float, dict[str, Any]]) -> None:
        self._over_memory.add(event[1]["worker"])

    def _on_end(self, task: Task, future: Future[Results]) -> None:
        """Fetch what a task came to in Dask's own thread, so that nobody waits for a worker."""
        assert self._client.loop is not None
        self._client.loop.add_callback(self._fetch, task, future)

    async def _fetch(self, task: Task, future: Future[Results]) -> None:
        """Tell of the end of a task, after its worker was replaced where it may be spoilt.

        An exception that nobody expected may have left memory or a device in a bad state.
        """
        try:
            ended: Results | BaseException = await future
        except (Exception, CancelledError) as error:  # sorted by whoever asks for the result
            ended = error
        self._ended[task.name] = ended
        if isinstance(ended, ImagesMissing):
            threading.Thread(target=self._bring_images, args=(task,), daemon=True).start()
        elif isinstance(ended, WorkerFailed):
            self._restart(self._addresses.get(task.name), lambda: self._events.put(task.name))
        else:
            self._events.put(task.name)

    def _bring_images(self, task: Task) -> None:
        """Begin a task again with the images, which go to each worker once and stay there."""
        try:
            if self._images is None:
                self._images = self._client.scatter(load_source(task.lead.source))
            self._start(task, self._images)
        except Exception:  # the cluster is about to end: the task then ends as it did
            self._events.put(task.name)

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


def _mark(folder: Path, run: str) -> str:
    """Put a file beside the checkpoints, by which workers know the folder.

    Raises:
        StorageError: it cannot be written.
    """
    path = folder / "coordinator"
    name = f"{path.name}-{run}"
    try:
        if not path.with_name(name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob(f"{path.name}-*"):  # of coordinators before this one
                old.unlink()
            path.with_name(name).touch()
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written ({error.strerror}): make it writable and type the same command again"
        ) from error
    return name


def _keep(path: Path, content: bytes) -> None:
    """Write weights that a worker could not write itself.

    Raises:
        StorageError: nor can they be written here.
    """
    try:
        checkpoints.write(path, [content])
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror}): make room there, or make its folder writable, "
            "and type the same command again; what was stored before is safe"
        ) from error
