"""The table model: a column is named, typed, computed and written for readers in one place.

From it come data frames, CSV, JSON and Parquet for programs (names, types, full precision), and
Markdown, LaTeX, HTML and terminal tables for readers (headings, rounded text).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mnist_tune.reports.formatting import plain_text

# Where a table is too wide, columns are dropped, those of the highest number first; KEEP stays.
KEEP, USEFUL, DETAIL, SPARE = 0, 1, 2, 3

Align = Literal["left", "right"]
Value = str | Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        name: for programs; empty where the column is for readers only.
        value: path of attributes, or of places in a tuple, such as `trial.state` or `0.level`, or a
            function of the row; the name by default. The unknown is None or NaN.
        dtype: pandas type of the values.
        heading: for readers; None where the column is for programs only.
        write: value → text.
        write_all: all values → texts, where the text of one depends on the others.
        align: of the texts.
        drop: KEEP, or how soon readers do without it.
        varying: whether it is left out where all rows say the same.
    """

    name: str
    value: Value = ""
    dtype: str = "float64"
    heading: str | None = None
    write: Callable[[Any], str] = plain_text
    write_all: Callable[[Sequence[Any]], list[str]] | None = None
    align: Align = "right"
    drop: int = KEEP
    varying: bool = False

    def of(self, row: Any) -> Any:
        """The value of a row; None below a part that the row does not have."""
        if callable(self.value):
            return self.value(row)
        for part in (self.value or self.name).split("."):
            if row is not None:
                row = row[int(part)] if part.isdigit() else getattr(row, part)
        return row


@dataclass(frozen=True, slots=True)
class TextColumn:
    """One column as readers see it."""

    heading: str
    cells: tuple[str, ...] = ()
    align: Align = "right"
    drop: int = KEEP


@dataclass(frozen=True, slots=True)
class TextTable:
    """A table as readers see it."""

    columns: tuple[TextColumn, ...]

    @property
    def rows(self) -> tuple[tuple[str, ...], ...]:
        """The cells row by row."""
        return tuple(zip(*(column.cells for column in self.columns), strict=True))

    def first(self, rows: int) -> TextTable:
        """The first rows only."""
        return TextTable(
            tuple(TextColumn(c.heading, c.cells[:rows], c.align, c.drop) for c in self.columns)
        )


def fit(
    table: TextTable, room: float, width: Callable[[TextColumn], float]
) -> tuple[TextTable, tuple[str, ...]]:
    """Leave out columns until the table is narrow enough; the others' headings come second.

    Those that readers do without the soonest go first, of equals the last; KEEP stays.

    Args:
        table: with all its columns.
        room: in the unit of the widths.
        width: of a column with what stands between it and the next one.
    """
    columns, dropped = list(table.columns), list[str]()
    while sum(map(width, columns)) > room:
        place = max(range(len(columns)), key=lambda i: (columns[i].drop, i))
        if columns[place].drop == KEEP:
            break
        dropped.insert(0, columns.pop(place).heading)
    return TextTable(tuple(columns)), tuple(dropped)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows and the columns that are made of them.

    Attributes:
        name: of its files.
        rows: of any kind.
        columns: in the order of programs and of readers alike.
        caption: what the rows are.
        for_readers: the same numbers arranged for readers, such as with a column for each digit.
    """

    name: str
    rows: Sequence[Any]
    columns: Sequence[Column]
    caption: str = ""
    for_readers: Table | None = None

    @property
    def dtypes(self) -> dict[str, str]:
        """Name → pandas type of each column for programs."""
        return {column.name: column.dtype for column in self.columns if column.name}

    def records(self) -> Iterator[dict[str, Any]]:
        """Name → value with full precision, row by row."""
        named = [column for column in self.columns if column.name]
        for row in self.rows if named else ():
            yield {column.name: column.of(row) for column in named}

    def text(self) -> TextTable:
        """The table for readers."""
        if self.for_readers is not None:
            return self.for_readers.text()
        found = []
        for column in self.columns:
            if column.heading is None:
                continue
            values = [column.of(row) for row in self.rows]
            cells = column.write_all(values) if column.write_all else map(column.write, values)
            text = TextColumn(column.heading, tuple(cells), column.align, column.drop)
            if not column.varying or len(set(text.cells)) > 1:
                found.append(text)
        return TextTable(tuple(found))


def reader_column(
    heading: str,
    value: Value,
    write: Callable[[Any], str] = plain_text,
    align: Align = "right",
    drop: int = KEEP,
) -> Column:
    """A column that programs do not get, since others hold its numbers."""
    return Column("", value, heading=heading, write=write, align=align, drop=drop)
