"""`mnist-tune worker`: joins a coordinator on another machine, and the next one after it.

A nanny watches each worker process, replaces it when it dies, and gives it an environment of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import dask
from distributed import Client, Nanny
from distributed.core import Status
from distributed.system import MEMORY_LIMIT

from mnist_tune.errors import DefinitionError, Incomplete
from mnist_tune.workers import fork_server
from mnist_tune.workers.addresses import Address, versions_difference, versions_here
from mnist_tune.workers.pools import SETTINGS, VERSIONS_KEY, prepare_dask
from mnist_tune.workers.specs import WorkerSpec

_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 5.0
_GRACE_SECONDS = 10.0


@dataclass(kw_only=True)
class JoiningMachine:
    """Workers of this machine for the coordinators at an address.

    Attributes:
        wait_seconds: how long to wait for a coordinator, at first and after each one.
        memory_limit: of each worker, in bytes; None shares out what the machine has.
        name: of the first worker, to which the others add a number; None lets Dask choose.
    """

    address: Address
    specs: Sequence[WorkerSpec]
    wait_seconds: float
    memory_limit: int | None = None
    name: str | None = None
    log: Callable[[str], object]

    def work(self) -> None:
        """Work until asked to end, or until no coordinator has been there for long.

        Raises:
            Incomplete: no coordinator has come.
            DefinitionError: it has other versions of what results depend on.
        """
        fork_server.start()
        prepare_dask()
        with dask.config.set(SETTINGS):
            asyncio.run(self._stay())

    async def _stay(self) -> None:
        self._leaving = asyncio.Event()
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
                f"no coordinator has come to {self.address} in {self.wait_seconds:g} s: start one by "
                "`mnist-tune run STUDY --listen`, then type the same command again"
            )
        self.log("left" if self._leaving.is_set() else "no coordinator any more")

    async def _found(self) -> bool:
        """Wait for a coordinator; False if none comes, or this machine is to leave."""
        deadline = time.monotonic() + self.wait_seconds
        logged = False
        while not self._leaving.is_set():
            try:
                async with Client(
                    str(self.address),
                    asynchronous=True,
                    security=self.address.security(),
                    timeout=_ANSWER_SECONDS,
                    set_as_default=False,
                ) as client:
                    theirs = await client.get_metadata(VERSIONS_KEY, None)
            except (OSError, TimeoutError):
                if time.monotonic() > deadline:
                    return False
                if not logged:
                    self.log(f"waiting for a coordinator at {self.address}")
                    logged = True
                await self._pause(_LOOK_SECONDS)
            else:
                line = versions_difference(versions_here(), theirs) if theirs else None
                if line is not None:
                    raise DefinitionError(line)
                return True
        return False

    async def _serve(self) -> None:
        """Work until the coordinator is gone or this machine is to leave."""
        with fork_server.signals_kept_from_children():
            nannies = [
                await Nanny(
                    str(self.address),
                    nthreads=1,
                    name=self.name if number == 0 or self.name is None else f"{self.name}-{number}",
                    env=spec.environment,
                    memory_limit=self.memory_limit or int(MEMORY_LIMIT / len(self.specs)),
                    security=self.address.security(),
                    dashboard=False,
                    silence_logs=logging.CRITICAL,
                    death_timeout=_GRACE_SECONDS,
                )
                for number, spec in enumerate(self.specs)
            ]
        self.log(f"joined {self.address}")
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
            self.log(f"the coordinator at {self.address} is gone")

    async def _is_there(self) -> bool:
        """Whether somebody listens at the address."""
        host = self.address.host.strip("[]")
        try:
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(host, self.address.port), _ANSWER_SECONDS
            )
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._leaving.wait(), seconds)
