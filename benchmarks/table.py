"""Numbers that were measured, held against their targets, as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

from tabulate import tabulate

from benchmarks.machine import Machine

SCHEMA = 1
_WORDS = {True: "yes", False: "NO", None: ""}


@dataclass(frozen=True, slots=True)
class Target:
    """What a number should be.

    Attributes:
        side: `at least` includes the bound, `below` does not.
        bound: in the number's own unit.
    """

    side: Literal["at least", "below"]
    bound: float

    def met_by(self, value: float) -> bool:
        """Whether a number is on the right side."""
        return value >= self.bound if self.side == "at least" else value < self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One number.

    Attributes:
        what: it measures.
        value: of all repetitions together.
        unit: such as `s`, `×` or `%`.
        target: what it should be; None for a number that explains others.
        samples: one value for each repetition.
    """

    what: str
    value: float
    unit: str
    target: Target | None = None
    samples: tuple[float, ...] = ()

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        return self.target.met_by(self.value) if self.target else None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "met": self.met}


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one benchmark found.

    Attributes:
        name: of the benchmark.
        fast: whether it was a rehearsal, whose numbers say little about the targets.
        settings: what was measured how often.
        notes: lines that people must know besides.
        rows: the numbers.
    """

    name: str
    fast: bool
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "fast": self.fast,
            "settings": self.settings,
            "notes": list(self.notes),
            "rows": [row.to_json() for row in self.rows],
        }


def medians(what: str, unit: str, samples: Sequence[float], target: Target | None = None) -> Row:
    """A row for the median of the repetitions."""
    return Row(what=what, value=median(samples), unit=unit, target=target, samples=tuple(samples))


def ratios(
    what: str, theirs: Sequence[float], ours: Sequence[float], target: Target | None = None
) -> Row:
    """A row for how many times `theirs` is as long as `ours`, pair by pair.

    The two of a pair were measured one after the other, so that what else the machine does
    changes both.
    """
    return medians(what, "×", [t / o for t, o in zip(theirs, ours, strict=True)], target)


def document(machine: Machine, reports: Sequence[Report]) -> str:
    """All of it as JSON."""
    content = {
        "schema": SCHEMA,
        "machine": asdict(machine),
        "benchmarks": [report.to_json() for report in reports],
    }
    return json.dumps(content, indent=2, ensure_ascii=False)


def table(report: Report) -> str:
    """One benchmark for people."""
    body = [
        [row.what, f"{_short(row.value)} {row.unit}", _spread(row), _wanted(row), _WORDS[row.met]]
        for row in report.rows
    ]
    head = ["", "measured", "range", "target", "met"]
    settings = ", ".join(f"{name} {value}" for name, value in report.settings.items())
    lines = [f"{report.name}: {settings}", *report.notes]
    if report.fast:
        lines.append("--fast: a rehearsal; its numbers say little about the targets")
    aligned = tabulate(body, head, disable_numparse=True, colalign=("left", *["right"] * 4))
    return "\n".join([*lines, aligned])


def _spread(row: Row) -> str:
    if len(row.samples) < 2:
        return ""
    return f"{_short(min(row.samples))}–{_short(max(row.samples))}"


def _wanted(row: Row) -> str:
    return f"{row.target.side} {row.target.bound:g}" if row.target else ""


def _short(value: float) -> str:
    """Three digits that count, and never an exponent."""
    size = abs(value)
    places = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{places}f}"
