"""Rows of our tables as immutable dataclasses; `schema` makes the tables from them.

Rows are keyed by a study uid of our own and the trial number, never by Optuna's ids, which SQLite
reuses after a deletion. Times are ISO-8601 UTC, durations are seconds, mappings and tuples are
stored as JSON. An unknown number is None; a NaN becomes None on its way to the database. numpy's
scalars are accepted everywhere and stored as Python's.

Everything but `TimingRow` is a function of definition, data and seeds alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mnist_tune.metrics import METRICS


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """A study as it was created."""

    uid: str
    name: str  # also the name of the Optuna study
    source: str  # built-in name or absolute path of the study file
    question: str  # first line of the study file's docstring
    overrides: Mapping[str, Any]  # what the command line changed
    definition: str  # JSON, the very text that was hashed
    fingerprint: str  # sha256 of `definition`
    metric: str  # key in mnist_tune.metrics: what trials are judged by, and in which direction
    noise_low: float | None  # lowest and highest noise level of the images; None of classifiers
    noise_high: float | None
    protocol: str
    rehearsal: bool  # made by --quick
    baseline: str  # key in mnist_tune.baselines
    planned_trials: int  # total, not per call
    seeds: int  # per trial; they are 0 … seeds-1
    data: Mapping[str, Any]  # JSON of mnist_tune.data Source
    versions: Mapping[str, str]  # package → version
    created_at: str

    def __post_init__(self) -> None:
        _one_of(self.protocol, "protocol", "holdout", "notebook")
        _one_of(self.metric, "metric", *METRICS)

    @property
    def noise(self) -> tuple[float, float] | None:
        """Lowest and highest noise level of the images that a denoiser is given."""
        if self.noise_low is None or self.noise_high is None:
            return None
        return self.noise_low, self.noise_high


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """A trial of the search that ended."""

    study_uid: str
    trial_number: int
    state: str
    reason: str | None = None  # of a failure: diverged, error, worker_lost, out_of_memory, hung
    params: Mapping[str, Any]  # parameter → value
    network: Mapping[str, Any]  # JSON of mnist_tune.networks
    recipe: Mapping[str, Any]  # JSON of mnist_tune.recipes
    label: str  # such as 500-300
    parameters: int  # number of trainable numbers
    objective: float | None = None  # mean over seeds after the last epoch; None if failed

    def __post_init__(self) -> None:
        _one_of(self.state, "state", "complete", "pruned", "failed")
        if (self.reason is not None) != (self.state == "failed"):
            raise ValueError(f"a {self.state} trial with reason {self.reason!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One seed of a trial (confirmation 0), or of the k-th confirmation.

    The runs of a confirmation train on all training images and are measured on the test set alone.
    Losses are in nats, accuracies in 0–1; only autoencoders have `mse` (per pixel, pixels 0–1) and
    `psnr` (mean over images of −10·log10(mse), dB): their losses are denoising errors, and their
    accuracies are unknown.
    """

    study_uid: str
    confirmation: int = 0
    trial_number: int
    seed: int
    state: str
    epochs: int  # epochs trained
    train_loss: float | None = None  # mean over the last epoch's steps, without penalty
    train_accuracy: float | None = None  # of the same steps
    val_loss: float | None = None  # None in a confirmation
    val_accuracy: float | None = None  # under protocol notebook the test set validates
    test_loss: float | None = None  # None in the search
    test_accuracy: float | None = None
    val_mse: float | None = None
    val_psnr: float | None = None
    test_mse: float | None = None
    test_psnr: float | None = None

    def __post_init__(self) -> None:
        _one_of(self.state, "state", "complete", "pruned", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """One epoch (from 1 on) of a run; units are those of `RunRow`."""

    study_uid: str
    confirmation: int = 0
    trial_number: int
    seed: int
    epoch: int
    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None  # None in a confirmation: the test set is opened at the end
    val_accuracy: float | None = None
    val_mse: float | None = None
    val_psnr: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationRow:
    """One opening of the test set, numbered from 1."""

    study_uid: str
    confirmation: int
    trial_number: int  # the configuration that was selected
    state: str
    seeds: tuple[int, ...]  # disjoint from the search's seeds
    train_size: int
    test_size: int

    def __post_init__(self) -> None:
        _one_of(self.state, "state", "running", "complete")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRow:
    """The class that a confirmed run predicts for each test image, one uint8 each, in their order."""

    study_uid: str
    confirmation: int
    trial_number: int
    seed: int
    classes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRow:
    """What a denoiser must beat: errors of noisy images, or of a simple remedy, on one split.

    `loss` is in nats per pixel, `mse` in pixels of 0–1 squared, `psnr` in dB.
    """

    study_uid: str
    images: str
    name: str  # noisy | median filter | mean image
    loss: float
    mse: float
    psnr: float

    def __post_init__(self) -> None:
        _one_of(self.images, "images", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisRow:
    """What a command such as `denoise` measured of trained networks of one or more studies."""

    name: str
    title: str
    inputs: Mapping[str, Any]  # studies, trials, seeds, data, options
    tables: Mapping[str, Any]  # table name → list of records
    text: tuple[str, ...]  # sentences

    def is_about(self, study: StudyRow) -> bool:
        """Whether the study made the autoencoder; others only lent a classifier."""
        return _names(self.inputs.get("autoencoder"), study)

    def uses(self, study: StudyRow) -> bool:
        """Whether a study is named anywhere in the inputs, by its uid or its name."""
        return _names(self.inputs, study)

    def renamed(self, old: str, new: str) -> AnalysisRow:
        """The same with another name of a study in the inputs."""
        return replace(self, inputs=_renamed(self.inputs, old, new))


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRow:
    """A figure of an analysis; its name is that of its file without suffix."""

    analysis: str
    name: str
    position: int  # order within the analysis
    caption: str
    png: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingRow:
    """What the clock and the machine decided about one finished piece of training."""

    study_uid: str
    confirmation: int = 0
    trial_number: int
    first_seed: int
    seeds: int  # how many were trained together
    started_at: str
    finished_at: str
    elapsed_seconds: float  # monotonic, of its last coordinator
    train_seconds: float  # in the training program, compilation included
    host: str
    device: str  # CPU | GPU:0 name
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialCounts:
    """Optuna's trials of one study by state."""

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0

    @property
    def finished(self) -> int:
        """Trials that will not change any more."""
        return self.complete + self.pruned + self.failed

    @property
    def total(self) -> int:
        """All trials, queued ones included."""
        return self.finished + self.running + self.waiting


def json_value(value: Any) -> Any:
    """Turn a value into what JSON can hold: no numpy, no tuple, nothing that is not finite."""
    value = python_value(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): json_value(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(entry) for entry in value]
    return value


def new_uid() -> str:
    """Return a fresh study uid: 32 hexadecimal digits."""
    return os.urandom(16).hex()


def utc_now() -> str:
    """Return the time as the tables hold it."""
    return utc_text(datetime.now(UTC))


def utc_text(moment: datetime) -> str:
    """Write a time that knows its zone as the tables hold it: 2026-11-23T21:20:58.123456Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def python_value(value: Any) -> Any:
    """Turn numpy's scalars into Python's, exactly; leave the rest alone."""
    return value.item() if hasattr(value, "dtype") and hasattr(value, "item") else value


def _one_of(value: str, name: str, *known: str) -> None:
    if value not in known:
        raise ValueError(f"{name} {value!r} is none of {', '.join(known)}")


def _renamed(inputs: Any, old: str, new: str) -> Any:
    if isinstance(inputs, Mapping):
        return {
            key: new if (key, value) == ("study", old) else _renamed(value, old, new)
            for key, value in inputs.items()
        }
    return [_renamed(value, old, new) for value in inputs] if isinstance(inputs, list) else inputs


def _names(inputs: Any, study: StudyRow) -> bool:
    if isinstance(inputs, dict):
        named = inputs.get("uid", study.uid if inputs.get("study") == study.name else None)
        return named == study.uid or any(_names(value, study) for value in inputs.values())
    return isinstance(inputs, list) and any(_names(value, study) for value in inputs)
