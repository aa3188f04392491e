"""The tables of a study: configurations, runs, comparisons, seeds, published numbers, layers.

Accuracies are in 0–1, losses in nats. Columns, their types and the order of rows depend on the
study's definition alone, values on definition, data and seeds alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

from mnist_tune.metrics import ACCURACY, DENOISING_ERROR, Metric
from mnist_tune.networks import Network
from mnist_tune.reports import formatting
from mnist_tune.reports.columns import DETAIL, KEEP, SPARE, USEFUL, Column, Table, reader_column
from mnist_tune.reports.configurations import RankedTrial, pareto_front
from mnist_tune.reports.formatting import TOO_FEW_SEEDS
from mnist_tune.reports.provenance import SearchedParameter
from mnist_tune.reports.results import StudyResults
from mnist_tune.storage.records import RunRow, TrialRow
from mnist_tune.storage.schema import TABLES

_COUNT, _PSNR = formatting.count, partial(formatting.mean_and_std, scale=1)
_MSE = partial(formatting.mean_and_std, scale=1, digits=4)
_TRIAL = Column("trial_number", "number", "int64", "trial")
_NETWORK = (
    Column("label", "trial.label", "str", "network", align="left", varying=True),
    Column(
        "parameters", "trial.parameters", "int64", "parameters", _COUNT, drop=USEFUL, varying=True
    ),
)
_STATISTICS = (
    Column("state", "trial.state", "str"),
    Column("reason", "trial.reason", "str"),
    Column("epochs", dtype="Int64"),
    Column("n", lambda entry: len(entry.values), "int64"),
    *(Column(name, f"summary.{name}") for name in ("mean", "std", "low", "high")),
)
_IMAGE_ERRORS = tuple(
    Column(f"{kind}_{name}", f"{kind}.{name}")
    for kind in ("mse", "psnr")
    for name in ("mean", "std")
)
_LITTLE = 0.05  # of the order of the configurations
_OWN_HEADINGS = ("trial", "accuracy", "denoising_error", "images", "size", "MSE", "epoch")
# Columns of the tables; a parameter of such a name gets another column.
RESERVED = frozenset(
    (
        *TABLES[RunRow].columns.keys(),
        *TABLES[TrialRow].columns.keys(),
        *(column.name for column in (_TRIAL, *_NETWORK, *_STATISTICS, *_IMAGE_ERRORS)),
        *("delta_to_best", "p_adjusted", "approx_best", "multiply_adds"),
        *_OWN_HEADINGS,
    )
)


def configurations_table(results: StudyResults) -> Table:
    """One row for each configuration, best first."""
    scale, costs = results.metric.scale, results.multiply_adds
    denoises = results.metric is DENOISING_ERROR
    difference = partial(formatting.signed_difference, scale=scale)
    cost = lambda entry: costs[entry.number]  # noqa: E731
    columns = (
        _TRIAL,
        *parameter_columns(results, results.trials),
        *_NETWORK,
        *([reader_column("multiply-adds", cost, _COUNT, drop=USEFUL)] if costs else ()),
        *_STATISTICS,
        _mean_column(results.metric),
        *([reader_column("MSE", "mse", _MSE, drop=DETAIL)] if denoises else ()),
        *([reader_column("PSNR dB", "psnr", _PSNR)] if denoises else ()),
        reader_column("n", lambda entry: len(entry.values), drop=DETAIL),
        reader_column("95 % interval", partial(_interval, scale=scale), drop=USEFUL),
        Column("delta_to_best", heading="Δ best", write=difference),
        *_front_column(results.trials),
        Column("p_adjusted", heading="p (Holm)", write=formatting.p_value, drop=SPARE),
        Column("approx_best", dtype="boolean"),
        reader_column("", standing, align="left"),
        *([Column("multiply_adds", cost, "int64")] if costs else ()),
        *(_IMAGE_ERRORS if denoises else ()),
    )
    return Table("configurations", results.trials, columns)


def trials_table(results: StudyResults) -> Table:
    """What each configuration is, without what its runs measured."""
    columns = (_TRIAL, *parameter_columns(results, results.trials), *_NETWORK)
    return Table("trials", results.trials, columns)


def standing(entry: RankedTrial) -> str:
    """`best`, `≈ best`, that nothing can be said, or why it is not in the ranking."""
    if entry.best:
        return "best"
    if entry.trial.state == "pruned":
        return f"pruned at epoch {entry.epochs}" if entry.epochs else "pruned by suggest"
    if entry.trial.state == "failed":
        return f"failed: {entry.trial.reason}"
    if entry.too_few_seeds:
        return TOO_FEW_SEEDS
    return "≈ best" if entry.approx_best else ""


def parameter_names(results: StudyResults) -> dict[str, str]:
    """Name → column of each parameter in the order of `suggest`, then of any that is not declared."""
    declared = [parameter.name for parameter in results.provenance.parameters]
    met = sorted({name for entry in results.trials for name in entry.trial.params})
    names = list(dict.fromkeys([*declared, *met]))
    taken = RESERVED.union(names)
    return {name: _free(f"param_{name}", taken) if name in RESERVED else name for name in names}


def parameter_columns(
    results: StudyResults, entries: Sequence[RankedTrial], path: str = ""
) -> Iterator[Column]:
    """One for each parameter; readers get those that the entries have, and always the most important.

    Args:
        results: of the study.
        entries: in the order of the rows.
        path: of the entry in a row; by default the row is the entry.
    """
    declared = {entry.name: entry for entry in results.provenance.parameters}
    met = {name for entry in entries for name in entry.trial.params}
    params = Column("", f"{path}trial.params")
    shares = {importance.name: importance.share for importance in results.importances}
    for name, column in parameter_names(results).items():
        parameter = declared.get(name)
        yield Column(
            column,
            partial(_parameter, params=params, name=name),
            _dtype(parameter) if parameter else "str",
            column if name in met else None,
            write_all=formatting.parameter_values,
            drop=_drop(results, name, shares),
        )


def runs_table(results: StudyResults) -> Table:
    """One row for each run: the search by trial and seed, then the confirmations."""
    images, metric = results.provenance.validation_name, results.metric
    searched = sorted(results.trials, key=lambda entry: entry.number)
    groups = [(entry, images, entry.values) for entry in searched] + [
        (results.trial(found.trial_number), f"test ({found.confirmation})", found.values)
        for found in results.confirmed
    ]
    rows = [
        SimpleNamespace(entry=entry, images=images, seed=seed, value=value)
        for entry, images, values in groups
        for seed, value in values.items()
    ]
    columns = (
        reader_column("trial", "entry.number"),
        *parameter_columns(results, [row.entry for row in rows], path="entry."),
        *(replace(column, value=f"entry.{column.value}") for column in _NETWORK),
        reader_column("images", "images", align="left"),
        reader_column("seed", "seed"),
        reader_column(
            metric_heading(metric), "value", partial(formatting.metric_value, metric=metric)
        ),
    )
    return Table("runs", rows, columns)


def seeds_table(results: StudyResults) -> Table:
    """The values of all seeds; readers get a row for each configuration and confirmation."""
    metric, images = results.metric, results.provenance.validation_name
    groups: list[tuple[Any, ...]] = [
        (entry.number, 0, images, entry.values) for entry in results.trials if entry.values
    ]
    groups += [
        (r.trial_number, r.confirmation, f"test, confirmation {r.confirmation}", r.values)
        for r in results.confirmed
    ]

    def values(by_seed: Any) -> str:
        return " ".join(formatting.metric_value(value, metric) for value in by_seed.values())

    readable = (
        reader_column("trial", "0"),
        reader_column("images", "2", align="left"),
        reader_column("seeds", "3", formatting.numbers_in_short, "left"),
        reader_column(f"{metric_heading(metric)}, seed by seed", "3", values, "left"),
    )
    names = ("trial_number", "confirmation", "seed", metric.key)
    columns = [Column(name, str(place)) for place, name in enumerate(names)]
    runs = [(trial, k, seed, v) for trial, k, _, by_seed in groups for seed, v in by_seed.items()]
    return Table("seeds", runs, columns, for_readers=Table("seeds", groups, readable))


_COMPARISON = (
    Column("kind", dtype="str"),  # baseline | configuration
    Column("trial_number", dtype="int64"),
    Column("confirmation", dtype="Int64"),  # missing for what the search itself measured
    Column("measured_on", dtype="str"),  # test | validation
    Column("optimistic", dtype="bool"),  # selected on the same images
    Column("against", dtype="str"),  # key of the baseline, or `trial 3`
    Column("n", "summary.n", "int64"),
    *(Column(name, f"summary.{name}") for name in ("mean", "std")),
    Column("reference"),
    *(Column(name, f"found.{name}") for name in ("difference", "low", "high", "p_value")),
    Column("p_adjusted"),
    Column("outcome", dtype="str"),
    Column("seeds_needed", dtype="Int64"),
)


def comparison_table(results: StudyResults) -> Table:
    """Test results against published numbers, then configurations against the best."""
    rows = [*_baseline_rows(results), *_pair_rows(results)]
    columns = (
        *_COMPARISON,
        reader_column("ours", "ours", align="left"),
        replace(_mean_column(results.metric), drop=USEFUL),
        reader_column("against", "against", align="left"),
        *difference_columns(results.metric.scale, "found.", drop=USEFUL),
        reader_column("p", _decisive, formatting.p_value, drop=DETAIL),
        reader_column("ours is", "outcome", align="left"),
        reader_column("seeds (plan)", _planned, drop=SPARE),
    )
    return Table("comparison", rows, columns)


def published_table(results: StudyResults) -> Table:
    """Test results against published numbers; readers get the latest result's."""
    readable = (
        reader_column("published", "baseline.key", align="left"),
        reader_column("class", "baseline.network_class", align="left", drop=DETAIL),
        reader_column("%", "baseline.accuracy", formatting.metric_value),
        *difference_columns(ACCURACY.scale, "verdict.", drop=USEFUL),
        reader_column("ours is", "verdict.outcome", align="left"),
        reader_column("seeds (plan)", lambda row: _planned(row.verdict), drop=SPARE),
    )
    latest = Table("baselines", results.latest_comparisons, readable)
    return Table("baselines", _baseline_rows(results), _COMPARISON, for_readers=latest)


def references_table(results: StudyResults) -> Table:
    """One row for each simple remedy and kind of images."""
    write, digits = partial(formatting.metric_value, metric=DENOISING_ERROR), formatting.fixed
    columns = (
        Column("images", dtype="str", heading="images", align="left"),
        Column("name", dtype="str", heading="reference", align="left"),
        Column("loss", heading=metric_heading(DENOISING_ERROR), write=write),
        Column("mse", heading="MSE", write=partial(digits, digits=4)),
        Column("psnr", heading="PSNR dB", write=digits),
    )
    ordered = sorted(results.references, key=lambda row: (row.images != "validation", row.loss))
    readable = Table("references", ordered, columns)
    return Table("references", results.references, columns, for_readers=readable)


def importances_table(results: StudyResults) -> Table:
    """One row for each parameter, the most important first."""
    percent = partial(formatting.fixed, scale=100, digits=0)

    def seeds(row: Any) -> str:
        return f"{percent(row.low)}–{percent(row.high)}"

    def best(row: Any) -> str:
        params = results.best.trial.params if results.best else {}
        return formatting.parameter_value(params.get(row.name))

    columns = (
        Column("parameter", "name", "str", "parameter", align="left"),
        Column("importance", "share", heading="importance %", write=percent),
        Column("low"),
        Column("high"),
        *([reader_column("single seeds %", seeds)] if results.provenance.seeds > 1 else ()),
        reader_column("best trial", best),
    )
    return Table("importances", results.importances, columns)


def layers_table(network: Network) -> Table:
    """One row for each layer of a network; readers get their sum too."""
    columns = (
        Column("layer", "name", "str", "layer", align="left"),
        Column("kind", dtype="str", heading="kind", align="left"),
        Column(
            "shape", dtype="str", heading="output", write=lambda shape: "×".join(map(str, shape))
        ),
        Column("parameters", dtype="int64", heading="parameters", write=_COUNT),
        Column("multiply_adds", "", "int64", "multiply-adds", _COUNT, drop=USEFUL),
    )
    costs = {"parameters": network.parameters, "multiply_adds": network.multiply_adds}
    total = SimpleNamespace(name="in all", kind="", shape=(), **costs)
    readable = Table("layers", [*network.layers, total], columns)
    return Table("layers", network.layers, columns, for_readers=readable)


def metric_heading(metric: Metric) -> str:
    """Such as `accuracy %`."""
    return f"{metric.name} {metric.unit}"


def difference_columns(scale: float, path: str = "", drop: int = 0) -> tuple[Column, Column]:
    """A difference and its interval, for readers.

    Args:
        scale: stored value → shown value.
        path: of what holds both in a row; by default the row does.
        drop: of the interval.
    """

    def interval(found: Any) -> str:
        return formatting.difference_interval(found.low, found.high, scale)

    write = partial(formatting.signed_difference, scale=scale)
    holder = Column("", path.rstrip(".")).of if path else lambda row: row
    return (
        reader_column("difference", f"{path}difference", write),
        reader_column("95 % interval", holder, interval, drop=drop),
    )


def _mean_column(metric: Metric) -> Column:
    write = partial(formatting.mean_and_std, scale=metric.scale)
    return reader_column(metric_heading(metric), "summary", write)


def _baseline_rows(results: StudyResults) -> list[SimpleNamespace]:
    return [
        SimpleNamespace(
            kind="baseline",
            trial_number=entry.result.trial_number,
            confirmation=entry.result.confirmation,
            measured_on="test",
            optimistic=entry.result.optimistic,
            against=entry.baseline.key,
            summary=entry.result.summary,
            reference=entry.baseline.accuracy,
            found=entry.verdict,
            p_adjusted=None,
            outcome=entry.verdict.outcome,
            seeds_needed=entry.verdict.seeds_needed,
            ours=f"trial {entry.result.trial_number}, test ({entry.result.how_selected})",
        )
        for entry in results.comparisons
    ]


def _pair_rows(results: StudyResults) -> list[SimpleNamespace]:
    provenance, best = results.provenance, results.trials[0]
    return [
        SimpleNamespace(
            kind="configuration",
            trial_number=entry.number,
            confirmation=None,
            measured_on=provenance.validation_name,
            optimistic=provenance.selects_on_test,
            against=f"trial {best.number}",
            summary=entry.summary,
            reference=best.summary.mean,
            found=entry.pairing,
            p_adjusted=entry.p_adjusted,
            outcome=entry.outcome,
            seeds_needed=entry.seeds_needed,
            ours=f"trial {entry.number}, {provenance.validation_name}",
        )
        for entry in results.trials
        if entry.pairing and best.summary
    ]


def _decisive(row: Any) -> float:
    """The p value that decides: adjusted where several are compared with the best."""
    return float(row.found.p_value if row.p_adjusted is None else row.p_adjusted)


def _planned(row: Any) -> str:
    """How many seeds in all are planned; what is clear needs no plan."""
    return "clear" if row.outcome in ("better", "worse") else _COUNT(row.seeds_needed)


def _interval(entry: RankedTrial, scale: float) -> str:
    summary = entry.summary
    return formatting.interval(summary.low, summary.high, scale) if summary else formatting.UNKNOWN


def _front_column(entries: Sequence[RankedTrial]) -> Iterator[Column]:
    """Marks what no smaller network matches; nothing where all have the same size."""
    ahead = {entry.number for entry in pareto_front(entries)}
    if ahead and len({entry.trial.parameters for entry in entries}) > 1:

        def mark(entry: RankedTrial) -> str:
            return "front" if entry.number in ahead else ""

        yield reader_column("size", mark, align="left", drop=DETAIL)


def _free(column: str, taken: Collection[str]) -> str:
    """The name, or longer where a parameter is called so."""
    return _free(f"param_{column}", taken) if column in taken else column


def _parameter(row: Any, params: Column, name: str) -> object:
    """A value that fits into a cell; whatever is no scalar becomes JSON text."""
    value = params.of(row).get(name)
    scalar = value is None or isinstance(value, bool | int | float | str)
    return value if scalar else json.dumps(value, sort_keys=True)


def _drop(results: StudyResults, name: str, shares: Mapping[str, float]) -> int:
    """How soon readers do without a parameter: never without the most important one.

    The labels of networks tell some; those that explain next to nothing go before the others.
    """
    if name in results.in_label:
        return SPARE
    if name == next(iter(shares), None):
        return KEEP
    return DETAIL if shares.get(name, 1.0) < _LITTLE else USEFUL


def _dtype(parameter: SearchedParameter) -> str:
    if parameter.numeric:
        return "float64" if parameter.kind == "float" else "Int64"
    kinds = {type(choice) for choice in parameter.choices if choice is not None}
    if kinds in ({bool}, {int}):
        return "boolean" if kinds == {bool} else "Int64"
    return "float64" if kinds and kinds <= {int, float} else "str"
