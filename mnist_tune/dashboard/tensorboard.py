"""Learning curves as event files for TensorBoard: a folder for each run, a value for each epoch.

A trial that resumes after an interruption reports all its epochs again, so that its folders are
rewritten and no epoch stands there twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mnist_tune.errors import InputError
from mnist_tune.search.events import EpochDone, Event, TrialEnded, TrialStarted
from mnist_tune.search.session import Session

_GROUPS = {"train": "training", "val": "validation", "test": "test"}


class EventFiles:
    """An observer of a search that writes event files.

    Args:
        folder: of the study.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[tuple[str, int], Any] = {}

    def notify(self, event: Event) -> None:
        """Write what there is to write."""
        if isinstance(event, TrialStarted):
            self._open(event)
        elif isinstance(event, EpochDone):
            self._write(event)
        elif isinstance(event, TrialEnded):
            for key in [key for key in self._writers if key[0] == event.trial.key]:
                self._writers.pop(key).close()

    def _open(self, started: TrialStarted) -> None:
        """Make a folder for each of the runs, without what an interrupted one has left there."""
        from tensorboardX import SummaryWriter

        trial = started.trial
        for seed in trial.seeds:
            folder = self._folder / f"{trial.key}-seed-{seed}"
            shutil.rmtree(folder, ignore_errors=True)
            writer = SummaryWriter(str(folder))
            params = " ".join(f"{name}={value}" for name, value in started.params.items())
            writer.add_text("configuration", f"{params} {trial.network.label}".strip(), 0)
            self._writers[trial.key, seed] = writer

    def _write(self, done: EpochDone) -> None:
        """Write an epoch of each run."""
        for seed, entry in done.metrics.items():
            writer = self._writers[done.trial.key, seed]
            for name, value in asdict(entry).items():
                group, _, measure = name.partition("_")
                if value is not None and group in _GROUPS:
                    writer.add_scalar(f"{measure}/{_GROUPS[group]}", value, done.epoch)
            writer.flush()

    def close(self) -> None:
        """Close what is open."""
        while self._writers:
            self._writers.popitem()[1].close()


@contextmanager
def event_files(folder: Path, session: Session, say: Callable[[str], None]) -> Iterator[EventFiles]:
    """Write event files while a study is worked on.

    Args:
        folder: for all studies; this one gets a folder of its name in it.
        session: of the study.
        say: tells people a line.

    Raises:
        InputError: the folder cannot be made.
    """
    own = folder / session.row.name
    try:
        own.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write to {own}: {reason}; give another --tensorboard") from error
    say(f"TensorBoard: tensorboard --logdir {folder}")
    files = EventFiles(own)
    try:
        yield files
    finally:
        files.close()
