"""Starts measurements in processes of their own, and other commands in a given environment."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from mnist_tune.errors import MnistTuneError

MEASUREMENTS = "benchmarks.measured"
TOOL = (sys.executable, "-m", "mnist_tune")
_LAST_LINES = 5


class CommandFailed(MnistTuneError):
    """A command that was to be measured failed."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What measurements that ran side by side came to.

    Attributes:
        results: of each process.
        start_seconds: until the last of them was ready: imports and data.
        seconds: from the word to the end of the last of them.
    """

    results: tuple[dict[str, Any], ...]
    start_seconds: float
    seconds: float


def measure(
    name: str, settings: dict[str, Any], *, processes: int = 1, module: str = MEASUREMENTS
) -> Measured:
    """Run a measurement in fresh processes, all at the same time.

    Args:
        name: of the measurement.
        settings: its arguments.
        processes: how many.
        module: that has it and follows the protocol of `benchmarks.measured`.

    Raises:
        CommandFailed: one of them ended early; its last lines are the message.
    """
    with ExitStack() as stack:
        began = time.perf_counter()
        waiting = [
            stack.enter_context(_Waiting([module, name, json.dumps(settings)]))
            for _ in range(processes)
        ]
        for process in waiting:
            process.line()  # ready
        ready = time.perf_counter()
        for process in waiting:
            process.go()
        results = tuple(json.loads(process.line()) for process in waiting)
        return Measured(results, ready - began, time.perf_counter() - ready)


class _Waiting:
    """One process, from its start to its result; used as a context manager."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self._command = [sys.executable, "-m", *arguments]

    def __enter__(self) -> _Waiting:
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.communicate()
        self._errors.close()

    def go(self) -> None:
        """Let it measure."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def line(self) -> str:
        """Wait for the next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise CommandFailed(_last_lines(self._command, self._errors.read()))
        return line


def seconds_of(command: Sequence[str]) -> float:
    """Wall-clock time of a command that must succeed.

    Raises:
        CommandFailed: it did not.
    """
    began = time.perf_counter()
    output_of(command)
    return time.perf_counter() - began


def output_of(command: Sequence[str]) -> str:
    """What a command that must succeed prints to stderr.

    Raises:
        CommandFailed: it did not succeed.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(_last_lines(command, done.stderr))
    return done.stderr


class Tool:
    """`mnist-tune` at work on a storage of its own; used as a context manager.

    Args:
        arguments: of the command, without the storage.
        storage: database file; what the command says goes to a log beside it.
    """

    def __init__(self, arguments: Sequence[str], storage: Path) -> None:
        self._command = [*TOOL, *arguments, "--storage", str(storage)]
        self._log = storage.with_suffix(".log")

    def __enter__(self) -> Tool:
        with self._log.open("w") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        self.pid = self._process.pid
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.wait()

    def ended(self, patience_seconds: float | None = None) -> bool:
        """Wait for the end, at most so long.

        Raises:
            CommandFailed: it ended with an error.
        """
        try:
            code = self._process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            return False
        if code:
            raise CommandFailed(_last_lines(self._command, self._log.read_text()))
        return True


def _last_lines(command: Sequence[str], said: str) -> str:
    lines = said.strip().splitlines()[-_LAST_LINES:]
    return f"{' '.join(command)} failed: " + (" | ".join(lines) or "it said nothing")
