"""What travels between the coordinator and its workers: frozen values, no TensorFlow."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from mnist_tune.data.sources import Source
from mnist_tune.errors import Diverged
from mnist_tune.networks import Network, network_to_json
from mnist_tune.recipes import Recipe, recipe_to_json
from mnist_tune.study import SearchProtocol
from mnist_tune.trainer.states import EpochMetrics, TestMetrics

EPOCH_TOPIC = "mnist-tune-epoch"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSpec:
    """One configuration with all its seeds: a trial of the search, or a confirmation.

    Attributes:
        trial_number: of the configuration.
        confirmation: 0 in the search; else the number of the confirmation, which trains on all
            training images and is scored on the test set once, after the last epoch.
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
        """What people call it."""
        return (
            f"confirmation {self.confirmation}"
            if self.confirmation
            else f"trial {self.trial_number}"
        )

    def checkpoint(self, seed: int) -> Path:
        """Where the state of one of the runs is kept while it is unfinished."""
        return self.checkpoints / f"{self.key}-seed-{seed}.ckpt"

    def kept_weights(self, seed: int) -> Path:
        """Where the final weights of one of the runs stay."""
        assert self.weights is not None
        return self.weights / f"seed-{seed}.ckpt"

    def identity(self, seed: int) -> str:
        """Digest of all that decides the run's numbers; a state belongs to one identity."""
        decisive = {
            "network": network_to_json(self.network),
            "recipe": recipe_to_json(self.recipe),
            "images": "all" if self.confirmation else self.protocol,
            "data": self.source.sha256,
            "seed": seed,
        }
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Piece:
    """Some seeds of a job."""

    job: TrialSpec
    seeds: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one worker trains together.

    Attributes:
        name: unique for its coordinator.
        pieces: of different jobs, which share a program if there are several.
        checkpoint_seconds: least time between two checkpoints.
        run: of which coordinator, where several use the same workers.
        mark: name of a file that the coordinator has put beside its checkpoints; a worker that
            does not find it there is on a machine that shares no folder with it. Empty where all
            are on one machine.
    """

    name: str
    pieces: tuple[Piece, ...]
    checkpoint_seconds: float
    run: str = ""
    mark: str = ""

    @property
    def key(self) -> str:
        """Name that is unique on the workers."""
        return f"{self.name}-{self.run}"

    @property
    def lead(self) -> TrialSpec:
        """The first job, for all that they have in common: images, folders, epochs."""
        return self.pieces[0].job

    def piece_key(self, job_key: str) -> str:
        """Name of the piece of a job that is unique on the workers."""
        return f"{self.key}/{job_key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a piece of a task came to.

    Attributes:
        finished: False if it was told to stop; its states are then in checkpoints.
        histories: seed → metrics of each epoch from the first on, restored ones included.
        scores: on the test set, one per seed; empty in the search and when not finished.
        warnings: lines for people, such as a checkpoint that had to be ignored.
        started_at, finished_at: with UTC as their time zone.
        train_seconds: until it ended, compilation included; of a task of several pieces the share
            that its runs have among all of them.
        host, device, threads: where it ran.
        weights: seed → file of its final weights, from a machine that cannot write it itself.
    """

    finished: bool
    histories: dict[int, tuple[EpochMetrics, ...]]
    scores: tuple[TestMetrics, ...] = ()
    warnings: tuple[str, ...] = ()
    started_at: datetime
    finished_at: datetime
    train_seconds: float
    host: str
    device: str
    threads: int
    weights: dict[int, bytes] = field(default_factory=dict)


Results = dict[str, Outcome | Diverged]
"""What became of each job of a task; anything else that goes wrong is the end of the whole task."""
