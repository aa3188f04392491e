"""A machine that joins a coordinator: its workers, which outlive that one and serve the next.

A nanny watches each worker process, replaces it when it dies, and gives it an environment of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Sequence

import dask
from distributed import Client, Nanny
from distributed.core import Status
from distributed.system import MEMORY_LIMIT

from mnist_tune.errors import DefinitionError, Incomplete
from mnist_tune.workers import fork_server
from mnist_tune.workers.network import Address
from mnist_tune.workers.pools import SETTINGS, VERSIONS_KEY, prepare_dask
from mnist_tune.workers.specs import WorkerSpec
from mnist_tune.workers.versions import difference, versions_here

_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 5.0
_GRACE_SECONDS = 10.0

Say = Callable[[str], object]


def join(
    address: Address,
    seats: Sequence[WorkerSpec],
    *,
    wait_seconds: float,
    memory_limit: int | None = None,
    name: str | None = None,
    say: Say,
) -> None:
    """Work for coordinators at an address until told to end, or until none has been there for long.

    Args:
        address: of the scheduler.
        seats: one for each worker.
        wait_seconds: how long to wait for a coordinator, at first and after each one.
        memory_limit: of each worker, in bytes; None shares out what the machine has.
        name: of the first worker, to which the others add a number; None lets Dask choose.
        say: tells people a line.

    Raises:
        Incomplete: no coordinator has come.
        DefinitionError: it has other versions of what results depend on.
    """
    fork_server.start()
    prepare_dask()
    with dask.config.set(SETTINGS):
        asyncio.run(_Guest(address, seats, wait_seconds, memory_limit, name, say).stay())


class _Guest:
    def __init__(
        self,
        address: Address,
        seats: Sequence[WorkerSpec],
        wait_seconds: float,
        memory_limit: int | None,
        name: str | None,
        say: Say,
    ) -> None:
        self._address = address
        self._seats = seats
        self._wait_seconds = wait_seconds
        self._memory_limit = memory_limit or int(MEMORY_LIMIT / len(seats))
        self._name = name
        self._say = say
        self._leaving = asyncio.Event()

    async def stay(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._leaving.set)
        served = 0
        while not self._leaving.is_set():
            if not await self._found():
                break
            await self._serve()
            served += 1
        if not self._leaving.is_set() and not served:
            raise Incomplete(
                f"no coordinator has come to {self._address} in {self._wait_seconds:g} s: start one by "
                "`mnist-tune run STUDY --listen`, then type the same command again"
            )
        self._say("left" if self._leaving.is_set() else "no coordinator any more")

    async def _found(self) -> bool:
        """Wait for a coordinator; False if none comes, or this machine is to leave."""
        deadline = time.monotonic() + self._wait_seconds
        told = False
        while not self._leaving.is_set():
            try:
                async with Client(
                    str(self._address),
                    asynchronous=True,
                    security=self._address.security(),
                    timeout=_ANSWER_SECONDS,
                    set_as_default=False,
                ) as client:
                    theirs = await client.get_metadata(VERSIONS_KEY, None)
            except (OSError, TimeoutError):
                if time.monotonic() > deadline:
                    return False
                if not told:
                    self._say(f"waiting for a coordinator at {self._address}")
                    told = True
                await self._pause(_LOOK_SECONDS)
            else:
                line = difference(versions_here(), theirs) if theirs else None
                if line is not None:
                    raise DefinitionError(line)
                return True
        return False

    async def _serve(self) -> None:
        """Work until the coordinator is gone or this machine is to leave."""
        with fork_server.signals_kept_from_children():
            nannies = [
                await Nanny(
                    str(self._address),
                    nthreads=1,
                    name=self._name
                    if number == 0 or self._name is None
                    else f"{self._name}-{number}",
                    env=seat.environment,
                    memory_limit=self._memory_limit,
                    security=self._address.security(),
                    dashboard=False,
                    silence_logs=logging.CRITICAL,
                    death_timeout=_GRACE_SECONDS,
                )
                for number, seat in enumerate(self._seats)
            ]
        self._say(f"joined {self._address}")
        try:
            while not self._leaving.is_set() and await self._is_there():
                if all(nanny.status == Status.closed for nanny in nannies):
                    break
                await self._pause(_LOOK_SECONDS)
        finally:
            await asyncio.gather(
                *(nanny.close(timeout=_GRACE_SECONDS) for nanny in nannies), return_exceptions=True
            )
        if not self._leaving.is_set():
            self._say(f"the coordinator at {self._address} is gone")

    async def _is_there(self) -> bool:
        """Whether somebody listens at the address."""
        host = self._address.host.strip("[]")
        try:
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(host, self._address.port), _ANSWER_SECONDS
            )
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._leaving.wait(), seconds)
