"""Real worker processes that die, hang, stop or eat memory; nothing is trained."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from mnist_tune.errors import Diverged, TrialFailed, WorkersGone
from mnist_tune.workers.executor import Executor
from mnist_tune.workers.pools import LocalPool
from mnist_tune.workers.specs import WorkerSpec
from mnist_tune.workers.tasks import EpochMessage, RunResult, Task
from tests.search.fakes import spec
from tests.workers import faults

PATIENCE_SECONDS = 90.0
MEMORY = 800_000_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


class Tasks:
    """Hands tasks to an executor and waits for what becomes of them."""

    def __init__(self, executor: Executor, pool: LocalPool) -> None:
        self.executor = executor
        self.pool = pool
        self.pids: dict[str, int] = {}
        self._begun: list[str] = []
        self._ended: list[str] = []
        self._number = 0
        executor._client.subscribe_topic(faults.PID_TOPIC, self._on_pid)  # noqa: SLF001

    def _on_pid(self, event: tuple[float, dict[str, Any]]) -> None:
        self.pids[event[1]["task"]] = event[1]["pid"]

    def submit(self, what: int) -> str:
        self._number += 1
        name = f"task-{self._number}"
        runs = spec(what, seeds=(0,)).runs
        self.executor.submit(Task(name=name, runs=runs, checkpoint_seconds=1))
        return name

    def begun(self, name: str) -> int:
        """Wait until a worker has begun a task; the worker's process."""
        while name not in self._begun:
            self._hear()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while name not in self.pids and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.pids[name]

    def ended(self, name: str) -> RunResult:
        """Wait for a task to end; what it came to."""
        while name not in self._ended:
            self._hear()
        (result,) = self.executor.result(name)
        if isinstance(result, Diverged):
            raise result
        return result

    def reason(self, name: str) -> str:
        with pytest.raises(TrialFailed) as caught:
            self.ended(name)
        return caught.value.reason

    def _hear(self) -> None:
        event = self.executor.events.get(timeout=PATIENCE_SECONDS)
        (self._begun if isinstance(event, EpochMessage) else self._ended).append(event.task)


@pytest.fixture(scope="module")
def started() -> Iterator[Tasks]:
    pool = LocalPool([WorkerSpec()], MEMORY)
    with Executor(pool, queue.SimpleQueue(), work=faults.misbehave) as executor:
        yield Tasks(executor, pool)


@pytest.fixture
def tasks(started: Tasks) -> Iterator[Tasks]:
    """The same cluster for all; whatever happened, its worker is as good as new afterwards."""
    yield started
    assert started.ended(started.submit(faults.WELL)).finished


def tend_often(pool: LocalPool) -> None:
    for _ in range(100):
        pool.tend()


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_worker_that_dies_loses_its_task_at_once(tasks: Tasks) -> None:
    name = tasks.submit(faults.DIES)
    assert tasks.reason(name) == "worker_lost"
    assert gone(tasks.pids[name])


@pytest.mark.parametrize("what", [faults.HANGS, faults.STOPPED])
def test_hung_worker_is_replaced(tasks: Tasks, what: int) -> None:
    name = tasks.submit(what)
    pid = tasks.begun(name)
    tasks.executor.replace(name)
    assert tasks.reason(name) == "worker_lost"
    assert tasks.ended(tasks.submit(faults.WELL)).timing.device != str(pid)
    assert gone(pid)


def test_worker_over_its_memory_limit_is_told_apart(tasks: Tasks) -> None:
    assert tasks.reason(tasks.submit(faults.OUT_OF_MEMORY)) == "out_of_memory"


def test_worker_that_raised_is_replaced_before_its_task_is_told_of(tasks: Tasks) -> None:
    name = tasks.submit(faults.RAISES)
    assert tasks.reason(name) == "out_of_memory"
    assert gone(tasks.pids[name])


def test_worker_of_a_diverged_run_stays(tasks: Tasks) -> None:
    name = tasks.submit(faults.DIVERGES)
    with pytest.raises(Diverged):
        tasks.ended(name)
    assert not gone(tasks.pids[name])


def test_task_that_no_worker_takes_is_ended(tasks: Tasks) -> None:
    busy, waiting = tasks.submit(faults.HANGS), tasks.submit(faults.WELL)
    tasks.begun(busy)
    tasks.executor.replace(waiting)
    assert tasks.reason(waiting) == "worker_lost"
    tasks.executor.replace(busy)
    assert tasks.reason(busy) == "worker_lost"


class TestEnd:
    """Nobody waits for a process that cannot end by itself."""

    @pytest.fixture
    def pool(self) -> LocalPool:
        return LocalPool([WorkerSpec()], MEMORY)

    def pid(self, besides: int = 0) -> int:
        """Of the worker, once there is another one than before."""
        while True:
            for process in multiprocessing.active_children():
                if process.pid not in (None, besides):
                    assert process.pid is not None
                    return process.pid
            time.sleep(0.001)

    def test_does_not_wait_for_a_worker_that_is_stopped(self, pool: LocalPool) -> None:
        with pool:
            pid = self.pid()
            os.kill(pid, signal.SIGSTOP)
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert gone(pid)

    def test_does_not_wait_for_a_new_worker_that_is_stopped_while_it_starts(
        self, pool: LocalPool
    ) -> None:
        with pool:
            first = self.pid()
            os.kill(first, signal.SIGKILL)
            pid = self.pid(besides=first)
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.5)  # its nanny waits for it
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert gone(pid)

    def test_kills_a_worker_in_the_middle_of_a_task(self, pool: LocalPool) -> None:
        with Executor(pool, queue.SimpleQueue(), work=faults.misbehave) as executor:
            tasks = Tasks(executor, pool)
            pid = tasks.begun(tasks.submit(faults.HANGS))
            began = time.monotonic()
        assert time.monotonic() - began < 10
        assert gone(pid)


class TestTending:
    def test_worker_that_was_dropped_is_started_again(self, tasks: Tasks) -> None:
        cluster = tasks.pool.cluster
        (name,) = cluster.workers
        cluster.sync(cluster.workers.pop(name).close)  # as Dask does when no process comes up
        task = tasks.submit(faults.WELL)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not cluster.workers and time.monotonic() < deadline:
            tasks.pool.tend()
            time.sleep(0.02)
        assert tasks.ended(task).finished

    def test_coordinator_does_not_wait_for_ever(
        self, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for _ in range(10):  # it looks at every tenth call, and forgets what was before
            tasks.pool.tend()
        nobody: dict[str, Any] = {"workers": {}}
        monkeypatch.setattr(tasks.pool.cluster, "scheduler_info", nobody)
        for _ in range(250):  # some minutes; how many calls there were before is unknown
            tasks.pool.tend()
        with pytest.raises(WorkersGone, match="type the same command again"):
            tend_often(tasks.pool)
