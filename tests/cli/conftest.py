"""The command line in this process: fast, and with nothing of the surroundings' settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mnist_tune.cli.main import main
from mnist_tune.commands import STORAGE_VARIABLE

STUDY = '''"""Which L2 factor does a tiny network want?"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe, Sgd
from mnist_tune.study import Grid, Study, Trial


def suggest(trial: Trial) -> Mlp:
    return Mlp(hidden=(64,), l2=trial.suggest_float("l2", 1e-6, 1e-3, log=True))


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=2, batch_size=32, optimizer=Sgd(learning_rate=0.1)),
    plan=Grid.product(l2=(1e-6, 1e-3)),
    seeds=2,
    confirm_seeds=2,
)
'''


@dataclass(frozen=True)
class Said:
    """What a command came to."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with nothing in it, of somebody with no settings and no network."""
    for name in os.environ:
        if name.startswith("MNIST_TUNE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv(STORAGE_VARIABLE, "")  # so that it is forgotten after the test
    monkeypatch.setenv("KERAS_HOME", str(tmp_path.parent / "keras"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command in this process."""

    def called(*arguments: object) -> Said:
        capsys.readouterr()  # what a call that raised has left
        monkeypatch.setattr(sys, "argv", ["mnist-tune", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Said(int(ended.value.code or 0), captured.out, captured.err)

    return called


@pytest.fixture
def tiny(folder: Path) -> Path:
    """A study file that is all right."""
    path = folder / "tiny.py"
    path.write_text(STUDY, encoding="utf-8")
    return path
