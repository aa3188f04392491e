"""Notes in the dashboard's Markdown: of a study the state of things, of a trial its test results."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mnist_tune.metrics import ACCURACY
from mnist_tune.reports import numbers
from mnist_tune.reports.markdown import markdown_table
from mnist_tune.reports.origins import origins
from mnist_tune.reports.results import Results
from mnist_tune.reports.verdict import verdict
from mnist_tune.reports.views import (
    USEFUL,
    Column,
    View,
    baselines_view,
    configurations_view,
    references_view,
)
from mnist_tune.reports.warnings import warnings

_MOST_ROWS = 20  # of configurations; more would push everything else out of sight
_SPACE = "\u00a0"  # the dashboard puts hardly any between columns
_YOURS = "*Below this line the note is yours: what you write here stays.*"


def study_note(results: Results) -> str:
    """Verdict, completeness, configurations, published numbers, warnings and what to type next."""
    return "\n\n".join(_study_blocks(results))


def early_note(name: str, question: str) -> str:
    """The same for a study of which no trial has ended."""
    return "\n\n".join([f"## {name}", question, "No trial has ended yet.", _commands(name)])


def test_note(results: Results) -> str:
    """Of the confirmed trial: the verdict, and its test result seed by seed."""
    latest, metric = results.latest, results.metric
    assert latest is not None, "the test set is sealed"
    rows = [
        (str(seed), numbers.percent(value, metric)) for seed, value in latest.accuracies.items()
    ]
    view = View(
        (
            Column("seed", tuple(seed for seed, _ in rows)),
            Column(f"test {metric.name} {metric.unit}", tuple(value for _, value in rows)),
        )
    )
    return "\n\n".join([f"**{verdict(results)[0]}**", _table(view)])


def with_theirs(text: str, before: str) -> str:
    """A new note, and below it what somebody wrote under the old one."""
    _, mark, theirs = before.partition(_YOURS)
    kept = theirs.strip("\n") if mark else before.strip("\n")
    return f"{text}\n\n---\n\n{_YOURS}\n\n{kept}".rstrip("\n") + "\n"


def _study_blocks(results: Results) -> Iterator[str]:
    provenance = results.provenance
    found = warnings(results)
    yield f"## {provenance.name}"
    yield from (f"> **{warning.text}**" for warning in found if warning.loud)
    first, *rest = verdict(results)
    yield f"**{first}**"
    yield from rest
    yield "\n".join(f"- {line}" for line in origins(results)[:3])
    yield from _configurations(results)
    yield from _published(results)
    quiet = [warning.text for warning in found if not warning.loud]
    if quiet:
        yield "### Warnings\n\n" + "\n".join(f"- {text}" for text in quiet)
    yield _commands(provenance.name)


def _configurations(results: Results) -> Iterator[str]:
    yield "### Configurations"
    view = configurations_view(results)
    total = len(results.configurations)
    yield _table(_narrow(_first(view, _MOST_ROWS)))
    if total > _MOST_ROWS:
        name = shlex.quote(results.provenance.name)
        yield f"The first {_MOST_ROWS} of {total:,}; `mnist-tune report {name} --format markdown` shows all."
    yield "Mean ± standard deviation over seeds. ≈ best: not distinguishable from the best."


def _published(results: Results) -> Iterator[str]:
    mine = [entry for entry in results.comparisons if entry.scores == results.latest]
    if results.metric is ACCURACY and mine:
        yield "### Published numbers"
        yield _table(_narrow(baselines_view(mine)))
    elif results.references:
        yield "### References"
        yield _table(references_view(results.references))


def _commands(name: str) -> str:
    quoted = shlex.quote(name)
    lines: Sequence[tuple[str, str]] = (
        (f"mnist-tune resume {quoted}", "goes on, after an interruption"),
        (f"mnist-tune report {quoted}", "verdict, every seed, baselines, warnings"),
        (f"mnist-tune export {quoted} --out DIR", "tables and figures for a paper"),
    )
    width = max(len(command) for command, _ in lines)
    return "```\n" + "\n".join(f"{c:<{width}}   # {what}" for c, what in lines) + "\n```"


def _table(view: View) -> str:
    head, rule, *rows = markdown_table(view).splitlines()
    wide = [
        line.replace("| ", f"| {_SPACE}").replace(" |", f"{_SPACE} |") for line in (head, *rows)
    ]
    return "\n".join([wide[0], rule, *wide[1:]])


def _first(view: View, rows: int) -> View:
    return View(tuple(replace(column, cells=column.cells[:rows]) for column in view.columns))


def _narrow(view: View) -> View:
    """Without the columns that go first where there is no room."""
    return View(tuple(column for column in view.columns if column.rank <= USEFUL))
