"""Study files to be loaded, and studies to be probed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mnist_tune.definitions.definition import Definition, Overrides, define
from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe
from mnist_tune.study import Grid, Study

CHECKOUT = Path(__file__).parents[2]

FILE = '''\
"""How much?

More about it.
"""

from mnist_tune.networks import Mlp
from mnist_tune.recipes import Recipe
from mnist_tune.study import Grid, Search, Study


def suggest(trial):
    depth = trial.suggest_int("depth", 1, 2)
    widths = [trial.suggest_int(f"width_{i}", 8, 64, log=True) for i in range(depth)]
    return Mlp(hidden=tuple(widths), l2=trial.suggest_float("l2", 1e-6, 1e-3, log=True))


study = Study(
    suggest=suggest,
    recipe=Recipe(epochs=20),
    plan=Search(sampler="tpe", trials=30, first=({"depth": 1, "width_0": 64, "l2": 1e-4},)),
    seeds=3,
)
'''
POINTS = "Grid.product(depth=(1,), width_0=(8, 16, 24, 32, 40, 48, 56), l2=(1e-4,))"
GRID_FILE = FILE.replace(FILE[FILE.index("Search(sampler") : FILE.index(",\n    seeds")], POINTS)


def write(folder: Path, text: str = FILE, name: str = "mine.py") -> str:
    """Write a study file and return its path."""
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def changed(old: str, new: str, text: str = FILE) -> str:
    """A study file with one thing changed; that thing must be there."""
    assert old in text
    return text.replace(old, new)


def defined(reference: str, **overrides: Any) -> Definition:
    return define(reference, Overrides(**overrides))


def study_of(suggest: Callable[[Any], Any], **changes: Any) -> Study:
    values: dict[str, Any] = {"recipe": Recipe(epochs=2), "plan": Grid(({},))}
    return Study(suggest=suggest, **{**values, **changes})


def network(*_parameters: object) -> Mlp:
    """A network that parameters do not change."""
    return Mlp(hidden=(64,))


def python(code: str, *arguments: object, hash_seed: int = 0) -> str:
    """Run code in a fresh process and return what it printed; it must succeed in silence."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
