"""A report as Markdown, and tables for people as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from tabulate import tabulate

from mnist_tune.reports.document import Document, Section
from mnist_tune.reports.views import View


def markdown(document: Document) -> str:
    """The whole report."""
    return "\n\n".join(_blocks(document)) + "\n"


def markdown_table(view: View) -> str:
    """One table with aligned pipes."""
    return tabulate(
        [[cell.replace("|", "\\|") for cell in row] for row in view.rows],
        headers=[column.title for column in view.columns],
        tablefmt="pipe",
        colalign=[column.align for column in view.columns] if view.rows else None,
        disable_numparse=True,
    )


def _blocks(document: Document) -> Iterator[str]:
    yield f"# {document.title}"
    yield from (f"> **{alert}**" for alert in document.alerts)
    for section in document.sections:
        yield f"## {section.title}"
        yield from _body(section)
        if section.key == "figures":
            yield from (f"![{p.caption}]({p.file})\n\n{p.caption}" for p in document.pictures)


def _body(section: Section) -> Iterator[str]:
    if section.listed:
        yield "\n".join(f"- {line}" for line in section.text)
    else:
        yield from section.text
    if section.view is not None:
        yield markdown_table(section.view)
