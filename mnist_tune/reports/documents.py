"""A report as sections of text, tables and figures, and as JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from mnist_tune.reports.columns import Table
from mnist_tune.reports.figures import Figure
from mnist_tune.reports.table_formats import markdown_table
from mnist_tune.storage.records import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of a report.

    Attributes:
        key: a stable name; the section `figures` shows the document's figures.
        title: its heading.
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


def json_document(document: Document) -> str:
    """For programs: texts, and records with full precision; the unknown is null."""
    values = {
        "study": document.title,
        "alerts": document.alerts,
        "sections": {
            section.key: {
                "title": section.title,
                "text": section.text,
                "records": list(section.table.records()) if section.table else [],
            }
            for section in document.sections
        },
        "pictures": [
            {"file": f"{figure.name}.png", "caption": figure.caption} for figure in document.figures
        ],
    }
    return json.dumps(plain(values), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def markdown_document(document: Document) -> str:
    """The whole report as Markdown."""
    return "\n\n".join(_blocks(document)) + "\n"


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
