"""Where worker processes come from: this machine, others that join, or a cluster that is there.

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
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol

import dask
import distributed.utils
from distributed import Client, Nanny, Scheduler, SpecCluster
from distributed.system import MEMORY_LIMIT

from mnist_tune.errors import WorkersGone
from mnist_tune.workers import fork_server
from mnist_tune.workers.machine import visible_gpus
from mnist_tune.workers.network import Address
from mnist_tune.workers.specs import WorkerSpec
from mnist_tune.workers.versions import difference, versions_here

VERSIONS_KEY = "mnist-tune-versions"  # of the scheduler's metadata

_START_SECONDS = 60
_END_SECONDS = 5
_ANSWER_SECONDS = 15  # of a scheduler that should be there
_STARTS = 3  # a process may be killed while it starts
_LOOK_SECONDS = 1.0  # between two looks at workers that come and go
_LOOK_EVERY = 10  # calls of `tend`, a second apart or so
_WITHOUT_WORKERS = (
    30  # looks at an empty fleet of this machine before it is given up: some five minutes
)
SETTINGS = {
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
    "distributed.worker.multiprocessing-method": fork_server.METHOD,
    **{
        f"distributed.nanny.pre-spawn-environ.{name}": value
        for name, value in fork_server.ENVIRONMENT.items()
    },
}


class WorkerPool(Protocol):
    """Workers that a cluster uses; a context manager that gives a Dask client.

    Attributes:
        workers: how many tasks may be under way at a time; may change with `tend`.
        gpus: whether all of them have a GPU; may change with `tend`.
        elsewhere: whether some may be on other machines.
    """

    elsewhere: bool

    @property
    def gpus(self) -> bool:
        """Whether all of them have a GPU."""

    @property
    def workers(self) -> int:
        """How many tasks may be under way at a time."""

    def __enter__(self) -> Client:
        """Start or join them."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End or leave them."""

    def tend(self) -> Sequence[str]:
        """Look after the workers; called every second or so.

        Returns:
            Lines for people.

        Raises:
            WorkersGone: there are none any more, and there will be none.
        """


class _Spec(SpecCluster):
    """A scheduler in this process, and workers of which each has an environment of its own."""

    def __init__(
        self, seats: Sequence[WorkerSpec], options: dict[str, Any], scheduler: dict[str, Any]
    ):
        self._seats = {
            number: {"cls": Nanny, "options": {**options, "env": seat.environment}}
            for number, seat in enumerate(seats)
        }
        super().__init__(  # type: ignore[no-untyped-call]
            workers=dict(self._seats),
            scheduler={"cls": Scheduler, "options": scheduler},
            security=options["security"],
            silence_logs=logging.CRITICAL,
        )

    def bring_back(self) -> None:
        """Start workers in the seats of those that Dask has dropped, since they would not start."""
        missing = {n: spec for n, spec in self._seats.items() if n not in self.workers}
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


class LocalPool:
    """Workers of this machine, on loopback.

    Args:
        seats: one for each.
        memory_limit: of each, in bytes; None shares out what the machine has.
    """

    elsewhere = False

    def __init__(self, seats: Sequence[WorkerSpec], memory_limit: int | None = None) -> None:
        self._seats = seats
        self._memory_limit = memory_limit
        self._calls = self._empty = 0

    @property
    def workers(self) -> int:
        """As many as there are seats, those included whose worker is being replaced."""
        return len(self._seats)

    @property
    def gpus(self) -> bool:
        """Whether each seat has one."""
        return all(seat.gpu is not None for seat in self._seats)

    def __enter__(self) -> Client:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_settings())
            self.spec = _started(self._seats, Address("tcp", "127.0.0.1", 0), self._memory_limit)
            stack.callback(self.spec.end)
            client: Client = stack.enter_context(Client(self.spec, timeout=_START_SECONDS))
            self._stack = stack.pop_all()
        return client

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def tend(self) -> Sequence[str]:
        """Bring back workers that went for good.

        Raises:
            WorkersGone: none can be started.
        """
        self._calls += 1
        if self._calls % _LOOK_EVERY:
            return ()
        self._empty = 0 if self.spec.scheduler_info["workers"] else self._empty + 1
        if self._empty > _WITHOUT_WORKERS:
            raise WorkersGone(
                "no worker process can be started any more: see what `mnist-tune doctor` says and "
                "whether memory and processes are left, then type the same command again; "
                "everything is saved"
            )
        self.spec.bring_back()
        return ()


class _Changing:
    """Workers that come and go."""

    elsewhere = True

    _client: Client

    def __init__(self, address: Address) -> None:
        self._address = address
        self._known: frozenset[str] = frozenset()
        self._with_gpu: frozenset[str] = frozenset()
        self._looked = -math.inf
        self._waiting = False

    @property
    def workers(self) -> int:
        """As many as are there just now."""
        return len(self._known)

    @property
    def gpus(self) -> bool:
        """Whether there are some, and each has one."""
        return bool(self._known) and self._known <= self._with_gpu

    def _look(self, client: Client) -> list[str]:
        """See who is there.

        Raises:
            WorkersGone: the scheduler is.
        """
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return []
        self._looked = time.monotonic()
        try:
            there = frozenset(client.nthreads())
            if new := sorted(there - self._known):
                _refuse_others(client, new)
                self._with_gpu |= _with_gpu(client, new)
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            raise self._gone() from error
        if client.status != "running":
            raise self._gone()
        lines = [f"worker {worker} has joined" for worker in sorted(there - self._known)]
        lines += [f"worker {worker} has left" for worker in sorted(self._known - there)]
        self._known = there
        if not there and not self._waiting:
            lines.append(f"waiting for workers: `mnist-tune worker {self._address}`")
        self._waiting = not there
        return lines

    def _gone(self) -> WorkersGone:
        return WorkersGone(
            f"the scheduler at {self._address} is gone: start it, then type the same command again; "
            "everything is saved"
        )


class ListeningPool(_Changing):
    """A scheduler of ours that workers of other machines join, and perhaps some of this one.

    Args:
        address: where it listens.
        seats: of this machine.
    """

    def __init__(self, address: Address, seats: Sequence[WorkerSpec] = ()) -> None:
        super().__init__(address)
        self._seats = seats

    def __enter__(self) -> Client:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_settings())
            self.spec = _started(self._seats, self._address, None)
            stack.callback(self.spec.end)
            self._client = stack.enter_context(
                Client(self.spec, timeout=_START_SECONDS, security=self._address.security())
            )
            self._client.set_metadata(VERSIONS_KEY, versions_here())
            self._stack = stack.pop_all()
        return self._client

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def tend(self) -> Sequence[str]:
        """See who is there, and bring back workers of this machine."""
        if self._seats:
            self.spec.bring_back()
        return self._look(self._client)


class ExternalPool(_Changing):
    """The workers of a Dask cluster that is there; it stays as it is.

    Args:
        address: of its scheduler.
    """

    def __enter__(self) -> Client:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_settings())
            try:
                self._client = stack.enter_context(
                    Client(
                        str(self._address),
                        timeout=_ANSWER_SECONDS,
                        security=self._address.security(),
                        set_as_default=False,
                    )
                )
            except (OSError, TimeoutError) as error:
                raise WorkersGone(
                    f"no scheduler answers at {self._address}: start it (`dask scheduler`), or correct --cluster"
                ) from error
            self._client.set_metadata(VERSIONS_KEY, versions_here())
            self._stack = stack.pop_all()
        return self._client

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def tend(self) -> Sequence[str]:
        """See who is there."""
        return self._look(self._client)


def _refuse_others(client: Client, workers: list[str]) -> None:
    """Make sure that new workers have our versions.

    Raises:
        WorkersGone: one has not.
    """
    ours = versions_here()
    found = client.run(versions_here, workers=workers, on_error="return")
    for worker, theirs in found.items():
        if not isinstance(theirs, dict):
            raise WorkersGone(
                f"worker {worker} cannot run mnist_tune ({' '.join(str(theirs).split())}): install it there"
            )
        line = difference(theirs, ours)
        if line is not None:
            raise WorkersGone(line)


def _with_gpu(client: Client, workers: list[str]) -> frozenset[str]:
    """Which of these workers have a GPU; one that leaves meanwhile has none."""
    found = client.run(visible_gpus, workers=workers, on_error="ignore")
    return frozenset(worker for worker, gpus in found.items() if gpus)


def _started(seats: Sequence[WorkerSpec], address: Address, memory_limit: int | None) -> _Spec:
    """Start a scheduler and workers.

    Raises:
        WorkersGone: they cannot be started.
    """
    security = address.security()
    options = {
        "nthreads": 1,
        "host": address.host.strip("[]") if seats else None,
        "protocol": f"{address.protocol}://",
        "security": security,
        "memory_limit": memory_limit or int(MEMORY_LIMIT / max(1, len(seats))),
        "dashboard": False,
        "silence_logs": logging.CRITICAL,
    }
    scheduler = {
        "host": address.host.strip("[]"),
        "port": address.port,
        "protocol": f"{address.protocol}://",
        "security": security,
        "dashboard": False,
        # Any free one of Dask's status pages, since a fixed one that is taken makes it warn.
        "dashboard_address": "127.0.0.1:0",
    }
    if seats:
        fork_server.start()
    with fork_server.signals_kept_from_children():
        for attempts_left in reversed(range(_STARTS)):
            try:
                return _Spec(seats, options, scheduler)
            except RuntimeError as error:
                if attempts_left and "address" not in str(error).lower():
                    continue
                raise WorkersGone(
                    f"nothing can be started at {address} ({_line(error)}): give another address, or see "
                    "whether memory and processes are left, then type the same command again; "
                    "everything is saved"
                ) from error
    raise AssertionError("the last attempt has returned or raised")


def _line(error: BaseException) -> str:
    """The innermost reason."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())


def prepare_dask() -> None:
    """Keep Dask from logging, and from importing pandas for a fork server of its own.

    What people can act on is told as a line, or raised.
    """
    for name in list(logging.root.manager.loggerDict):  # some have levels of their own
        if name.partition(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)
    distributed.utils._forkserver_preload_set = True  # noqa: SLF001  # Dask has no setting for it


@contextlib.contextmanager
def _settings() -> Iterator[None]:
    prepare_dask()
    with dask.config.set(SETTINGS):
        yield
