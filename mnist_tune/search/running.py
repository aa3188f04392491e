"""Runs one command's worth of work on a study: lease, workers, search, confirmation."""

from __future__ import annotations

import queue
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from mnist_tune.data.sources import Source
from mnist_tune.definitions.definition import Definition
from mnist_tune.errors import DefinitionError, Incomplete, Interrupted, ServerLost
from mnist_tune.search.coordinator import (
    ConfirmationCoordinator,
    SearchCoordinator,
    StopRequests,
)
from mnist_tune.search.events import Observer
from mnist_tune.search.scheduler import HANG_SECONDS, Scheduler
from mnist_tune.search.session import Session, open_session
from mnist_tune.storage.database import open_database, wait_for_server
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import ConfirmationRow
from mnist_tune.workers.executor import Executor
from mnist_tune.workers.pools import worker_pool
from mnist_tune.workers.specs import WorkerOptions

# How long a write waits for other programs: longer than elsewhere, as a study may run unattended
# while somebody copies or compacts the database; but Ctrl-C is not heard meanwhile.
_BUSY_SECONDS = 90.0
_SERVER_SECONDS = 600.0  # how long a study waits for a server that has gone
_OWN_LEASE_SECONDS = 60.0  # for which the server may then believe that this very process is at work

# What runs beside a search or a confirmation, notified of its events if it is an observer; its
# second argument logs a line.
Attend = Callable[[Session, Callable[[str], None]], AbstractContextManager[Observer | None]]


class Display(Protocol):
    """Shows people how a study gets on."""

    def log(self, line: str) -> None:
        """Write a lasting line."""

    def starting(self) -> AbstractContextManager[object]:
        """Show meanwhile that workers are being started."""

    def progress(self, session: Session, *, confirm: bool) -> AbstractContextManager[Observer]:
        """Show a search and, if it is to follow, its confirmation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run, which changes no result of a trial.

    Attributes:
        workers: which workers there are.
        confirm: whether the test set is opened when the search is finished.
        checkpoint_seconds: least time between two checkpoints of a task.
        hang_seconds: silence after which a worker is replaced.
        retry_failed: train failed trials again.
        attend: who hears what happens, besides the person at the terminal.
    """

    workers: WorkerOptions = field(default_factory=WorkerOptions)
    confirm: bool = True
    checkpoint_seconds: float = 10.0
    hang_seconds: float = HANG_SECONDS
    retry_failed: bool = False
    attend: Sequence[Attend] = ()


def run_study(
    location: Location,
    definition: Definition,
    source: Source,
    options: Options,
    display: Display,
    introduce: Callable[[], None] = lambda: None,
) -> None:
    """Search until the planned trials are finished, then confirm the best of them once.

    `introduce` is called once nothing keeps the study from being worked on.

    Raises:
        InputError: nothing was harmed; the message says what to mend.
        Interrupted: everything is saved.
    """

    def work(*, again: bool) -> None:
        retry = options.retry_failed and not again
        with _opened(location, definition, source, again=again, retry_failed=retry) as session:
            if options.confirm:
                _check_seeds(session, again=False)
            if not again:
                introduce()
            if retry:
                numbers = ", ".join(map(str, session.retried))
                retried = f"failed trials restart: {numbers}" if numbers else "no trial has failed"
                display.log(retried)
            confirming = (
                options.confirm and definition.study.protocol == "holdout" and not session.confirmed
            )
            _work(session, options, display, confirming=confirming)

    _outlast_server(location, display, work)


def confirm_study(
    location: Location,
    definition: Definition,
    source: Source,
    options: Options,
    display: Display,
    *,
    again: bool,
) -> None:
    """Open the test set for the best trial of a finished search.

    Raises:
        DefinitionError: selection has seen the test set, or it was opened before.
        Incomplete: the search is not finished.
    """
    name = definition.name
    if definition.study.protocol == "notebook":
        raise DefinitionError(
            f"study {name} was made with --protocol notebook, whose selection has seen the test set: "
            "there is nothing left to confirm; run it without --protocol notebook"
        )
    repeat = again

    def work(*, again: bool) -> None:
        with _opened(location, definition, source, again=again) as session:
            if session.unfinished_trials():
                raise Incomplete(
                    f"study {name} is not finished; type `mnist-tune resume {shlex.quote(name)}`"
                )
            if session.confirmed and again:
                return  # the server went just after that
            if session.confirmed and not repeat:
                raise DefinitionError(
                    f"study {name} has been confirmed: the test set was opened for it; "
                    "add --again to open it once more, which the report will say"
                )
            _check_seeds(session, again=repeat)
            _work(session, options, display, confirming=True)

    _outlast_server(location, display, work)


def _check_seeds(session: Session, *, again: bool) -> None:
    """Refuse --confirm-seeds where a confirmation has other seeds, and none is begun."""
    name, wanted = session.row.name, session.definition.overrides.confirm_seeds
    rows = session.store.rows(ConfirmationRow, study_uid=session.row.uid)
    if wanted is None or not rows or any(len(row.seeds) == wanted for row in rows):
        return
    seeds = len(rows[-1].seeds)
    if rows[-1].state == "running":
        raise DefinitionError(
            f"the confirmation of {name} was begun with {seeds} seeds, not {wanted}, and is resumed with "
            "them: leave out --confirm-seeds"
        )
    if not again:
        raise DefinitionError(
            f"study {name} has been confirmed with {seeds} seeds, not {wanted}: leave out --confirm-seeds, "
            f"or type `mnist-tune confirm {shlex.quote(name)} --again --confirm-seeds {wanted}`"
        )


def _work(session: Session, options: Options, display: Display, *, confirming: bool) -> None:
    """Search for what is unfinished, then confirm."""
    unfinished = session.unfinished_trials()
    if not unfinished and not confirming:
        return
    with _working(session, options, display) as working:
        if unfinished:
            SearchCoordinator(session, *working).run()
        if confirming:
            ConfirmationCoordinator(session, *working).run()


def _outlast_server(location: Location, display: Display, work: Callable[..., None]) -> None:
    """Work as if it had been killed and resumed, each time that the server goes and comes back.

    Raises:
        ServerLost: it was never there, or does not come back.
        Interrupted: somebody asked to stop while it was away.
    """
    again = False
    while True:
        try:
            return work(again=again)
        except ServerLost as lost:
            if not again and not isinstance(lost, _LostMeanwhile):
                raise
            again = True
            display.log(
                f"warning: {lost}; waiting for it up to {_SERVER_SECONDS / 60:g} min, everything up to "
                "here is saved"
            )
            _wait_for_server(location)
            display.log(f"{location} is back")


def _wait_for_server(location: Location) -> None:
    with StopRequests(queue.SimpleQueue()) as stop:
        if not wait_for_server(location, _SERVER_SECONDS, lambda: stop.count):
            raise Interrupted


class _LostMeanwhile(ServerLost):
    """The server has gone after the study was opened."""


@contextmanager
def _opened(
    location: Location,
    definition: Definition,
    source: Source,
    *,
    again: bool,
    retry_failed: bool = False,
) -> Iterator[Session]:
    with (
        open_database(location, create=True, busy_seconds=_BUSY_SECONDS) as database,
        Lease(location, definition.name, _OWN_LEASE_SECONDS if again else 0.0) as lease,
    ):
        session = open_session(database, definition, source, lease=lease, retry_failed=retry_failed)
        try:
            yield session
        except ServerLost as lost:
            raise _LostMeanwhile(str(lost)) from lost
        finally:
            session.guard.check()  # its files may be the reason of what went wrong


@contextmanager
def _working(
    session: Session, options: Options, display: Display
) -> Iterator[tuple[Scheduler, StopRequests, Sequence[Observer]]]:
    """Start workers, and show and tell observers what happens."""
    study = session.definition.study
    runs = study.seeds if study.pruner == "none" else 1  # as many tasks as a trial is
    tasks = max(session.unfinished_trials() * runs, study.confirm_seeds if options.confirm else 1)
    pool, line = worker_pool(options.workers, tasks)
    display.log(line)
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequests(events))
        with display.starting():
            executor = stack.enter_context(
                Executor(pool, events, priority=options.workers.priority)
            )
        shown = [display.progress(session, confirm=options.confirm)]
        others = [attend(session, display.log) for attend in options.attend]
        observers = [stack.enter_context(each) for each in [*shown, *others]]
        scheduler = Scheduler(executor, study, options.checkpoint_seconds, options.hang_seconds)
        yield scheduler, stop, [*filter(None, observers)]
