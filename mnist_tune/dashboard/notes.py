"""Notes in the dashboard as Markdown: the summary of a study, the test results of a trial."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from mnist_tune.commands import as_called, command_line
from mnist_tune.metrics import ACCURACY
from mnist_tune.reports import formatting
from mnist_tune.reports.columns import USEFUL, Table, TextTable, reader_column
from mnist_tune.reports.results import StudyResults
from mnist_tune.reports.study_report import provenance_lines, study_warnings, verdict
from mnist_tune.reports.table_formats import markdown_table
from mnist_tune.reports.tables import (
    configurations_table,
    metric_heading,
    published_table,
    references_table,
)

_MOST_ROWS = 20  # of configurations; more would push everything else out of sight
_SPACE = "\u00a0"  # the dashboard puts hardly any between columns
_YOURS = "*Below this line the note is yours: what you write here stays.*"


def study_note(results: StudyResults) -> str:
    """Verdict, completeness, configurations, published numbers, warnings and what to type next."""
    return as_called("\n\n".join(_study_blocks(results)))


def early_note(name: str, question: str) -> str:
    """The same for a study of which no trial has ended."""
    return "\n\n".join([f"## {name}", question, "No trial has ended yet.", _commands(name)])


def test_note(results: StudyResults) -> str:
    """Of the confirmed trial: the verdict, and its test result seed by seed."""
    latest, metric = results.latest, results.metric
    assert latest is not None, "the test set is sealed"
    value = reader_column(
        f"test {metric_heading(metric)}",
        "1",
        lambda value: formatting.metric_value(value, metric),
    )
    columns = (reader_column("seed", "0"), value)
    table = Table("seeds", list(latest.values.items()), columns)
    return "\n\n".join([f"**{verdict(results)[0]}**", _table(table.text())])


def with_theirs(text: str, before: str) -> str:
    """A new note, and below it what somebody wrote under the old one."""
    _, mark, theirs = before.partition(_YOURS)
    kept = theirs.strip("\n") if mark else before.strip("\n")
    return f"{text}\n\n---\n\n{_YOURS}\n\n{kept}".rstrip("\n") + "\n"


def _study_blocks(results: StudyResults) -> Iterator[str]:
    provenance = results.provenance
    found = study_warnings(results)
    yield f"## {provenance.name}"
    yield from (f"> **{warning.text}**" for warning in found if warning.alerting)
    first, *rest = verdict(results)
    yield f"**{first}**"
    yield from rest
    yield "\n".join(f"- {line}" for line in provenance_lines(results)[:3])
    yield from _configurations(results)
    yield from _published(results)
    quiet = [warning.text for warning in found if not warning.alerting]
    if quiet:
        yield "### Warnings\n\n" + "\n".join(f"- {text}" for text in quiet)
    yield _commands(provenance.name)


def _configurations(results: StudyResults) -> Iterator[str]:
    yield "### Configurations"
    total = len(results.trials)
    yield _table(_narrow(configurations_table(results).text().first(_MOST_ROWS)))
    if total > _MOST_ROWS:
        name = shlex.quote(results.provenance.name)
        yield f"The first {_MOST_ROWS} of {total:,}; `mnist-tune report {name} --format markdown` shows all."
    yield "Mean ± standard deviation over seeds. ≈ best: not distinguishable from the best."


def _published(results: StudyResults) -> Iterator[str]:
    if results.metric is ACCURACY and results.latest_comparisons:
        yield "### Published numbers"
        yield _table(_narrow(published_table(results).text()))
    elif results.references:
        yield "### References"
        yield _table(references_table(results).text())


def _commands(name: str) -> str:
    quoted = shlex.quote(name)
    lines: Sequence[tuple[str, str]] = (
        (command_line(f"resume {quoted}"), "after an interruption"),
        (command_line(f"report {quoted}"), "verdict, every seed, baselines, warnings"),
        (command_line(f"export {quoted} --out DIR"), "tables and figures for a paper"),
    )
    width = max(len(command) for command, _ in lines)
    return "```\n" + "\n".join(f"{c:<{width}}   # {what}" for c, what in lines) + "\n```"


def _table(table: TextTable) -> str:
    head, rule, *rows = markdown_table(table).splitlines()
    wide = [
        line.replace("| ", f"| {_SPACE}").replace(" |", f"{_SPACE} |") for line in (head, *rows)
    ]
    return "\n".join([wide[0], rule, *wide[1:]])


def _narrow(table: TextTable) -> TextTable:
    """Without the columns that go first where there is no room."""
    return TextTable(tuple(column for column in table.columns if column.drop <= USEFUL))
