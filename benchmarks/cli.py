"""How long people wait for the commands that only look, beside the import of the CLI library."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import TOOL, output_of, seconds_of
from benchmarks.table import Report, Row, Target
from mnist_tune.data.sources import load_dataset
from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.search.session import open_session
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location

LIBRARY = (sys.executable, "-c", "import click")
_FORBIDDEN = {"tensorflow", "keras"}
_IMPORTED = re.compile(r"^import time:.*\|\s+(\S+)$", re.MULTILINE)

WAIT = Target("below", 3.0)
NONE = Target("below", 1.0)


def run(*, repetitions: int, fast: bool, say: Callable[[str], Any]) -> Report:
    """Measure each command in turns with the import of the library."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Path(folder, "study.db")
        make_study(storage)
        commands = {
            "--help": [*TOOL, "--help"],
            "list": [*TOOL, "list", "--storage", str(storage)],
            "status": [*TOOL, "status", "--storage", str(storage)],
        }
        say(f"cli: {', '.join(commands)}, {repetitions} times each")
        library, taken = _in_turns(commands, repetitions)
        forbidden = {name: forbidden_imports(command) for name, command in commands.items()}
    return Report(
        name="cli",
        fast=fast,
        settings={"repetitions": repetitions},
        notes=("Each time is the shortest of its repetitions.",),
        rows=rows(library, taken, forbidden),
    )


def rows(
    library: Sequence[float],
    taken: dict[str, list[float]],
    forbidden: dict[str, list[str]],
) -> tuple[Row, ...]:
    """Put the times together.

    Args:
        library: seconds of importing the library, one for each repetition.
        taken: command → seconds of each repetition.
        forbidden: command → modules that it should not have imported.
    """
    found = [
        Row(what="import click", value=min(library), unit="s", samples=tuple(library)),
        *(
            Row(what=f"mnist-tune {name}", value=min(seconds), unit="s", samples=tuple(seconds))
            for name, seconds in taken.items()
        ),
    ]
    for name, seconds in taken.items():
        what = f"mnist-tune {name}, times the import"
        found.append(Row(what=what, value=min(seconds) / min(library), unit="×", target=WAIT))
    for name, modules in forbidden.items():
        what = f"mnist-tune {name}: modules of {' and '.join(sorted(_FORBIDDEN))}"
        found.append(Row(what=what, value=len(modules), unit="", target=NONE))
    return tuple(found)


def forbidden_imports(command: Sequence[str]) -> list[str]:
    """Modules of TensorFlow and Keras that a command of Python imports."""
    python, *arguments = command
    imported = _IMPORTED.findall(output_of([python, "-X", "importtime", *arguments]))
    return [module for module in imported if module.partition(".")[0] in _FORBIDDEN]


def make_study(storage: Path) -> None:
    """Write a study with its plan, so that there is something to list; nothing is trained."""
    location = Location.find(str(storage))
    source = load_dataset(environment={}, download=False).source  # of whatever data, it is not used
    with open_database(location, create=True) as database:
        open_session(database, define("l2_factor", Overrides()), source)


def _in_turns(
    commands: dict[str, list[str]], repetitions: int
) -> tuple[list[float], dict[str, list[float]]]:
    for command in (LIBRARY, *commands.values()):
        seconds_of(command)  # reads the files into the system's cache
    library: list[float] = []
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repetitions):
        library.append(seconds_of(LIBRARY))
        for name, command in commands.items():
            taken[name].append(seconds_of(command))
    return library, taken
