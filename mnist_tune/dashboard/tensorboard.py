"""Learning curves as event files for TensorBoard: a folder for each run, a value for each epoch.

A trial that goes on after an interruption tells all its epochs again, so that its folders are
written anew and no epoch stands there twice.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mnist_tune.errors import InputError
from mnist_tune.search.events import TrialEnded
from mnist_tune.search.progress import Observer
from mnist_tune.search.session import Session
from mnist_tune.trainer.states import EpochMetrics
from mnist_tune.workers.tasks import TrialSpec

_GROUPS = {"train": "training", "val": "validation", "test": "test"}


class EventFiles(Observer):
    """An observer of a search that writes event files.

    Args:
        folder: of the study.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[tuple[str, int], Any] = {}

    def began(self, job: TrialSpec, params: Mapping[str, Any]) -> None:
        """Make a folder for each of the runs, without what an interrupted one has left there."""
        from tensorboardX import SummaryWriter

        for seed in job.seeds:
            folder = self._folder / f"{job.key}-seed-{seed}"
            shutil.rmtree(folder, ignore_errors=True)
            writer = SummaryWriter(str(folder))
            described = " ".join(f"{name}={value}" for name, value in params.items())
            writer.add_text("configuration", f"{described} {job.network.label}".strip(), 0)
            self._writers[job.key, seed] = writer

    def epoch(self, job: TrialSpec, epoch: int, metrics: Mapping[int, EpochMetrics]) -> None:
        """Write an epoch of each run."""
        for seed, entry in metrics.items():
            writer = self._writers[job.key, seed]
            for name, value in asdict(entry).items():
                group, _, measure = name.partition("_")
                if value is not None and group in _GROUPS:
                    writer.add_scalar(f"{measure}/{_GROUPS[group]}", value, epoch)
            writer.flush()

    def ended(self, ended: TrialEnded, state: str) -> None:  # noqa: ARG002  as observers are told
        """Close the files of a job."""
        for key in [key for key in self._writers if key[0] == ended.job.key]:
            self._writers.pop(key).close()

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
