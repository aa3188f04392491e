"""Whole processes: `mnist-tune run` beside plain scripts of Keras, PyTorch and JAX, start to end."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import data_notes
from benchmarks.peers.work import WORKS, Work
from benchmarks.processes import TOOL, seconds_of
from benchmarks.table import Report, Row, Target, medians, ratios
from mnist_tune.data.sources import load_dataset

CHECKOUT = Path(__file__).parents[2]
VENV = CHECKOUT / ".venv-peers"
OURS = "mnist-tune run"
# Name → module, whether it needs the packages of the peers, and its last arguments.
PEERS: dict[str, tuple[str, bool, tuple[str, ...]]] = {
    "model.fit": ("keras_fit", False, ()),
    "PyTorch eager": ("torch_loop", True, ()),
    "torch.compile": ("torch_loop", True, ("--compile",)),
    "JAX scan + vmap": ("jax_scan", True, ()),
}
STUDIES = {
    "64-64": "notebook_mlp",
    "500-300": str(Path(__file__).with_name("dense_500_300.py")),
    "autoencoder": "notebook_autoencoder",
    "cnn": "notebook_cnn",
}
FIRST = Target("at least", 1.0)  # times as long as ours


def python_of_peers(say: Callable[[str], Any]) -> Path:
    """The interpreter of an environment that has the dependency group `peers`.

    Raises:
        CommandFailed: it cannot be made.
    """
    python = VENV / "bin" / "python"
    if not (VENV / "complete").exists():
        say(f"peers: installing PyTorch and JAX into {VENV.name} (once, minutes)")
        uv = Path(sys.executable).with_name("uv")
        seconds_of((str(uv), "venv", "--quiet", "--clear", str(VENV)))
        seconds_of((str(uv), "pip", "install", "--python", str(python), "--group", "peers"))
        (VENV / "complete").touch()
    return python


def run(
    *,
    works: Sequence[str],
    peers: Sequence[str],
    repetitions: int,
    python: Path | None,
    fast: bool,
    say: Callable[[str], Any],
) -> Report:
    """Time every work with every peer and with ours, in turns.

    Args:
        works: names of `WORKS`.
        peers: names of `PEERS`; JAX has no convolutional network here.
        repetitions: of each.
        python: interpreter that has the peers' packages; None makes an environment.
        fast: whether this is a rehearsal.
        say: logs a line.

    Raises:
        CommandFailed: a script or a command did not succeed.
    """
    source = load_dataset(log=say).source
    python = python or python_of_peers(say)
    found: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        file = _images(Path(folder))
        for name in works:
            there = [peer for peer in peers if (peer, name) != ("JAX scan + vmap", "cnn")]
            seconds: dict[str, list[float]] = {peer: [] for peer in (OURS, *there)}
            for number in range(repetitions):
                for peer, taken in seconds.items():
                    say(f"peers: {name}, {peer}, repetition {number + 1} of {repetitions}")
                    taken.append(_ours(name) if peer == OURS else _theirs(name, peer, python, file))
            found += rows(name, WORKS[name], seconds)
    return Report(
        name="peers",
        fast=fast,
        settings={"repetitions": repetitions},
        notes=(
            *data_notes(source),
            "Seconds of a whole process for each run and epoch of 60,000 images, validated on 10,000.",
        ),
        rows=tuple(found),
    )


def rows(name: str, work: Work, seconds: dict[str, list[float]]) -> list[Row]:
    """Seconds of a run and epoch of each, and how many times ours they are."""
    epochs = work.seeds * work.epochs
    title = f"{name}, {work.seeds} seeds × {work.epochs} epochs"
    found = [
        medians(f"{title}: {peer}", "s", [each / epochs for each in taken])
        for peer, taken in seconds.items()
    ]
    return found + [
        ratios(f"{title}: {peer}, times ours", taken, seconds[OURS], FIRST)
        for peer, taken in seconds.items()
        if peer != OURS
    ]


def _ours(name: str) -> float:
    work = WORKS[name]
    options = ("--seeds", str(work.seeds), "--epochs", str(work.epochs), "--no-confirm")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        storage = ("--storage", str(Path(folder, "study.db")))
        command = ("run", STUDIES[name], "--protocol", "notebook", *options, *storage)
        return seconds_of((*TOOL, *command))


def _theirs(name: str, peer: str, python: Path, file: Path) -> float:
    module, theirs, arguments = PEERS[peer]
    interpreter = str(python) if theirs else sys.executable
    return seconds_of(
        (interpreter, "-m", f"benchmarks.peers.{module}", name, str(file), *arguments)
    )


def _images(folder: Path) -> Path:
    """The images as a file like Keras' `mnist.npz`, which the scripts read."""
    data, file = load_dataset(), folder / "mnist.npz"
    np.savez(
        file,
        x_train=data.train.images,
        y_train=data.train.labels,
        x_test=data.test.images,
        y_test=data.test.labels,
    )
    return file
