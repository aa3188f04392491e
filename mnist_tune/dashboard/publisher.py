"""Updates a study's note in the dashboard while the study runs, in a thread of its own.

It writes no result and is in nobody's way: it works when trials have ended, at most a small share
of the time, and what goes wrong is said in one line and tried again after the next trial. It draws
nothing: the dashboard does, when somebody looks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mnist_tune.errors import Interrupted, StorageError
from mnist_tune.search.events import Event, TrialEnded
from mnist_tune.search.session import Session

_FIRST_SECONDS = 10.0  # what is over sooner has its note at its end alone
_LEAST_SECONDS = 2.0  # between two notes
_REST = 9  # times as long as a note took, so that at most a tenth of a core's time goes into them


class Publisher:
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
        """Begin to wait for news: nothing is imported or written while there is none."""
        self._thread.start()

    def finish(self, *, whole: bool) -> None:
        """Stop, then publish the last state in this thread.

        Args:
            whole: everything is over; else only the note is brought up to date, if there is news.
        """
        self.leave()
        if whole or self._any:
            self._publish(whole=whole)

    def leave(self) -> None:
        """Stop after the note under way."""
        self._leaving.set()
        self._news.set()
        self._thread.join()

    def notify(self, event: Event) -> None:
        """Publish soon, if there is something to show."""
        if isinstance(event, TrialEnded):
            self._any = True
            self._news.set()

    def _work(self) -> None:
        self._leaving.wait(_FIRST_SECONDS)
        while True:
            self._news.wait()
            if self._leaving.is_set():
                return
            self._news.clear()
            began = time.monotonic()
            self._publish(whole=False)
            took = time.monotonic() - began
            self._leaving.wait(max(_LEAST_SECONDS, _REST * took))

    def _publish(self, *, whole: bool) -> None:
        # Brings scipy, which takes a second where a search has just begun.
        from mnist_tune.dashboard.publication import publish

        session = self._session
        try:
            publish(session.optuna.database, session.optuna, session.row, whole=whole)
        except StorageError as error:
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
