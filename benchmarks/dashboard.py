"""How long the page of a study with many trials takes, beside a plain optuna-dashboard."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.processes import TOOL
from benchmarks.samples import EPOCHS, make_trials
from benchmarks.table import Report, Row

SIZES = (1_000, 10_000)
_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 11.0  # an open page asks every ten seconds
_PLAIN = Path(sys.executable).with_name("optuna-dashboard")


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
        settings={"epochs": EPOCHS},
        notes=(
            "First: the study is asked for as soon as the server answers; again: once more; poll:",
            "what an open page asks for every ten seconds, eleven seconds later. Without the browser.",
        ),
        rows=tuple(found),
    )


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
