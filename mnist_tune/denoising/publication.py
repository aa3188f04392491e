"""What an analysis found out, as files of every format and as rows of the storage."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from mnist_tune.errors import InputError
from mnist_tune.files import write_atomically
from mnist_tune.reports import formats
from mnist_tune.reports.latex import latex_table
from mnist_tune.reports.markdown import markdown_table
from mnist_tune.reports.views import View
from mnist_tune.storage.records import AnalysisRow, PictureRow

File = tuple[str, bytes]


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """One table, for programs and for people.

    Attributes:
        name: of its files, without suffix.
        caption: what its rows are.
        frame: tidy, with full precision; the unknown is missing.
        view: rounded, as text.
    """

    name: str
    caption: str
    frame: pd.DataFrame
    view: View

    @property
    def records(self) -> list[dict[str, Any]]:
        """The rows as JSON values."""
        found: list[dict[str, Any]] = json.loads(formats.json(self.frame))
        return found


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure.

    Attributes:
        name: of its files, without suffix.
        caption: one or two sentences.
        png, svg: the files.
    """

    name: str
    caption: str
    png: bytes
    svg: bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Analysis:
    """What a command such as `denoise` found out.

    Attributes:
        name: of the command.
        title: a heading.
        inputs: JSON values: networks, data, options.
        alerts: what must not be overlooked, one sentence each.
        text: the findings in plain sentences, after the alerts.
        tables, figures: in reading order; the first table is the one that the command prints.
        files: further files, name → content.
    """

    name: str
    title: str
    inputs: Mapping[str, Any]
    alerts: tuple[str, ...]
    text: tuple[str, ...]
    tables: tuple[Table, ...]
    figures: tuple[Figure, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def row(self) -> AnalysisRow:
        """As the storage keeps it."""
        return AnalysisRow(
            name=self.name,
            title=self.title,
            inputs=self.inputs,
            tables={table.name: table.records for table in self.tables},
            text=(*self.alerts, *self.text),
        )

    @property
    def pictures(self) -> tuple[PictureRow, ...]:
        """The figures as the storage keeps them."""
        return tuple(
            PictureRow(
                analysis=self.name,
                name=figure.name,
                position=position,
                caption=figure.caption,
                png=figure.png,
            )
            for position, figure in enumerate(self.figures)
        )

    def to_json(self) -> dict[str, Any]:
        """All but the pictures, as JSON values."""
        return {
            "name": self.name,
            "title": self.title,
            "inputs": dict(self.inputs),
            "text": [*self.alerts, *self.text],
            "tables": {table.name: table.records for table in self.tables},
        }


def prepare(folder: Path) -> None:
    """Make the folder, and see whether files can be written there, before any work is done.

    Raises:
        InputError: they cannot.
    """
    probe = folder / f".mnist-tune.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _not_writable(folder, error) from error


def publish(analysis: Analysis, folder: Path) -> list[Path]:
    """Write all files; those of the same names are replaced. Equal analyses give equal bytes.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [write_atomically(folder / name, content) for name, content in _files(analysis)]
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(folder: Path, error: OSError) -> InputError:
    reason = error.strerror or error
    return InputError(f"cannot write to {folder}: {reason}; give another --out")


def _files(analysis: Analysis) -> Iterator[File]:
    quoted = "".join(f"> **{alert}**\n\n" for alert in analysis.alerts)
    commented = "".join(f"% {alert}\n" for alert in analysis.alerts)
    for table in analysis.tables:
        yield f"{table.name}.csv", formats.csv(table.frame)
        yield f"{table.name}.json", formats.json(table.frame)
        yield f"{table.name}.parquet", formats.parquet(table.frame)
        yield f"{table.name}.md", f"{quoted}{markdown_table(table.view)}\n".encode()
        yield f"{table.name}.tex", f"{commented}{latex_table(table.view)}".encode()
    for figure in analysis.figures:
        yield f"{figure.name}.png", figure.png
        yield f"{figure.name}.svg", figure.svg
    yield from analysis.files.items()
    yield "summary.md", summary(analysis).encode()


def summary(analysis: Analysis) -> str:
    """All of it as one Markdown document beside its figures."""
    lines = [f"# {analysis.title}"]
    lines += [f"> **{alert}**" for alert in analysis.alerts]
    lines += ["\n".join(f"- {line}" for line in analysis.text)]
    lines += [f"![{f.caption}]({f.name}.png)\n\n{f.caption}" for f in analysis.figures]
    for table in analysis.tables:
        lines += [f"## {_heading(table.name)}", table.caption, markdown_table(table.view)]
    return "\n\n".join(lines) + "\n"


def _heading(name: str) -> str:
    return re.sub("_", " ", name).capitalize()
