"""A report in a terminal, at whatever width it has."""

from __future__ import annotations

from dataclasses import replace

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mnist_tune.reports.document import Document, Section
from mnist_tune.reports.views import KEEP, Column, View

MOST_ROWS = 40
_GAP = 2  # between columns: rich draws one cell of it


def show(document: Document, console: Console) -> None:
    """Print the whole report."""
    console.print(Text(document.title, style="bold"))
    for alert in document.alerts:
        console.print(Panel(Text(alert, style="bold"), border_style="red"))
    for section in document.sections:
        console.print()
        console.print(Text(section.title, style="bold underline"))
        _show_text(section, console)
        if section.view is not None and section.view.rows:
            _show_view(section.view, console)


def fit(view: View, width: int) -> tuple[View, tuple[str, ...]]:
    """Leave out columns until the table is narrow enough; the others' titles come second.

    Those of the highest rank go first, of equals the last; those of rank KEEP stay.
    """
    columns, dropped = list(view.columns), list[str]()
    while sum(map(_width, columns)) - _GAP > width:
        place = max(range(len(columns)), key=lambda i: (columns[i].rank, i))
        if columns[place].rank == KEEP:
            break
        dropped.insert(0, columns.pop(place).title)
    return View(tuple(columns)), tuple(dropped)


def _show_text(section: Section, console: Console) -> None:
    for line in section.text:
        console.print(_point(line) if section.listed else Text(line))


def _point(line: str) -> RenderableType:
    """A list item whose further lines are indented."""
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row(Text("•"), Text(line))
    return grid


def _show_view(view: View, console: Console) -> None:
    fitting, dropped = fit(_shortened(view), console.width)
    table = Table(box=SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), show_edge=False, pad_edge=False)
    for column in fitting.columns:
        table.add_column(Text(column.title), justify=column.align, overflow="fold")
    for row in fitting.rows:
        table.add_row(*map(Text, row), style="bold" if "best" in row else "")
    console.print(table)
    hidden = len(view.rows) - len(fitting.rows)
    notes = [f"{hidden:,} more rows (--format markdown has all)"] * bool(hidden)
    notes += [f"the columns {', '.join(dropped)}"] * bool(dropped)
    if notes:
        console.print(Text(f"Not shown: {'; '.join(notes)}.", style="dim"))


def _shortened(view: View) -> View:
    columns = (replace(column, cells=column.cells[:MOST_ROWS]) for column in view.columns)
    return View(tuple(columns))


def _width(column: Column) -> int:
    return max(map(cell_len, (column.title, *column.cells))) + _GAP
