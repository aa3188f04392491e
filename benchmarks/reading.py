"""How long people wait for what a study with many trials says, and the memory that it takes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import TOOL, CommandFailed
from benchmarks.samples import EPOCHS, SEEDS, make_trials
from benchmarks.table import Report, Row, Target

SIZES = (1_000, 10_000)
# Of the larger study, on two quiet cores.
SECONDS = {"report": Target("below", 3.0), "export": Target("below", 30.0)}
MEBIBYTES = {"export": Target("below", 1_000.0)}

# A small process between: what is forked counts the memory of its parent as its own.
_WATCH = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
code = process.returncode = os.waitstatus_to_exitcode(status)
print(json.dumps([code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""


def run(*, fast: bool, say: Callable[[str], Any]) -> Report:
    """Measure each command that reads, on studies of several sizes."""
    found: list[Row] = []
    sizes = (100,) if fast else SIZES
    for trials in sizes:
        with tempfile.TemporaryDirectory() as folder:
            storage = Path(folder, "study.db")
            make_trials(storage, trials)
            for name, arguments in _commands(Path(folder, "exported")).items():
                say(f"reading: {trials:,} trials, {name}")
                command = [*TOOL, *arguments, "--storage", str(storage)]
                seconds, mebibytes = spent(command)
                found += rows(name, trials, seconds, mebibytes, targeted=trials == sizes[-1])
    return Report(
        name="reading",
        fast=fast,
        settings={"seeds": SEEDS, "epochs": EPOCHS},
        notes=("Seconds of the processor, so that what else the machine does matters little.",),
        rows=tuple(found),
    )


def rows(
    name: str, trials: int, seconds: float, mebibytes: float, *, targeted: bool
) -> Iterator[Row]:
    """The numbers of one command; the largest study has the targets."""
    what = f"{trials:,} trials: {name}"
    limits = (SECONDS.get(name), MEBIBYTES.get(name)) if targeted else (None, None)
    yield Row(what=what, value=seconds, unit="s", target=limits[0])
    yield Row(what=f"{what}, memory", value=mebibytes, unit="MiB", target=limits[1])


def spent(command: Sequence[str]) -> tuple[float, float]:
    """Processor seconds and peak memory, in MiB, of a command that must succeed.

    Raises:
        CommandFailed: it did not.
    """
    watching = [sys.executable, "-c", _WATCH, *command]
    done = subprocess.run(watching, capture_output=True, text=True, check=True)
    code, seconds, peak = json.loads(done.stdout)
    if code:
        raise CommandFailed(f"{' '.join(command)} failed: {done.stderr[-500:].strip()}")
    # Linux counts in KiB, macOS in bytes.
    return seconds, peak / (2**20 if sys.platform == "darwin" else 2**10)


def _commands(folder: Path) -> dict[str, list[str]]:
    return {
        "list": ["list"],
        "status": ["status"],
        "best": ["best", "l2_factor"],
        "report": ["report", "l2_factor"],
        "export": ["export", "l2_factor", "--out", str(folder)],
    }
