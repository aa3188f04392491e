"""Rows and processes for the tests of `mnist_tune.storage`."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mnist_tune.storage.location import Location
from mnist_tune.storage.records import (
    EpochRow,
    PredictionRow,
    RunRow,
    StudyRow,
    TimingRow,
    TrialRow,
)
from tests import postgresql

sqlite_only = pytest.mark.parametrize("location", ["sqlite"], indirect=True)
CHECKOUT = Path(__file__).parents[2]
UID = "0123456789abcdef" * 2
DEFINITION = '{"b":1,"a":0.30000000000000004}'
DATA = {
    "kind": "folder",
    "path": "/mnist",
    "sha256": "d" * 64,
    "full": True,
    "train_size": 60_000,
    "test_size": 10_000,
}
NOW = "2026-11-23T21:20:58.123456Z"


def study_row(**changes: Any) -> StudyRow:
    values: dict[str, Any] = {
        "uid": UID,
        "name": "l2_factor",
        "source": "l2_factor",
        "question": "Which L2 factor wins?",
        "overrides": {"epochs": 2, "seeds": [0, 1]},
        "definition": DEFINITION,
        "fingerprint": hashlib.sha256(DEFINITION.encode()).hexdigest(),
        "metric": "accuracy",
        "noise_low": None,
        "noise_high": None,
        "protocol": "holdout",
        "rehearsal": True,
        "baseline": "hinton",
        "planned_trials": 5,
        "seeds": 2,
        "data": DATA,
        "versions": {"optuna": "5.0.0"},
        "created_at": NOW,
    }
    return StudyRow(**{**values, **changes})


def trial_row(number: int = 0, **changes: Any) -> TrialRow:
    values: dict[str, Any] = {
        "study_uid": UID,
        "trial_number": number,
        "state": "complete",
        "params": {"l2": 1e-6, "widths": [64, 64], "activation": "relu"},
        "network": {"kind": "Mlp", "hidden": [64, 64]},
        "recipe": {"epochs": 2, "optimizer": {"kind": "Sgd", "learning_rate": 0.1}},
        "label": "64-64",
        "parameters": 55_050,
        "objective": 0.97,
    }
    return TrialRow(**{**values, **changes})


def run_row(number: int = 0, seed: int = 0, **changes: Any) -> RunRow:
    values: dict[str, Any] = {
        "study_uid": UID,
        "trial_number": number,
        "seed": seed,
        "state": "complete",
        "epochs": 2,
        "val_accuracy": 0.97,
    }
    return RunRow(**{**values, **changes})


def epoch_row(number: int = 0, seed: int = 0, epoch: int = 1, **changes: Any) -> EpochRow:
    values = {"study_uid": UID, "trial_number": number, "seed": seed, "epoch": epoch}
    return EpochRow(**{**values, **changes})


def timing_row(number: int = 0, first_seed: int = 0, **changes: Any) -> TimingRow:
    values: dict[str, Any] = {
        "study_uid": UID,
        "trial_number": number,
        "first_seed": first_seed,
        "seeds": 2,
        "started_at": NOW,
        "finished_at": NOW,
        "elapsed_seconds": 2.5,
        "train_seconds": 2.25,
        "host": "here",
        "device": "CPU",
        "threads": 1,
    }
    return TimingRow(**{**values, **changes})


def prediction_row(
    seed: int, classes: bytes = bytes(range(10)), confirmation: int = 1
) -> PredictionRow:
    return PredictionRow(
        study_uid=UID, confirmation=confirmation, trial_number=0, seed=seed, classes=classes
    )


def raw(place: Location | Path, statement: str) -> list[tuple[Any, ...]]:
    """Ask the database through a second connection that knows nothing of the package."""
    if isinstance(place, Location) and place.server is not None:
        return postgresql.rows(place.server, statement)
    path = place.path if isinstance(place, Location) else place
    assert path is not None
    with closing(sqlite3.connect(path, timeout=0)) as connection:
        return connection.execute(statement).fetchall()


def python(code: str, *arguments: object, wrapper: tuple[str, ...] = ()) -> str:
    """Run code in a fresh process and return what it printed; it must succeed in silence."""
    done = subprocess.run(
        [*wrapper, *_command(code, arguments)],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def start_python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start code in a fresh process with pipes."""
    return subprocess.Popen(
        _command(code, arguments),
        env=_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def receive(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process prints."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def send(process: subprocess.Popen[str]) -> None:
    """Send an empty line, for which a process waits."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process as no process can prevent."""
    with process:  # closes the pipes, which its own children may share
        process.kill()


def _command(code: str, arguments: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT)}
