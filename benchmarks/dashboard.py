"""How long the page of a study with many trials takes, beside a plain optuna-dashboard."""

from __future__ import annotations

import json
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy

from benchmarks.cli import make_study
from benchmarks.processes import TOOL
from benchmarks.table import Report, Row
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.shown import of_trial

SIZES = (1_000, 10_000)
_EPOCHS = 40
_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 11.0  # an open page asks every ten seconds
_PLAIN = Path(sys.executable).with_name("optuna-dashboard")
_DISTRIBUTION = json.dumps(
    {"name": "FloatDistribution", "attributes": {"step": None, "low": 1e-6, "high": 1, "log": True}}
)


def run(*, fast: bool, say: Callable[[str], Any]) -> Report:
    """Measure both dashboards on studies of several sizes."""
    found: list[Row] = []
    for trials in (100,) if fast else SIZES:
        with tempfile.TemporaryDirectory() as folder:
            storage = Path(folder, "study.db")
            make_trials(storage, trials)
            commands = {
                "optuna-dashboard": [str(_PLAIN), f"sqlite:///{storage}"],
                "mnist-tune dashboard": [*TOOL, "dashboard", "--storage", str(storage)],
            }
            for name, command in commands.items():
                say(f"dashboard: {trials:,} trials, {name}")
                with _server(command) as (process, url):
                    found += _rows(f"{trials:,} trials: {name}", process, url)
    return Report(
        name="dashboard",
        fast=fast,
        settings={"epochs": _EPOCHS},
        notes=(
            "First: the study is asked for as soon as the server answers; again: once more; poll:",
            "what an open page asks for every ten seconds, eleven seconds later. Without the browser.",
        ),
        rows=tuple(found),
    )


def make_trials(storage: Path, trials: int) -> None:
    """Write a study with so many finished trials, by SQL, since a search would take hours."""
    make_study(storage)
    draw = random.Random(0)
    with open_database(Location.find(str(storage)), create=False) as database:
        (uid,) = database.rows("SELECT uid FROM mnist_tune_studies")[0]
        with database.transaction() as connection:
            connection.exec_driver_sql("DELETE FROM trial_system_attributes")
            connection.exec_driver_sql("DELETE FROM trials")
            for table, rows in _rows_of(uid, trials, draw).items():
                names = tuple(rows[0])
                columns, values = ", ".join(names), ", ".join(f":{name}" for name in names)
                connection.execute(
                    sqlalchemy.text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), rows
                )


def _rows_of(
    uid: str, trials: int, draw: random.Random
) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {
        table: []
        for table in (
            "trials",
            "trial_values",
            "trial_params",
            "trial_intermediate_values",
            "trial_user_attributes",
            "trial_system_attributes",
        )
    }
    times = {"datetime_start": "2026-11-26 10:00:00", "datetime_complete": "2026-11-26 10:01:00"}
    for number in range(trials):
        key, accuracy = {"trial_id": number + 1}, draw.gauss(0.98, 0.001)
        found["trials"].append(
            {**key, "number": number, "study_id": 1, "state": "COMPLETE", **times}
        )
        found["trial_values"].append(
            {**key, "objective": 0, "value": accuracy, "value_type": "FINITE"}
        )
        found["trial_params"].append(
            {
                **key,
                "param_name": "l2",
                "param_value": 10 ** draw.uniform(-6, 0),
                "distribution_json": _DISTRIBUTION,
            }
        )
        found["trial_intermediate_values"] += [
            {
                **key,
                "step": step,
                "intermediate_value": accuracy - 0.1 / step,
                "intermediate_value_type": "FINITE",
            }
            for step in range(1, _EPOCHS + 1)
        ]
        found["trial_user_attributes"] += [
            {**key, "key": name, "value_json": json.dumps(value)}
            for name, value in {
                "network": "500-300",
                "parameters": 545_810,
                "multiply_adds": 545_000,
                "val_accuracy_mean": accuracy,
                "val_accuracy_std": 0.001,
                "n_seeds": 3,
                "epochs": _EPOCHS,
                "train_seconds": 12.3,
            }.items()
        ]
        found["trial_system_attributes"] += [
            {**key, "key": f"artifacts:{shown.id}", "value_json": json.dumps(shown.entry)}
            for shown in of_trial(uid, number, str(number))
        ]
    return found


@contextmanager
def _server(command: Sequence[str]) -> Iterator[tuple[psutil.Process, str]]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                _seconds(f"{url}/api/meta")
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.05)
        yield psutil.Process(process.pid), url
    finally:
        process.terminate()
        process.wait()


def _rows(name: str, process: psutil.Process, url: str) -> Iterator[Row]:
    first, size = _seconds(f"{url}/api/studies/1")
    again, _ = _seconds(f"{url}/api/studies/1")
    trials = int(re.sub(r"\D", "", name.partition(" ")[0]))
    time.sleep(_POLL_SECONDS)
    poll, _ = _seconds(f"{url}/api/studies/1?after={trials}")
    processes = [process, *process.children(recursive=True)]
    memory = sum(each.memory_info().rss for each in processes)
    yield Row(what=f"{name}, first", value=first, unit="s")
    yield Row(what=f"{name}, again", value=again, unit="s")
    yield Row(what=f"{name}, poll", value=poll, unit="s")
    yield Row(what=f"{name}, sent", value=size / 2**20, unit="MiB")
    yield Row(what=f"{name}, memory", value=memory / 2**20, unit="MiB")


def _seconds(url: str) -> tuple[float, int]:
    """Seconds until the whole answer is there, and its size in bytes."""
    began = time.perf_counter()
    with urllib.request.urlopen(url, timeout=_PATIENCE_SECONDS) as answer:
        body = answer.read()
    return time.perf_counter() - began, len(body)
