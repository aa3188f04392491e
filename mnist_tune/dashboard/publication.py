"""Updates the notes and the lists of artifacts that the dashboard shows of a study.

A note is Markdown; it changes whenever a trial ends. Pictures and tables are only announced: the dashboard draws each
when somebody looks at it. Those of a trial it has announced itself, before it ended; those of the whole
study are announced when the search or a confirmation is over.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from sqlalchemy import text

from mnist_tune.commands import as_called, command_line
from mnist_tune.dashboard.artifacts import Artifact, analyses_about, of_study
from mnist_tune.errors import Incomplete
from mnist_tune.metrics import ACCURACY
from mnist_tune.reports import formatting
from mnist_tune.reports.columns import USEFUL, Table, TextTable, reader_column
from mnist_tune.reports.documents import rendered
from mnist_tune.reports.results import StudyResults, read_results
from mnist_tune.reports.study_report import (
    next_commands,
    provenance_lines,
    study_warnings,
    verdict,
)
from mnist_tune.reports.table_formats import markdown_table
from mnist_tune.reports.tables import (
    configurations_table,
    metric_heading,
    published_table,
    references_table,
)
from mnist_tune.storage.artifacts import DashboardArtifact, list_artifacts, read_note, write_note
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import OptunaStudy, load_study
from mnist_tune.storage.overview import studies_overview
from mnist_tune.storage.records import AnalysisRow, StudyRow
from mnist_tune.storage.store import Store

_MOST_ROWS = 20  # of configurations; more would push everything else out of sight
_SPACE = "\u00a0"  # the dashboard puts hardly any between columns
_YOURS = "*Below this line the note is yours: what you write here stays.*"
_NOTED = text(
    "SELECT DISTINCT study_name FROM studies JOIN study_system_attributes USING (study_id) "
    "WHERE key LIKE 'dashboard:note_str:%'"
)


def publish(database: Database, study: OptunaStudy, row: StudyRow, *, whole: bool) -> None:
    """Write the note, and announce what there is to see.

    Args:
        database: that holds the study.
        study: its Optuna half.
        row: its row in our tables.
        whole: also list the artifacts of the whole study.

    Raises:
        StorageError: the database fails.
    """
    with database.reading() as connection:
        try:
            results = read_results(connection, row.name)
        except Incomplete:
            _write_note(study, _early_note(row))
            return
        store = Store(database)
        artifacts = list(of_study(connection, results, store))
        _write_note(study, _study_note(results, artifacts, analyses_about(results, store)))
    latest = results.latest
    confirmed = None if latest is None or not latest.confirmation else latest.trial_number
    if confirmed is not None:
        write_note(study, _test_note(results), confirmed)
    if whole:
        list_artifacts(study, [artifact.shown for artifact in artifacts])
        if confirmed is not None:
            own = [artifact.shown for artifact in artifacts if artifact.confirmed]
            list_artifacts(study, own, confirmed)


def publish_again(location: Location, name: str) -> None:
    """Bring everything up to date that a study lists while nobody works on it.

    Raises:
        StorageError: there is no such study, or the database fails.
    """
    with open_database(location, create=False) as database:
        row = Store(database).study(name)
        study = load_study(database, name=row.name, uid=row.uid)
        publish(database, study, row, whole=True)


def unpublished(location: Location) -> tuple[str, ...]:
    """Names of studies with results and without a note, on which nobody works."""
    idle = [o.name for o in studies_overview(location) if o.holder is None and o.counts.finished]
    if not idle:
        return ()
    with (
        open_database(location, create=False, read_only=True) as database,
        database.reading() as connection,
    ):
        noted = set(connection.execute(_NOTED).scalars())
    return tuple(name for name in idle if name not in noted)


def _write_note(study: OptunaStudy, note: str) -> None:
    """Replace the note of a study, but for what somebody wrote below the old one."""
    before = read_note(study)
    _, mark, theirs = before.partition(_YOURS)
    kept = theirs.strip("\n") if mark else before.strip("\n")
    write_note(study, f"{note}\n\n---\n\n{_YOURS}\n\n{kept}".rstrip("\n") + "\n")


def _early_note(row: StudyRow) -> str:
    """Of a study of which no trial has ended."""
    resume = (f"mnist-tune resume {shlex.quote(row.name)}", "trains the trials that are missing")
    parts = [f"## {row.name}", row.question, "No trial has ended yet.", _commands([resume])]
    return "\n\n".join(parts)


def _study_note(
    results: StudyResults, artifacts: Sequence[Artifact], analyses: Sequence[AnalysisRow]
) -> str:
    """Verdict, completeness, configurations, published numbers, warnings, what to type, figures."""
    compared = None
    if results.metric is ACCURACY and results.latest_comparisons:
        compared = "Published numbers", _table(_narrow(published_table(results).text()))
    elif results.references:
        compared = "References", _table(references_table(results).text())
    note = rendered(
        "note",
        r=results,
        verdict=verdict(results),
        provenance=provenance_lines(results),
        warnings=study_warnings(results),
        configurations=_table(_narrow(configurations_table(results).text().first(_MOST_ROWS))),
        most_rows=_MOST_ROWS,
        compared=compared,
        commands=_commands(next_commands(results)),
        pictures=[_picture(a.shown) for a in artifacts if a.is_result] if results.best else [],
        analyses=[
            (row, [_picture(a.shown) for a in artifacts if a.shown.name.startswith(f"{row.name}_")])
            for row in analyses
        ],
    )
    return as_called(re.sub(r"\n{3,}", "\n\n", note).strip())


def _test_note(results: StudyResults) -> str:
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


def _commands(commands: Sequence[tuple[str, str]]) -> str:
    lines = [
        (command_line(command.removeprefix("mnist-tune ")), what)
        for command, what in commands
        if not command.startswith("mnist-tune dashboard")
    ]
    width = max(len(command) for command, _ in lines)
    return "```\n" + "\n".join(f"{c:<{width}}   # {what}" for c, what in lines) + "\n```"


def _picture(shown: DashboardArtifact) -> str:
    """A picture that opens in full on a click."""
    name = shown.name.removesuffix(".png").replace("_", " ")
    return f"[![{name}]({shown.path})]({shown.path})"


def _table(table: TextTable) -> str:
    head, rule, *rows = markdown_table(table).splitlines()
    wide = [
        line.replace("| ", f"| {_SPACE}").replace(" |", f"{_SPACE} |") for line in (head, *rows)
    ]
    return "\n".join([wide[0], rule, *wide[1:]])


def _narrow(table: TextTable) -> TextTable:
    """Without the columns that go first where there is no room."""
    return TextTable(tuple(column for column in table.columns if column.drop <= USEFUL))
