"""Pools of worker processes: of this machine, joining from others, or of an existing Dask cluster.

What is relied on, and checked by tests/workers/: nannies put another worker in the place of one
that went; a worker over its memory limit is killed and an event says so; workers of this machine end
with the coordinator, even when that is killed.
"""

from __future__ import annotations

import contextlib
import logging
import math
import multiprocessing
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

import dask
import distributed.utils
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.system import MEMORY_LIMIT

from mnist_tune.errors import WorkersGone
from mnist_tune.workers import fork_server
from mnist_tune.workers.addresses import Address, versions_difference, versions_here
from mnist_tune.workers.specs import (
    WorkerOptions,
    WorkerSpec,
    describe_workers,
    this_machine,
    visible_gpus,
    worker_specs,
)

VERSIONS_KEY = "mnist-tune-versions"  # of the scheduler's metadata

_START_SECONDS = 60
_END_SECONDS = 5
_ANSWER_SECONDS = 15  # of a scheduler that should be there
_STARTS = 3  # a process may be killed while it starts
_LOOK_SECONDS = 1.0  # between two looks at workers that come and go
_LOOK_EVERY = 10  # calls of `tend`, a second apart or so
_MOST_EMPTY_LOOKS = 30  # at workers of this machine, some five minutes
SETTINGS = {
    # Its task is lost with its worker; by default Dask would restart it three times in silence.
    "distributed.scheduler.allowed-failures": 0,
    # Dask's own alarm goes by the clock on the wall: a machine that slept would lose all workers.
    "distributed.scheduler.worker-ttl": None,
    # A busy machine takes its time to start a process.
    "distributed.deploy.lost-worker-timeout": "60s",
    # These save results, of which there are none, and would leave a large worker without tasks.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.multiprocessing-method": fork_server.METHOD,
    **{
        f"distributed.nanny.pre-spawn-environ.{name}": value
        for name, value in fork_server.ENVIRONMENT.items()
    },
}


class WorkerPool(ABC):
    """Workers that an executor uses; a context manager that gives a Dask client.

    Attributes:
        workers: how many tasks may be under way at a time; may change with `tend`.
        gpus: whether all workers have one; may change with `tend`.
        remote: whether some workers may be on other machines.
    """

    workers = 0
    gpus = False
    remote = True

    @abstractmethod
    def tend(self) -> Sequence[str]:
        """Look after the workers; called every second or so.

        Returns:
            Lines for the log.

        Raises:
            WorkersGone: there are none any more, and there will be none.
        """

    @abstractmethod
    def _connect(self, stack: contextlib.ExitStack) -> Client:
        """Start or find the workers; what is entered into the stack ends or leaves them."""

    def __enter__(self) -> Client:
        with contextlib.ExitStack() as stack:
            prepare_dask()
            stack.enter_context(dask.config.set(SETTINGS))
            client = self._connect(stack)
            self._stack = stack.pop_all()
        return client

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class LocalPool(WorkerPool):
    """Workers of this machine, on loopback, those included that are being replaced.

    Args:
        specs: one for each.
        memory_limit: of each, in bytes; None shares out what the machine has.
    """

    remote = False

    def __init__(self, specs: Sequence[WorkerSpec], memory_limit: int | None = None) -> None:
        self.workers = len(specs)
        self.gpus = all(spec.gpu is not None for spec in specs)
        self._specs = specs
        self._memory_limit = memory_limit
        self._calls = self._empty_looks = 0

    def tend(self) -> Sequence[str]:
        """Bring back workers that went for good."""
        self._calls += 1
        if self._calls % _LOOK_EVERY:
            return ()
        there = bool(self.cluster.scheduler_info["workers"])
        self._empty_looks = 0 if there else self._empty_looks + 1
        if self._empty_looks > _MOST_EMPTY_LOOKS:
            raise WorkersGone(
                "no worker process can be started any more: see what `mnist-tune doctor` says and "
                "whether memory and processes are left, then type the same command again; "
                "everything is saved"
            )
        self.cluster.bring_back()
        return ()

    def _connect(self, stack: contextlib.ExitStack) -> Client:
        address = Address("tcp", "127.0.0.1", 0)
        self.cluster = _start_cluster(self._specs, address, self._memory_limit)
        stack.callback(self.cluster.end)
        client: Client = stack.enter_context(Client(self.cluster, timeout=_START_SECONDS))
        return client


class _RemotePool(WorkerPool):
    """Workers that come and go."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._known: frozenset[str] = frozenset()
        self._with_gpu: frozenset[str] = frozenset()
        self._looked = -math.inf
        self._waiting = False

    def tend(self) -> Sequence[str]:
        """See who is there."""
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return ()
        self._looked = time.monotonic()
        try:
            there = frozenset(self._client.nthreads())
            if new := sorted(there - self._known):
                self._greet(new)
            running = self._client.status == "running"
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            raise self._gone() from error
        if not running:
            raise self._gone()
        lines = [f"worker {worker} has joined" for worker in sorted(there - self._known)]
        lines += [f"worker {worker} has left" for worker in sorted(self._known - there)]
        if not there and not self._waiting:
            lines.append(f"waiting for workers: `mnist-tune worker {self._address}`")
        self._known, self._waiting = there, not there
        self.workers, self.gpus = len(there), bool(there) and there <= self._with_gpu
        return lines

    def _joined(self, client: Client) -> Client:
        """Keep the client, and tell workers by the scheduler which versions are ours."""
        self._client = client
        client.set_metadata(VERSIONS_KEY, versions_here())
        return client

    def _greet(self, workers: list[str]) -> None:
        """Make sure that new workers have our versions, and see which have a GPU.

        Raises:
            WorkersGone: one has other versions.
        """
        ours = versions_here()
        found = self._client.run(versions_here, workers=workers, on_error="return")
        for worker, theirs in found.items():
            if not isinstance(theirs, dict):
                raise WorkersGone(
                    f"worker {worker} cannot run mnist_tune ({' '.join(str(theirs).split())}): install it there"
                )
            if line := versions_difference(theirs, ours):
                raise WorkersGone(line)
        gpus = self._client.run(visible_gpus, workers=workers, on_error="ignore")
        self._with_gpu |= {worker for worker, names in gpus.items() if names}

    def _gone(self) -> WorkersGone:
        return WorkersGone(
            f"the scheduler at {self._address} is gone: start it, then type the same command again; "
            "everything is saved"
        )


class ListeningPool(_RemotePool):
    """A scheduler of ours that workers of other machines join, and perhaps some of this one."""

    def __init__(self, address: Address, specs: Sequence[WorkerSpec] = ()) -> None:
        super().__init__(address)
        self._specs = specs

    def tend(self) -> Sequence[str]:
        """See who is there, and bring back workers of this machine."""
        if self._specs:
            self.cluster.bring_back()
        return super().tend()

    def _connect(self, stack: contextlib.ExitStack) -> Client:
        self.cluster = _start_cluster(self._specs, self._address, None)
        stack.callback(self.cluster.end)
        client = Client(self.cluster, timeout=_START_SECONDS, security=self._address.security())
        return self._joined(stack.enter_context(client))


class ExternalPool(_RemotePool):
    """The workers of an existing Dask cluster; it stays as it is."""

    def _connect(self, stack: contextlib.ExitStack) -> Client:
        try:
            client = Client(
                str(self._address),
                timeout=_ANSWER_SECONDS,
                security=self._address.security(),
                set_as_default=False,
            )
        except (OSError, TimeoutError) as error:
            raise WorkersGone(
                f"no scheduler answers at {self._address}: start it (`dask scheduler`), or correct --cluster"
            ) from error
        return self._joined(stack.enter_context(client))


def worker_pool(options: WorkerOptions, tasks: int) -> tuple[WorkerPool, str]:
    """The workers that were asked for, not started yet, and a line that says which they are.

    Raises:
        DefinitionError: what was asked for is not here.
    """
    listen = options.listen
    if options.cluster is not None:
        return ExternalPool(
            options.cluster
        ), f"using the workers of the cluster at {options.cluster}"
    if listen is not None and not options.about_this_machine:
        return ListeningPool(listen), f"using workers that join {listen}"
    specs = worker_specs(options, this_machine(), tasks)
    line = f"starting {describe_workers(specs)}"
    if listen is not None:
        return ListeningPool(listen, specs), f"{line}, and using those that join {listen}"
    return LocalPool(specs), line


class _LocalCluster(SpecCluster):
    """A scheduler in this process, and workers of which each has an environment of its own."""

    def __init__(
        self, specs: Sequence[WorkerSpec], address: Address, memory_limit: int | None
    ) -> None:
        host, security = address.host.strip("[]"), address.security()
        common = {
            "protocol": f"{address.protocol}://",
            "security": security,
            "host": host,
            "dashboard": False,
        }
        options = {
            **common,
            "nthreads": 1,
            "memory_limit": memory_limit or int(MEMORY_LIMIT / max(1, len(specs))),
            "silence_logs": logging.CRITICAL,
        }
        # Any free port of Dask's status pages, since a fixed one that is taken makes it warn.
        scheduler = {**common, "port": address.port, "dashboard_address": "127.0.0.1:0"}
        self._wanted = {
            number: {"cls": Nanny, "options": {**options, "env": spec.environment}}
            for number, spec in enumerate(specs)
        }
        super().__init__(  # type: ignore[no-untyped-call]
            workers=dict(self._wanted),
            scheduler={"cls": Scheduler, "options": scheduler},
            security=security,
            silence_logs=logging.CRITICAL,
        )

    def bring_back(self) -> None:
        """Start workers in place of those that Dask has dropped, since they would not start."""
        missing = {n: spec for n, spec in self._wanted.items() if n not in self.workers}
        if missing:
            self.worker_spec.update(missing)
            assert self.loop is not None
            self.loop.add_callback(self._correct_state)

    def end(self) -> None:
        """Kill the worker processes, which have saved what they had to save, and the scheduler.

        Dask would ask them to end and wait, for ever where one is stopped or still starting.
        """
        for nanny in self.workers.values():
            nanny.auto_restart = False
        for process in multiprocessing.active_children():
            process.kill()
        try:
            self.close(timeout=_END_SECONDS)
        except TimeoutError:
            self.shutdown_on_close = False  # Dask would try again when Python ends


def _start_cluster(
    specs: Sequence[WorkerSpec], address: Address, memory_limit: int | None
) -> _LocalCluster:
    """Start a scheduler and workers.

    Raises:
        WorkersGone: they cannot be started.
    """
    if specs:
        fork_server.start()
    with fork_server.signals_kept_from_children():
        for attempts_left in reversed(range(_STARTS)):
            try:
                return _LocalCluster(specs, address, memory_limit)
            except RuntimeError as error:
                if attempts_left and "address" not in str(error).lower():
                    continue
                raise WorkersGone(
                    f"nothing can be started at {address} ({_innermost(error)}): give another address, or see "
                    "whether memory and processes are left, then type the same command again; "
                    "everything is saved"
                ) from error
    raise AssertionError("the last attempt has returned or raised")


def _innermost(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())


def prepare_dask() -> None:
    """Keep Dask from logging, and from importing pandas for a fork server of its own.

    What people can act on is logged as a line of ours, or raised.
    """
    for name in list(logging.root.manager.loggerDict):  # some have levels of their own
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
    distributed.utils._forkserver_preload_set = True  # noqa: SLF001  # Dask has no setting for it
