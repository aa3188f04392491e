"""The rows of our tables as frozen values, and how they become columns.

Standard library only. Fields of JSON columns hold Python values. An unknown number is None; a
NaN becomes None on its way to the database, where it is NULL. numpy's scalars are accepted
everywhere and stored as Python's.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol, TypeVar, get_args, get_type_hints

_OBJECT, _LIST = {"json": dict}, {"json": list}


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow:
    """A study as it was created; `definition` is the very text that was hashed."""

    uid: str
    name: str
    source: str
    question: str
    overrides: Mapping[str, Any] = field(metadata=_OBJECT)
    definition: str
    fingerprint: str
    protocol: str
    rehearsal: bool
    baseline: str
    planned_trials: int
    seeds: int
    data: Mapping[str, Any] = field(metadata=_OBJECT)
    versions: Mapping[str, str] = field(metadata=_OBJECT)
    created_at: str

    def __post_init__(self) -> None:
        _one_of(self.protocol, "protocol", "holdout", "notebook")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    """A trial that ended; `objective` is None if it failed, `reason` is for failures only."""

    study_uid: str
    trial_number: int
    state: str
    reason: str | None = None
    params: Mapping[str, Any] = field(metadata=_OBJECT)
    network: Mapping[str, Any] = field(metadata=_OBJECT)
    recipe: Mapping[str, Any] = field(metadata=_OBJECT)
    label: str
    parameters: int
    objective: float | None = None

    def __post_init__(self) -> None:
        _one_of(self.state, "state", "complete", "pruned", "failed")
        if (self.reason is not None) != (self.state == "failed"):
            raise ValueError(f"a {self.state} trial with reason {self.reason!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One seed of a trial (confirmation 0), or of the k-th confirmation."""

    study_uid: str
    confirmation: int = 0
    trial_number: int
    seed: int
    state: str
    epochs: int
    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    test_loss: float | None = None
    test_accuracy: float | None = None
    val_mse: float | None = None
    val_psnr: float | None = None
    test_mse: float | None = None
    test_psnr: float | None = None

    def __post_init__(self) -> None:
        _one_of(self.state, "state", "complete", "pruned", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """One epoch (from 1 on) of a run."""

    study_uid: str
    confirmation: int = 0
    trial_number: int
    seed: int
    epoch: int
    train_loss: float | None = None
    train_accuracy: float | None = None
    val_loss: float | None = None
    val_accuracy: float | None = None
    val_mse: float | None = None
    val_psnr: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationRow:
    """One opening of the test set."""

    study_uid: str
    confirmation: int
    trial_number: int
    state: str
    seeds: tuple[int, ...] = field(metadata=_LIST)
    train_size: int
    test_size: int

    def __post_init__(self) -> None:
        _one_of(self.state, "state", "running", "complete")
        object.__setattr__(self, "seeds", tuple(self.seeds))


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionRow:
    """The class that a confirmed run predicts for each test image, one uint8 each."""

    study_uid: str
    confirmation: int
    trial_number: int
    seed: int
    classes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceRow:
    """Errors of noisy images, or of a simple remedy, on the images of one split.

    `loss` is in nats per pixel, `mse` in pixels of 0–1 squared, `psnr` in dB.
    """

    study_uid: str
    images: str
    name: str
    loss: float
    mse: float
    psnr: float

    def __post_init__(self) -> None:
        _one_of(self.images, "images", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisRow:
    """What a command such as `denoise` found out about trained networks."""

    name: str
    title: str
    inputs: Mapping[str, Any] = field(metadata=_OBJECT)
    tables: Mapping[str, Any] = field(metadata=_OBJECT)
    text: tuple[str, ...] = field(metadata=_LIST)

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", tuple(self.text))


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRow:
    """A figure of an analysis."""

    analysis: str
    name: str
    position: int
    caption: str
    png: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingRow:
    """What the clock and the machine decided about one piece of training."""

    study_uid: str
    confirmation: int = 0
    trial_number: int
    first_seed: int
    seeds: int
    started_at: str
    finished_at: str
    elapsed_seconds: float
    train_seconds: float
    host: str
    device: str
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


class Keyed(Protocol):
    """A row that belongs to a trial of the search or of a confirmation."""

    @property
    def study_uid(self) -> str: ...  # noqa: D102

    @property
    def confirmation(self) -> int: ...  # noqa: D102

    @property
    def trial_number(self) -> int: ...  # noqa: D102


Row = TypeVar("Row")


def to_columns(row: Any) -> dict[str, Any]:
    """Turn a record into the values of its columns."""
    return {entry.name: _column(getattr(row, entry.name), entry.metadata) for entry in fields(row)}


def from_columns(kind: type[Row], columns: Mapping[Any, Any]) -> Row:
    """Make the record that `to_columns` took apart.

    Raises:
        ValueError: a column holds what cannot have been stored there.
    """
    values: dict[str, Any] = dict(columns)
    for name, kinds, json_kind in _columns_of(kind):  # type: ignore[arg-type]
        value: Any = values[name]
        if not isinstance(value, kinds):
            raise ValueError(f"{name} holds {value!r}")
        if json_kind is not None:
            values[name] = _parsed(name, value, json_kind)
    return kind(**values)


@cache
def _columns_of(kind: Any) -> tuple[tuple[str, Any, type | None], ...]:
    """Name, allowed types and kind of JSON of each column of a record."""
    hints = get_type_hints(kind)
    return tuple(
        (entry.name, (str,), entry.metadata["json"])
        if entry.metadata
        else (entry.name, _allowed(hints[entry.name]), None)
        for entry in fields(kind)
    )


def _allowed(hint: Any) -> tuple[type, ...]:
    kinds = get_args(hint) or (hint,)
    return (*kinds, int) if {float, bool} & {*kinds} else kinds  # SQLite knows no bool


def _parsed(name: str, text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{name} holds {text!r}, which is no JSON") from error
    if not isinstance(value, kind):
        raise ValueError(f"{name} holds {text!r}")
    return value


def plain(value: Any) -> Any:
    """Turn a value into what JSON can hold: no numpy, no tuple, nothing that is not finite."""
    value = _python(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value


def new_uid() -> str:
    """Return a fresh study uid: 32 hexadecimal digits."""
    return os.urandom(16).hex()


def utc_now() -> str:
    """Return the time as the tables hold it."""
    return utc_text(datetime.now(UTC))


def utc_text(moment: datetime) -> str:
    """Write a time that knows its zone as the tables hold it: 2026-11-23T21:20:58.123456Z.

    Timings of versions before 2 end in +00:00 instead of Z; `datetime.fromisoformat` reads both.
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _column(value: Any, metadata: Mapping[str, Any]) -> Any:
    if metadata:
        return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    value = _python(value)
    return None if isinstance(value, float) and math.isnan(value) else value


def _python(value: Any) -> Any:
    """Turn numpy's scalars into Python's, exactly; leave the rest alone."""
    return value.item() if hasattr(value, "dtype") and hasattr(value, "item") else value


def _one_of(value: str, name: str, *known: str) -> None:
    if value not in known:
        raise ValueError(f"{name} {value!r} is none of {', '.join(known)}")
