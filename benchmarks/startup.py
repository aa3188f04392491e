"""How long a short study takes from outside, phase by phase, beside the import of TensorFlow."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import data_notes
from benchmarks.processes import TOOL, CommandFailed, seconds_of
from benchmarks.table import Report, Row, Target, medians, ratios
from mnist_tune.data.sources import load_dataset

IMPORT = (sys.executable, "-c", "import tensorflow")
SHORT = ("run", "notebook_mlp", "--seeds", "2", "--epochs", "1", "--no-confirm")
COMMANDS = {
    "notebook_mlp, 2 seeds × 1 epoch": SHORT,
    "l2_factor --quick": ("run", "l2_factor", "--quick"),
}
# Phase → what the line has in it with which it begins; the first line begins the first.
PHASES = {
    "first line": "",
    "workers are started": "starting ",
    "training begins": " begin",
    "first trial has ended": ": validation ",
    "report": "Verdict",
}

WHOLE = Target("below", 1.2)  # times the import
FIRST_LINE = Target("below", 0.5)  # s
END = Target("below", 1.0)  # s
HALF = Target("at least", 2.0)  # times as fast as before


def run(*, repetitions: int, against: Path | None, fast: bool, say: Callable[[str], Any]) -> Report:
    """Measure the commands in turns with the import, and with those of another checkout.

    Args:
        repetitions: of each.
        against: another checkout with a `.venv`, such as one of an older commit.
        fast: whether this is a rehearsal.
        say: tells people a line.
    """
    source = load_dataset(log=say).source
    imports: list[float] = []
    ours: dict[str, list[dict[str, float]]] = {name: [] for name in COMMANDS}
    theirs: dict[str, list[dict[str, float]]] = {name: [] for name in COMMANDS if against}
    seconds_of(IMPORT)  # reads the files into the system's cache
    for number in range(repetitions):
        say(f"startup: repetition {number + 1} of {repetitions}")
        imports.append(seconds_of(IMPORT))
        for name, command in COMMANDS.items():
            ours[name].append(timed(command))
            if against is not None:
                theirs[name].append(timed(command, against))
    return Report(
        name="startup",
        fast=fast,
        settings={"repetitions": repetitions},
        notes=(
            *data_notes(source),
            "Seconds since the start of the command, its last line and end.",
        ),
        rows=rows(imports, ours, theirs),
    )


def rows(
    imports: Sequence[float],
    ours: Mapping[str, Sequence[Mapping[str, float]]],
    theirs: Mapping[str, Sequence[Mapping[str, float]]],
) -> tuple[Row, ...]:
    """Put the times together.

    Args:
        imports: seconds of importing TensorFlow, one for each repetition.
        ours: command → seconds until each phase, of each repetition.
        theirs: the same of another checkout; empty without one.
    """
    found = [medians("import tensorflow", "s", imports)]
    for name, runs in ours.items():
        found += _rows(name, runs)
        if name in theirs:
            found += _rows(f"{name}, other checkout", theirs[name], wanted=False)
            what = f"{name}: other checkout, times ours"
            found.append(ratios(what, _ends(theirs[name]), _ends(runs), HALF))
    ends = _ends(ours[next(iter(COMMANDS))])
    found.append(ratios("notebook_mlp, times the import", ends, imports, WHOLE))
    return tuple(found)


def _rows(name: str, runs: Sequence[Mapping[str, float]], *, wanted: bool = True) -> list[Row]:
    targets = {"first line": FIRST_LINE} if wanted else {}
    found = [
        medians(f"{name}: {phase}", "s", [run[phase] for run in runs], targets.get(phase))
        for phase in (*PHASES, "last line", "end")
        if all(phase in run for run in runs)
    ]
    after = [run["end"] - run["last line"] for run in runs]
    found.append(medians(f"{name}: end after the last line", "s", after, END if wanted else None))
    return found


def _ends(runs: Sequence[Mapping[str, float]]) -> list[float]:
    return [run["end"] for run in runs]


def timed(command: Sequence[str], checkout: Path | None = None) -> dict[str, float]:
    """Seconds until each phase of a command has begun, its last line, and its end.

    Args:
        command: of `mnist-tune`.
        checkout: whose it is; None is this one.

    Raises:
        CommandFailed: it did not succeed.
    """
    tool = TOOL if checkout is None else (str(checkout / ".venv/bin/python"), *TOOL[1:])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        words = [*tool, *command, "--storage", str(Path(folder, "study.db"))]
        began = time.perf_counter()
        with subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=checkout
        ) as process:
            assert process.stdout is not None
            lines = [(time.perf_counter() - began, line) for line in process.stdout]
            process.wait()
        end = time.perf_counter() - began
    if process.returncode:
        raise CommandFailed(f"{' '.join(words)} failed: {lines[-1][1] if lines else 'no line'}")
    return {**phases(lines), "last line": lines[-1][0], "end": end}


def phases(lines: Sequence[tuple[float, str]]) -> dict[str, float]:
    """When each phase began, by the first line that tells of it."""
    found: dict[str, float] = {}
    for seconds, line in lines:
        for phase, words in PHASES.items():
            if phase not in found and words in line:
                found[phase] = seconds
    return found
