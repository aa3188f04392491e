"""One command's worth of work on a study: lease, search, confirmation."""

from __future__ import annotations

import queue
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from mnist_tune.data.sources import Source
from mnist_tune.definitions.definition import Definition
from mnist_tune.errors import DefinitionError, Incomplete, Interrupted, ServerLost
from mnist_tune.search.coordinator import confirm_trial, search_trials
from mnist_tune.search.hang_detector import HANG_SECONDS
from mnist_tune.search.progress import Audience, Observer, Progress
from mnist_tune.search.scheduler import Scheduler
from mnist_tune.search.session import Session, open_session
from mnist_tune.search.stacks import stacks
from mnist_tune.search.stopping import StopRequests
from mnist_tune.storage.database import open_database
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
from mnist_tune.workers.executor import Executor
from mnist_tune.workers.hands import Hands

# How long a write waits for other programs: longer than elsewhere, as a study may run unattended
# while somebody copies or compacts the database; but Ctrl-C is not heard meanwhile.
_BUSY_SECONDS = 90.0
# How long a study waits for a server that has gone.
_SERVER_SECONDS = 600.0
# After that the server may still believe that this very process is at work.
_OWN_LEASE_SECONDS = 60.0


# What goes on beside a search or a confirmation, told what happens if it is an observer; its second
# argument says a line to people.
Attend = Callable[[Session, Callable[[str], None]], AbstractContextManager[Observer | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run, which changes no result of a trial.

    Attributes:
        hands: which workers there are.
        stack: trials that a worker trains at a time, as `stacks` takes it.
        confirm: whether the test set is opened when the search is finished.
        checkpoint_seconds: least time between two checkpoints of a task.
        hang_seconds: silence after which a worker is replaced.
        retry_failed: train failed trials again.
        attend: who hears what happens, besides the person at the terminal.
    """

    hands: Hands = field(default_factory=Hands)
    stack: int | None = None
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
    console: Console,
    introduce: Callable[[], None] = lambda: None,
) -> None:
    """Search until the planned trials are finished, then confirm the best of them once.

    Args:
        location: of the database.
        definition: of the study.
        source: of the images.
        options: how to run.
        console: for people.
        introduce: called once nothing keeps the study from being worked on.

    Raises:
        InputError: nothing was harmed; the message says what to mend.
        Interrupted: everything is saved.
    """
    again = False

    def work() -> None:
        nonlocal again
        retry_failed = options.retry_failed and not again
        with _opened(
            location, definition, source, retry_failed=retry_failed, again=again
        ) as session:
            if not again:
                introduce()
            again = True
            if retry_failed:
                console.print(_retried(session), highlight=False)
            _finish(session, options, console)

    _outlast(location, console, work, lambda: again)


def _finish(session: Session, options: Options, console: Console) -> None:
    """Do what is left of a study."""
    unfinished = session.unfinished_trials()
    confirming = (
        options.confirm
        and session.definition.study.protocol == "holdout"
        and not _is_confirmed(session)
    )
    if not unfinished and not confirming:
        return
    with _crew(session, options, console) as (crew, stop, audience):
        if unfinished:
            search_trials(session, crew, stop, audience)
        if confirming:
            confirm_trial(session, crew, stop, audience, session.store.best_trial(session.row))


def _outlast(
    location: Location, console: Console, work: Callable[[], None], begun: Callable[[], bool]
) -> None:
    """Work as if it had been killed and resumed, each time that the server goes and comes back.

    Raises:
        ServerLost: it was never there, or does not come back.
        Interrupted: somebody asked to stop while it was away.
    """
    while True:
        try:
            return work()
        except ServerLost as lost:
            if not begun():
                raise
            console.print(
                f"warning: {lost}; waiting for it up to {_SERVER_SECONDS / 60:g} min, everything up to "
                "here is saved",
                style="yellow",
                highlight=False,
                soft_wrap=True,
            )
            _wait_for_server(location)
            console.print(f"{location} is back", highlight=False, soft_wrap=True)


def _wait_for_server(location: Location) -> None:
    from mnist_tune.storage.server import wait_for

    with StopRequests(queue.SimpleQueue()) as stop:
        if not wait_for(location, _SERVER_SECONDS, lambda: stop.count):
            raise Interrupted


def confirm_study(
    location: Location,
    definition: Definition,
    source: Source,
    options: Options,
    console: Console,
    *,
    again: bool,
) -> None:
    """Open the test set for the best trial of a finished search.

    Raises:
        DefinitionError: selection has seen the test set, or it was opened before.
        Incomplete: the search is not finished.
    """
    if definition.study.protocol == "notebook":
        raise DefinitionError(
            f"study {definition.name} was made with --protocol notebook, whose selection has seen the test set: "
            "there is nothing left to confirm; run it without --protocol notebook"
        )
    begun = False

    def work() -> None:
        nonlocal begun
        with _opened(location, definition, source, again=begun) as session:
            if session.unfinished_trials():
                raise Incomplete(
                    f"study {definition.name} is not finished; type "
                    f"`mnist-tune resume {shlex.quote(definition.name)}`"
                )
            if _is_confirmed(session) and begun:
                return  # the server went just after that
            if _is_confirmed(session) and not again:
                raise DefinitionError(
                    f"study {definition.name} has been confirmed: the test set was opened for it; "
                    "add --again to open it once more, which the report will say"
                )
            begun = True
            trial = session.store.best_trial(session.row)
            with _crew(session, options, console) as (crew, stop, audience):
                confirm_trial(session, crew, stop, audience, trial)

    _outlast(location, console, work, lambda: begun)


def _retried(session: Session) -> str:
    numbers = ", ".join(map(str, session.retried))
    return f"failed trials begin again: {numbers}" if numbers else "no trial has failed"


def _is_confirmed(session: Session) -> bool:
    """Whether there is a confirmation, and none that was interrupted and has to go on."""
    states = {row.state for row in session.store.confirmations(session.row.uid)}
    return states == {"complete"}


@contextmanager
def _opened(
    location: Location,
    definition: Definition,
    source: Source,
    *,
    retry_failed: bool = False,
    again: bool = False,
) -> Iterator[Session]:
    with (
        open_database(location, create=True, busy_seconds=_BUSY_SECONDS) as database,
        Lease(location, definition.name, _OWN_LEASE_SECONDS if again else 0.0) as lease,
    ):
        session = open_session(database, definition, source, lease=lease, retry_failed=retry_failed)
        try:
            yield session
        finally:
            session.guard.check()  # its files may be the reason of what went wrong


@contextmanager
def _crew(
    session: Session, options: Options, console: Console
) -> Iterator[tuple[Scheduler, StopRequests, Observer]]:
    study = session.definition.study
    runs = max(
        session.unfinished_trials() * study.seeds, study.confirm_seeds if options.confirm else 1
    )
    fleet, told = options.hands.fleet(runs, one_thread=session.definition.one_thread)
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    counts = session.optuna.counts()
    best = session.store.best_trial(session.row) if counts.complete else None
    console.print(told, highlight=False)
    confirmed = study.confirm_seeds if options.confirm and study.protocol == "holdout" else 0
    with (
        StopRequests(events) as stop,
        _started(Executor(fleet, events, priority=options.hands.priority), console) as cluster,
        Progress(
            console,
            total=session.planned_trials,
            finished=counts.finished,
            best=(best.objective or 0.0, best.trial_number) if best else None,
            metric=session.definition.metric,
            confirming=confirmed / study.seeds,
        ) as progress,
        ExitStack() as attending,
    ):
        others = [
            attending.enter_context(attend(session, progress.say)) for attend in options.attend
        ]
        crew = Scheduler(
            cluster,
            events,
            options.checkpoint_seconds,
            options.hang_seconds,
            stacks(study, options.stack),
        )
        yield crew, stop, Audience(progress, *filter(None, others))


@contextmanager
def _started(cluster: Executor, console: Console) -> Iterator[Executor]:
    with ExitStack() as stack:
        with console.status("starting workers"):
            started = stack.enter_context(cluster)
        yield started
