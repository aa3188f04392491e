"""The report of one study: its sections, from the verdict to how each number is computed."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from types import SimpleNamespace

from mnist_tune.reports import formatting
from mnist_tune.reports.columns import Column, Table
from mnist_tune.reports.configurations import RankedTrial
from mnist_tune.reports.confusions import PredictionErrors, confusion_table, error_sentences
from mnist_tune.reports.documents import Document, Section, paragraphs, sections_of
from mnist_tune.reports.figures import Figure
from mnist_tune.reports.provenance import SearchedParameter
from mnist_tune.reports.results import StudyResults
from mnist_tune.reports.tables import (
    configurations_table,
    importances_table,
    layers_table,
    published_table,
    references_table,
    seeds_table,
)
from mnist_tune.statistics.means import summarise
from mnist_tune.study import STARTUP_TRIALS

_NEAR = 0.01  # share of a searched range that counts as its edge
_ALERTING = ("rehearsal", "embedded", "notebook")
_LISTED = ("provenance", "warnings", "methods")
_SHORT_ROWS, _SHORT_CHARACTERS = 5, 380


@dataclass(frozen=True, slots=True)
class StudyWarning:
    """One reason for doubt: a stable key, and one sentence or two."""

    key: str
    text: str

    @property
    def alerting(self) -> bool:
        """Whether it must stand above everything else."""
        return self.key in _ALERTING


def study_report(
    results: StudyResults,
    figures: Sequence[Figure] = (),
    errors: PredictionErrors | str | None = None,
) -> Document:
    """Say all there is to say of a study.

    Args:
        results: of the study.
        figures: that are shown beside the text.
        errors: of the confirmed classifier, or why they are not known; None says nothing of them.
    """
    warnings, networks = study_warnings(results), results.selected_networks
    errors_text = (
        (errors,) if isinstance(errors, str) else error_sentences(errors) if errors else ()
    )
    sections = sections_of(
        "study",
        r=results,
        verdict=verdict(results),
        origins=provenance_lines(results),
        errors=errors_text,
        networks=networks,
        figures=figures,
        warnings=[warning.text for warning in warnings],
        methods=paragraphs(
            "methods", metric=results.metric, images=results.provenance.validation_name
        ),
    )
    shown = dict(_tables(results, errors, networks, warnings))
    return Document(
        title=results.provenance.name,
        alerts=tuple(warning.text for warning in warnings if warning.alerting),
        sections=tuple(
            replace(section, table=shown.get(section.key), listed=section.key in _LISTED)
            for section in sections
        ),
        figures=tuple(figures),
    )


def short_report(results: StudyResults) -> Document:
    """The head of the report, for the end of a run: it fits a terminal of 80 columns and 24 lines.

    The verdict, the best few configurations, and what to type next.
    """
    table, label = configurations_table(results), results.provenance.label
    rows = table.rows[:_SHORT_ROWS]
    amount = "" if len(rows) == len(table.rows) else f", {len(rows)} of {len(table.rows):,}"
    commands = tuple(f"{what}: `{command}`" for command, what in next_commands(results))
    return Document(
        title=f"{results.provenance.name} ({label})" if label else results.provenance.name,
        alerts=(),
        sections=(
            Section(key="verdict", title="", text=_head(verdict(results))),
            Section(
                key="configurations",
                title=f"Best configurations on {results.provenance.validation_name} images{amount}",
                table=replace(table, rows=rows),
            ),
            Section(key="next", title="What to type next", text=commands, listed=True),
        ),
    )


def _head(lines: Sequence[str]) -> tuple[str, ...]:
    """The first of them, and the second where both take few lines of a terminal."""
    return tuple(lines[: 2 if sum(map(len, lines[:2])) < _SHORT_CHARACTERS else 1])


def next_commands(results: StudyResults) -> list[tuple[str, str]]:
    """Commands that help with a study as it stands, each with what it does."""
    provenance, name = results.provenance, shlex.quote(results.provenance.name)
    found = []
    if len(results.trials) < provenance.planned_trials:
        found.append((f"mnist-tune resume {name}", "trains the trials that are missing"))
    elif results.latest is None and results.best:
        found.append((f"mnist-tune confirm {name}", "opens the test set for the best trial"))
    return [
        *found,
        (f"mnist-tune report {name}", "every seed, and the warnings"),
        (f"mnist-tune export {name} --out DIR", "tables and figures"),
        (f"mnist-tune dashboard {name}", "all of it in the browser"),
    ]


def verdict(results: StudyResults) -> tuple[str, ...]:
    """The verdict first, then what it rests on; one sentence or two each."""
    latest, best = results.latest, results.best
    psnr = summarise(latest.psnr) if latest and latest.psnr else best.psnr if best else None
    return paragraphs("verdict", r=results, psnr=psnr)


def provenance_lines(results: StudyResults) -> tuple[str, ...]:
    """Lines such as `protocol: holdout …`: completeness first, then provenance."""
    return paragraphs("provenance", r=results)


def study_warnings(results: StudyResults) -> tuple[StudyWarning, ...]:
    """All reasons for doubt, the alerting ones first."""
    sampler, pruner = results.provenance.sampler, results.provenance.pruner
    # Which trials a sampler tries and a pruner stops is then a matter of which ended first.
    learning = [f"sampler {sampler}"] if sampler not in ("grid", "random") else []
    learning += [f"pruner {pruner}"] if pruner != "none" else []
    lines = paragraphs(
        "warnings",
        r=results,
        reasons=Counter(e.trial.reason for e in results.trials if e.trial.reason),
        learning=learning,
        startup_trials=STARTUP_TRIALS.get(sampler, 0),
        edges=list(_edges(results)),
    )
    return tuple(StudyWarning(*line.split(": ", 1)) for line in lines)


def _edges(results: StudyResults) -> Iterator[dict[str, str]]:
    """Numbers of the best that lie at an end of what was tried."""
    for parameter in results.provenance.parameters:
        value = results.best.trial.params.get(parameter.name) if results.best else None
        if not parameter.numeric or value is None:
            continue
        low, high, end = _tried(parameter, value)
        if end:
            texts = formatting.parameter_values([value, low, high])
            names = ("value", "low", "high")
            yield {"name": parameter.name, "end": end, **dict(zip(names, texts, strict=True))}


def _tried(parameter: SearchedParameter, value: float) -> tuple[float, float, str]:
    """Both ends of what was tried, and at which of them the value lies, if at one."""
    points = parameter.points
    if points:
        low, high = points[0], points[-1]
        share = (value - low) / (high - low) if len(points) >= 3 else 0.5
        return low, high, {0.0: "lower", 1.0: "upper"}.get(share, "")
    assert parameter.low is not None and parameter.high is not None
    low, high = parameter.low, parameter.high
    scale = math.log if parameter.log else float
    share = (scale(value) - scale(low)) / (scale(high) - scale(low)) if low != high else 0.5
    return low, high, "lower" if share <= _NEAR else "upper" if share >= 1 - _NEAR else ""


def _tables(
    results: StudyResults,
    errors: PredictionErrors | str | None,
    networks: Sequence[tuple[str, RankedTrial]],
    warnings: Sequence[StudyWarning],
) -> Iterator[tuple[str, Table]]:
    """Section → its table; some are for programs alone."""
    published = published_table(results)
    if results.comparison is not None:
        yield "verdict", Table("verdict", published.rows[:1], published.columns)
        yield "baselines", published
    origin = asdict(results.provenance)
    del origin["uid"], origin["data"]["path"]
    for row in origin["confirmations"]:
        del row["study_uid"]
    columns = [Column(name, dtype="str") for name in origin]
    yield "provenance", Table("provenance", [SimpleNamespace(**origin)], columns)
    yield "configurations", configurations_table(results)
    yield "seeds", seeds_table(results)
    yield "parameters", importances_table(results)
    yield "references", references_table(results)
    if isinstance(errors, PredictionErrors):
        matrix = confusion_table(errors)
        yield "errors", Table("errors", matrix.rows, matrix.columns)
    for _, entry in networks:
        yield f"network_{entry.number}", layers_table(entry.network)
    yield "warnings", Table("warnings", warnings, [Column("key", dtype="str")])
