"""Values that travel between coordinator and workers: trials, runs, tasks, epoch messages, results.

None of them needs TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from mnist_tune.data.sources import Source
from mnist_tune.errors import Diverged
from mnist_tune.networks import Network, network_to_json
from mnist_tune.recipes import Recipe, recipe_to_json
from mnist_tune.study import SearchProtocol
from mnist_tune.trainer.states import EpochMetrics, EvaluationMetrics


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpec:
    """What is trained for a trial of the search, or for a confirmation.

    Attributes:
        trial_number: of the configuration.
        confirmation: 0 in the search; else the number of the confirmation, which trains on all
            training images and is evaluated on the test set once, after the last epoch.
        network, recipe, seeds: what to train.
        protocol: of the search; a confirmation ignores it.
        source: of the images; workers load them by it.
        checkpoints: folder for states of unfinished runs.
        weights: folder that keeps final weights; None keeps none.
    """

    trial_number: int
    confirmation: int = 0
    network: Network
    recipe: Recipe
    seeds: tuple[int, ...]
    protocol: SearchProtocol
    source: Source
    checkpoints: Path
    weights: Path | None = None

    @property
    def key(self) -> str:
        """Name that is unique within a study."""
        phase = f"confirmation-{self.confirmation}-" if self.confirmation else ""
        return f"{phase}trial-{self.trial_number}"

    @property
    def title(self) -> str:
        """Name in messages."""
        if self.confirmation:
            return f"confirmation {self.confirmation}"
        return f"trial {self.trial_number}"

    @property
    def runs(self) -> tuple[Run, ...]:
        """One for each seed."""
        return tuple(Run(self, seed) for seed in self.seeds)


@dataclass(frozen=True, slots=True)
class Run:
    """The training of a trial with one of its seeds."""

    trial: TrialSpec
    seed: int

    @property
    def checkpoint(self) -> Path:
        """File with its state while the trial is unfinished."""
        return self.trial.checkpoints / f"{self.trial.key}-seed-{self.seed}.ckpt"

    @property
    def weights(self) -> Path | None:
        """File that keeps its final weights, if they are kept."""
        folder = self.trial.weights
        return None if folder is None else folder / f"seed-{self.seed}.ckpt"

    @property
    def identity(self) -> str:
        """Digest of all that decides its numbers; a state belongs to one identity."""
        trial = self.trial
        decisive = {
            "network": network_to_json(trial.network),
            "recipe": recipe_to_json(trial.recipe),
            "images": "all" if trial.confirmation else trial.protocol,
            "data": trial.source.sha256,
            "seed": self.seed,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Runs that one worker trains together; those of different trials share a program.

    Attributes:
        name: unique for its coordinator.
        runs: what to train.
        checkpoint_seconds: least time between two checkpoints.
        coordinator: whose task it is, where several use the same workers.
        marker: name of a file that the coordinator has put beside its checkpoints; a worker that
            does not find it there is on a machine that shares no folder with it. Empty where all
            are on one machine.
    """

    name: str
    runs: tuple[Run, ...]
    checkpoint_seconds: float
    coordinator: str = ""
    marker: str = ""

    @property
    def key(self) -> str:
        """Name that is unique on the workers."""
        return f"{self.name}-{self.coordinator}"


@dataclass(frozen=True, slots=True)
class EpochMessage:
    """What a worker says of a task under way.

    Attributes:
        phase: `begun`, `compiling` (with the epochs that were restored) or `trained`.
        epochs: index of a run in the task, and what an epoch of it measured.
        worker: address of the worker.
    """

    task: str
    phase: Literal["begun", "compiling", "trained"]
    epochs: tuple[tuple[int, EpochMetrics], ...] = ()
    worker: str = ""

    def to_event(self) -> dict[str, Any]:
        """Plain values, which is all that Dask's events carry."""
        epochs = [(index, astuple(metrics)) for index, metrics in self.epochs]
        return {"task": self.task, "phase": self.phase, "epochs": epochs, "worker": self.worker}

    @staticmethod
    def from_event(event: Mapping[str, Any]) -> EpochMessage:
        """The message that became an event."""
        epochs = tuple((index, EpochMetrics(*values)) for index, values in event["epochs"])
        return EpochMessage(event["task"], event["phase"], epochs, event["worker"])


@dataclass(frozen=True, slots=True)
class TaskEnded:
    """A task is over, however it ended; the executor has its results."""

    task: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When, where and how long a run was trained in a task, by UTC.

    `train_seconds` includes compilation; in a task of several runs it is a share.
    """

    started_at: datetime
    finished_at: datetime
    train_seconds: float
    host: str
    device: str
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run of a task came to.

    Attributes:
        finished: False if its task was asked to end early; its state is then in a checkpoint.
        history: metrics of each epoch from the first on, restored ones included.
        test: metrics on the test set, of a finished run of a confirmation.
        weights: content of the file of its final weights, from a machine that cannot write it itself.
        warning: such as a checkpoint that had to be ignored.
    """

    finished: bool
    history: tuple[EpochMetrics, ...]
    timing: Timing
    test: EvaluationMetrics | None = None
    weights: bytes | None = None
    warning: str = ""


TaskResults = tuple[RunResult | Diverged, ...]
"""Of each run of a task; anything else that goes wrong is the end of the whole task."""
