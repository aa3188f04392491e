"""A report as sections of text, tables and figures: as JSON, Markdown, terminal text and HTML.

Its sentences are rendered from the templates in `templates/`.
"""

from __future__ import annotations

import base64
import json
import math
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from mnist_tune.commands import GLUE, unbroken
from mnist_tune.metrics import ACCURACY
from mnist_tune.reports import formatting
from mnist_tune.reports.columns import Table, TextColumn, TextTable, fit
from mnist_tune.reports.figures import Figure
from mnist_tune.reports.table_formats import markdown_table
from mnist_tune.statistics.means import FEW_SEEDS, SECOND_LOOK_ALPHA
from mnist_tune.storage.records import json_value

if TYPE_CHECKING:
    from rich.console import Console

MOST_ROWS = 40  # of a table in a terminal
_GAP = 2  # between its columns: rich draws one cell of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of a report.

    Attributes:
        key: a stable name; the section `figures` shows the document's figures.
        title: its heading; empty for text right below the document's title.
        text: paragraphs, or the items of a list.
        listed: whether the text is a list.
        table: for readers and, with full precision, for programs.
    """

    key: str
    title: str
    text: tuple[str, ...] = ()
    listed: bool = False
    table: Table | None = None


@dataclass(frozen=True, slots=True)
class Document:
    """A report.

    Attributes:
        title: such as the study's name.
        alerts: what must be read before anything else; mostly nothing.
        sections: in order.
        figures: shown in the section `figures`, as files beside the report or inside a page.
    """

    title: str
    alerts: tuple[str, ...]
    sections: tuple[Section, ...]
    figures: tuple[Figure, ...] = ()


def rendered(template: str, **values: Any) -> str:
    """Render a template as it stands."""
    return _environment().get_template(f"{template}.jinja").render(values)


def paragraphs(template: str, **values: Any) -> tuple[str, ...]:
    """Render a template: blank lines separate paragraphs, of which each becomes one line."""
    text = rendered(template, **values)
    # Names that people gave keep their spaces.
    blocks = (re.sub(r"\s*\n\s*", " ", block.strip()) for block in text.split("\n\n"))
    return tuple(block for block in blocks if block)


def caption(kind: str, **values: Any) -> str:
    """What a figure shows."""
    return paragraphs("captions", kind=kind, **values)[0]


def sections_of(template: str, **values: Any) -> list[Section]:
    """Render a template with sections, each below a paragraph `## key | title`."""
    found: list[Section] = []
    for line in paragraphs(template, **values):
        if line.startswith("## "):
            key, title = line[3:].split(" | ")
            found.append(Section(key=key, title=title))
        else:
            found[-1] = replace(found[-1], text=(*found[-1].text, line))
    return found


def json_document(document: Document) -> str:
    """For programs: records with full precision, the unknown as null; all sentences in `prose`."""
    values: dict[str, Any] = {
        "study": document.title,
        **{s.key: list(s.table.records()) for s in document.sections if s.table},
        "prose": {
            "alerts": document.alerts,
            **{section.key: section.text for section in document.sections if section.text},
        },
    }
    return json.dumps(json_value(values), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def markdown_document(document: Document) -> str:
    """The whole report as Markdown."""
    return "\n\n".join(_blocks(document)) + "\n"


def terminal_text(document: Document, width: int | None = None) -> str:
    """The whole report as it is printed, by default as wide as the terminal."""
    from rich.console import Console

    console = Console(width=width)
    with console.capture() as captured:
        _print(document, console)
    return captured.get().replace(GLUE, " ")


def html_page(title: str, documents: Sequence[Document]) -> str:
    """One self-contained page; of several documents each gets its part in the list of contents."""
    helpers = {"anchor": _anchor, "code": _code, "uri": _uri, "dots": _dots}
    template = _environment().get_template("page.html.jinja")
    return template.render(title=title, documents=documents, **helpers)


def _blocks(document: Document) -> Iterator[str]:
    yield f"# {document.title}"
    yield from (f"> **{alert}**" for alert in document.alerts)
    for section in document.sections:
        yield f"## {section.title}"
        if section.listed:
            yield "\n".join(f"- {line}" for line in section.text)
        else:
            yield from section.text
        if section.table is not None and (text := section.table.text()).columns:
            yield markdown_table(text)
        if section.key == "figures":
            yield from (f"![{f.caption}]({f.name}.png)\n\n{f.caption}" for f in document.figures)


def _print(document: Document, console: Console) -> None:
    from rich.panel import Panel
    from rich.text import Text

    console.print(Text(document.title, style="bold"))
    for alert in document.alerts:
        console.print(Panel(Text(alert, style="bold"), border_style="red"))
    for section in document.sections:
        if section.title:
            console.print()
            console.print(Text(section.title, style="bold underline"))
        _print_text(section, console)
        if section.table is not None and (text := section.table.text()).rows:
            _print_table(text, console)


def _print_text(section: Section, console: Console) -> None:
    from rich.table import Table as Grid
    from rich.text import Text

    for line in section.text:
        item = Grid.grid(padding=(0, 1, 0, 0))  # its further lines are indented
        text = Text(unbroken(line))
        item.add_row(Text("•"), text)
        console.print(item if section.listed else text)


def _print_table(text: TextTable, console: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as Grid
    from rich.text import Text

    fitting, dropped = fit(text.first(MOST_ROWS), console.width + _GAP, _width)
    grid = Grid(box=SIMPLE_HEAD, padding=(0, _GAP - 1, 0, 0), show_edge=False, pad_edge=False)
    for column in fitting.columns:
        grid.add_column(Text(column.heading), justify=column.align, overflow="fold")
    for row in fitting.rows:
        grid.add_row(*map(Text, row), style="bold" if "best" in row else "")
    console.print(grid)
    hidden = len(text.rows) - len(fitting.rows)
    notes = [f"{hidden:,} more rows (--format markdown has all)"] * bool(hidden)
    notes += [f"the columns {', '.join(dropped)}"] * bool(dropped)
    if notes:
        console.print(Text(f"Not shown: {'; '.join(notes)}.", style="dim"))


def _width(column: TextColumn) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, (column.heading, *column.cells))) + _GAP


def _anchor(text: str) -> str:
    """Text as the name of a place in the page."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"


def _code(text: str) -> str:
    """Escaped text with commands in backticks as code."""
    from markupsafe import Markup

    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(Markup.escape(text))))


def _dots(png: bytes) -> int:
    """Width of a picture, which its first chunk tells."""
    return int.from_bytes(png[16:20])


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


@cache
def _environment() -> Environment:
    """Templates with the functions that write numbers; a page of HTML is escaped."""
    found = Environment(
        loader=FunctionLoader(_source),
        autoescape=lambda name: ".html" in (name or ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.globals |= {
        name: getattr(formatting, name) for name in vars(formatting) if name[0] != "_"
    }
    found.globals |= {
        "ACCURACY": ACCURACY,
        "few_seeds": FEW_SEEDS,
        "second_look": SECOND_LOOK_ALPHA,
    }
    found.filters |= {
        "quoted": shlex.quote,
        "describe": lambda entry, results: results.describe(entry),
    }
    found.tests["nan"] = math.isnan
    return found


def _source(name: str) -> str:
    return (resources.files("mnist_tune.reports") / "templates" / name).read_text(encoding="utf-8")
