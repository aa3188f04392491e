"""Analyses of trained networks, `denoise` and `generate`: what they rest on, what they found, their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune.reports.columns import Table
from mnist_tune.reports.export import write_files
from mnist_tune.reports.figures import Figure
from mnist_tune.reports.table_formats import frame_files, frame_of, markdown_table, reader_files
from mnist_tune.storage.records import AnalysisRow, PictureRow, json_value

Classify = Callable[[NDArray[Any]], NDArray[np.floating[Any]]]
"""Images [n, 28, 28], uint8 or floats of 0–1 → probabilities [n, 10]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnalysisInput:
    """What every analysis rests on.

    Attributes:
        classify: says what an image is.
        described: sentences about networks and data.
        alerts: what must not be overlooked, one sentence each.
        warning: the same in a few words, for the figures.
        inputs: all of it as JSON values.
    """

    classify: Classify
    described: tuple[str, ...]
    alerts: tuple[str, ...] = ()
    warning: str = ""
    inputs: Mapping[str, Any]


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
        return AnalysisRow(**self.to_json())

    @property
    def pictures(self) -> tuple[PictureRow, ...]:
        """The figures as the storage keeps them."""
        return tuple(
            PictureRow(
                analysis=self.name,
                name=figure.name,
                position=position,
                caption=figure.caption,
                png=figure.png(),
            )
            for position, figure in enumerate(self.figures)
        )

    def to_json(self) -> dict[str, Any]:
        """All but the figures, as JSON values."""
        return {
            "name": self.name,
            "title": self.title,
            "inputs": dict(self.inputs),
            "text": [*self.alerts, *self.text],
            "tables": {table.name: json_value(list(table.records())) for table in self.tables},
        }


def write_analysis(analysis: Analysis, folder: Path) -> list[Path]:
    """Write all files; those of the same names are replaced. Equal analyses give equal bytes.

    Raises:
        InputError: the folder cannot be written.
    """
    return write_files(folder, _files(analysis))


def _files(analysis: Analysis) -> Iterator[tuple[str, bytes]]:
    for table in analysis.tables:
        yield from frame_files(table.name, frame_of(table))
        yield from reader_files(table, analysis.alerts)
    for figure in analysis.figures:
        yield from figure.files()
    yield from analysis.files.items()
    yield "summary.md", _summary(analysis).encode()


def _summary(analysis: Analysis) -> str:
    """All of it as one Markdown document beside its figures."""
    lines = [f"# {analysis.title}"]
    lines += [f"> **{alert}**" for alert in analysis.alerts]
    lines += ["\n".join(f"- {line}" for line in analysis.text)]
    lines += [f"![{f.caption}]({f.name}.png)\n\n{f.caption}" for f in analysis.figures]
    for table in analysis.tables:
        heading = table.name.replace("_", " ").capitalize()
        lines += [f"## {heading}", table.caption, markdown_table(table.text())]
    return "\n\n".join(lines) + "\n"
