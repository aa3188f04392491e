"""Keeps a study's pages in the dashboard up to date while the study runs, in a thread of its own.

It writes no result and is in nobody's way: it works when trials have ended, at most a small share
of the time, and what goes wrong is said in one line and tried again after the next trial.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mnist_tune.errors import Interrupted, StorageError
from mnist_tune.search.events import JobEnded
from mnist_tune.search.progress import Observer
from mnist_tune.search.session import Session
from mnist_tune.trainer.states import EpochMetrics
from mnist_tune.workers.tasks import Job

_LEAST_SECONDS = 2.0  # between two rounds
_REST = 9  # times as long as a round took, so that at most a tenth of a core's time goes into it


class Publisher(Observer):
    """An observer of a search that publishes what has ended.

    Args:
        session: of the study.
        say: tells people a line.
    """

    def __init__(self, session: Session, say: Callable[[str], None]) -> None:
        self._session = session
        self._say = say
        self._news = threading.Event()
        self._leaving = threading.Event()
        self._said: set[str] = set()
        self._any = False
        self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin to wait for news: nothing is imported or drawn while there is none."""
        self._thread.start()

    def finish(self, *, whole: bool) -> None:
        """Stop after the picture under way, then publish the last state in this thread.

        Args:
            whole: draw everything; else only the note is brought up to date, if there is news.
        """
        self.leave()
        if whole or self._any:
            self._publish(whole=whole, going_on=lambda: whole)

    def leave(self) -> None:
        """Stop after the picture under way."""
        self._leaving.set()
        self._news.set()
        self._thread.join()

    def began(self, job: Job, params: Mapping[str, Any]) -> None:
        """Nothing to show yet."""

    def epoch(self, job: Job, epoch: int, metrics: Mapping[int, EpochMetrics]) -> None:
        """Optuna's own rows show it."""

    def ended(self, ended: JobEnded, state: str) -> None:  # noqa: ARG002  as observers are told
        """There is something to show."""
        self._any = True
        self._news.set()

    def say(self, line: str) -> None:
        """Not for the dashboard."""

    def _work(self) -> None:
        while True:
            self._news.wait()
            if self._leaving.is_set():
                return
            self._news.clear()
            began = time.monotonic()
            self._publish(whole=False, going_on=lambda: not self._leaving.is_set())
            took = time.monotonic() - began
            self._leaving.wait(max(_LEAST_SECONDS, _REST * took))

    def _publish(self, *, whole: bool, going_on: Callable[[], bool]) -> None:
        # Brings pandas and matplotlib, which take seconds where a search has just begun.
        from mnist_tune.publishing.publication import publish

        session = self._session
        try:
            publish(
                session.optuna.database,
                session.optuna,
                session.row,
                whole=whole,
                going_on=going_on,
            )
        except (StorageError, OSError) as error:
            line = f"warning: the dashboard's pages are not up to date: {error}"
            if line not in self._said:
                self._said.add(line)
                self._say(line)


@contextmanager
def publishing(session: Session, say: Callable[[str], None]) -> Iterator[Publisher]:
    """Publish while a study is worked on, and its last state afterwards."""
    publisher = Publisher(session, say)
    publisher.start()
    try:
        yield publisher
    except Interrupted:
        publisher.finish(whole=False)
        raise
    except BaseException:
        publisher.leave()
        raise
    publisher.finish(whole=True)
