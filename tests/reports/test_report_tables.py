"""Tidy tables: rows, columns, types; full precision; nothing of the clock."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from sqlalchemy import Connection

from mnist_tune.networks import Mlp
from mnist_tune.reports.documents import html_page, json_document
from mnist_tune.reports.export import FRAMES, study_frame
from mnist_tune.reports.results import read_results
from mnist_tune.reports.study_report import study_report
from mnist_tune.reports.table_formats import latex_table
from mnist_tune.reports.tables import (
    RESERVED,
    configurations_table,
    parameter_names,
    runs_table,
)
from tests.reports import report_samples as samples
from tests.reports.report_samples import Sample, Stored


def tables_of(stored: Stored, sample: Sample) -> Any:
    connection = stored(sample)
    return frames(connection, sample.study.name)


def frames(connection: Connection, name: str) -> Any:
    results = read_results(connection, name)
    return SimpleNamespace(**{f: study_frame(connection, results, f) for f in FRAMES})


def rows(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    return list(frame.itertuples(index=False, name=None))


def test_runs_are_search_first_then_confirmation_by_trial_and_seed(stored: Stored) -> None:
    runs = tables_of(stored, samples.l2_confirmed()).runs
    keys = rows(runs[["confirmation", "trial_number", "seed"]])
    searched = [(0, trial, seed) for trial in range(5) for seed in range(3)]
    assert keys == searched + [(1, 1, seed) for seed in range(1000, 1010)]
    assert list(runs["l2"]) == [value for value in samples.L2 for _ in range(3)] + [0.00025075] * 10
    assert list(runs["test_accuracy"].dropna()) == [value / 10_000 for value in samples.TEST]
    assert list(runs["val_accuracy"].dropna()) == [
        value / 10_000 for values in samples.VALIDATION for value in values
    ]
    assert set(runs["label"]) == {"500-300"}
    assert set(runs["parameters"]) == {545_810}  # 784·500+500 + 500·300+300 + 300·10+10


def test_configurations(stored: Stored) -> None:
    table = tables_of(stored, samples.l2_confirmed()).configurations
    assert list(table["trial_number"]) == [1, 0, 2, 3, 4]
    assert list(table["mean"]) == pytest.approx([0.9827, 0.9824, 0.9824, 0.9819, 0.9800])
    assert list(table["delta_to_best"]) == pytest.approx([0, -3e-4, -3e-4, -8e-4, -27e-4])
    assert list(table["n"]) == [3] * 5
    assert list(table["approx_best"]) == [True, True, True, True, False]


def test_lost_trials_are_marked_and_have_no_rank(stored: Stored) -> None:
    table = tables_of(stored, samples.l2_with_losses()).configurations
    lost = table[table["state"] != "complete"]
    assert rows(lost[["trial_number", "state", "n"]]) == [(4, "pruned", 3), (3, "failed", 0)]
    assert lost["reason"].fillna("-").to_list() == ["-", "diverged"]
    assert lost["epochs"].isna().to_list() == [False, True]
    assert lost[["delta_to_best", "approx_best"]].isna().all(axis=None)


def test_comparison_holds_all_baselines_then_all_pairs(stored: Stored) -> None:
    table = tables_of(stored, samples.l2_confirmed()).comparison
    assert list(table["kind"]) == ["baseline"] * 12 + ["configuration"] * 4
    assert table["against"][0] == "hinton-500-300"
    assert list(table["against"][12:]) == ["trial 1"] * 4
    assert list(table["difference"][:1]) == pytest.approx([0.9831 - 0.9847])
    assert set(table["measured_on"][:12]) == {"test"}
    assert set(table["measured_on"][12:]) == {"validation"}
    assert not table["optimistic"].any()
    assert table["confirmation"].fillna(0).to_list() == [1] * 12 + [0] * 4


def test_the_studys_own_baseline_comes_first(stored: Stored) -> None:
    table = tables_of(stored, samples.l2_confirmed(baseline="lenet-5")).comparison
    assert list(table["against"][:2]) == ["lenet-5", "hinton-500-300"]


def test_protocol_notebook_is_labelled_optimistic(stored: Stored) -> None:
    table = tables_of(stored, samples.l2_search(protocol="notebook")).comparison
    assert table["optimistic"].all()
    assert set(table["measured_on"]) == {"test"}
    assert list(table["difference"][:1]) == pytest.approx([0.9827 - 0.9847])


@pytest.mark.parametrize("changes", [{}, {"data": samples.EMBEDDED, "protocol": "notebook"}])
def test_no_baseline_for_a_sealed_test_set_or_embedded_digits(
    stored: Stored, changes: dict[str, Any]
) -> None:
    table = tables_of(stored, samples.l2_search(**changes)).comparison
    assert set(table["kind"]) == {"configuration"}


def test_epochs(stored: Stored) -> None:
    table = tables_of(stored, samples.l2_confirmed()).epochs
    assert len(table) == (15 + 10) * 3
    assert rows(table[["confirmation", "trial_number", "seed", "epoch"]])[:4] == [
        (0, 0, 0, 1),
        (0, 0, 0, 2),
        (0, 0, 0, 3),
        (0, 0, 1, 1),
    ]
    assert table["val_accuracy"].isna().sum() == 30  # the confirmation's


def test_only_timings_hold_what_the_clock_decides(stored: Stored) -> None:
    tables = tables_of(stored, samples.l2_confirmed())
    assert len(tables.timings) == 6
    clocked = {"elapsed_seconds", "train_seconds", "started_at", "finished_at", "host", "device"}
    assert clocked <= set(tables.timings.columns)
    for frame in (tables.runs, tables.configurations, tables.comparison, tables.epochs):
        assert not clocked & set(frame.columns)
        assert "study_uid" not in frame.columns


def test_the_clock_and_the_place_of_the_data_change_no_other_table(stored: Stored) -> None:
    sample = samples.l2_confirmed()
    timings = tuple(replace(row, elapsed_seconds=1.0, host="there") for row in sample.timings)
    other = replace(sample, timings=timings).changed(
        data={**samples.MNIST, "path": "/elsewhere"}, versions={}, created_at="2030"
    )
    first, second = tables_of(stored, sample), tables_of(stored, other)
    for name in ("runs", "configurations", "comparison", "epochs"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name), check_exact=True)
    assert not first.timings.equals(second.timings)


def test_the_order_of_insertion_does_not_matter(stored: Stored) -> None:
    sample = samples.l2_confirmed()
    turned = replace(
        sample,
        trials=sample.trials[::-1],
        runs=sample.runs[::-1],
        epochs=sample.epochs[::-1],
        timings=sample.timings[::-1],
    )
    first, second = tables_of(stored, sample), tables_of(stored, turned)
    for name in FRAMES:
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name), check_exact=True)


def test_types_do_not_depend_on_what_is_missing(stored: Stored) -> None:
    full = tables_of(stored, samples.l2_confirmed())
    lost = tables_of(stored, samples.l2_with_losses())
    little = tables_of(stored, samples.l2_search((0,)))
    for name in ("runs", "configurations", "comparison", "epochs"):
        types = getattr(full, name).dtypes.astype(str).to_list()
        assert getattr(lost, name).dtypes.astype(str).to_list() == types
        assert getattr(little, name).dtypes.astype(str).to_list() == types
    assert str(full.runs["l2"].dtype) == "float64"


def test_parameters_that_a_trial_does_not_have_are_missing(stored: Stored) -> None:
    table = tables_of(stored, samples.widths()).configurations
    assert list(table.columns[:5]) == ["trial_number", "depth", "width_1", "width_2", "width_3"]
    assert str(table["width_3"].dtype) == "Int64"
    by_number = table.set_index("trial_number")
    assert by_number["width_2"].isna().to_dict() == {
        2: False,
        3: False,
        1: False,
        5: False,
        4: True,
        0: True,
    }


def test_columns_stand_in_the_order_of_suggest(stored: Stored) -> None:
    names = ("rate", "depth", "width_1", "width_2", "alpha", "later")
    space: dict[str, BaseDistribution] = {name: FloatDistribution(0.0, 1.0) for name in names}
    met = (("rate", "depth", "width_1", "alpha"), ("rate", "depth", "width_1", "width_2", "alpha"))
    sample = samples.Sample(samples.study(definition=samples.definition(space)))
    for number, asked in enumerate(met):
        params = dict.fromkeys(asked, 0.5)
        sample = sample.plus(samples.trial(number, Mlp(hidden=(8,)), params, (9000, 9010)))
    connection = stored(sample)
    found = study_frame(connection, read_results(connection, "l2_factor"), "configurations")
    assert tuple(found.columns[1:7]) == names  # the one that no trial has met comes last


def sample_of(space: dict[str, BaseDistribution], params: dict[str, object]) -> Sample:
    definition = samples.definition(space, {"sampler": "random"})
    study = samples.Sample(samples.study(definition=definition))
    return study.plus(samples.trial(0, Mlp(hidden=(8,)), params, (9000, 9010)))


@pytest.mark.parametrize(
    ("choices", "value", "kind", "cell"),
    [
        ([True, False], True, "boolean", True),
        ([32, 64], 64, "Int64", 64),
        ([0.5, 1], 1, "float64", 1.0),
        (["relu", "tanh"], "relu", "str", "relu"),
        (["relu", 1], 1, "str", "1"),
        ([None, "adam"], None, "str", None),
    ],
)
def test_categorical_parameters(
    stored: Stored, choices: list[str | float | None], value: object, kind: str, cell: object
) -> None:
    space: dict[str, BaseDistribution] = {"choice": CategoricalDistribution(choices)}
    column = tables_of(stored, sample_of(space, {"choice": value})).configurations["choice"]
    assert str(column.dtype) == kind
    assert column.isna()[0] if cell is None else column[0] == cell


def test_a_parameter_named_like_a_column_gets_another_one(stored: Stored) -> None:
    entry = FloatDistribution(0.0, 1.0)
    tables = tables_of(
        stored, sample_of({"seed": entry, "mean": entry}, {"seed": 0.5, "mean": 0.2})
    )
    assert list(tables.runs["seed"]) == [0, 1]
    assert list(tables.runs["param_seed"]) == [0.5, 0.5]
    assert list(tables.configurations["param_mean"]) == [0.2]
    assert list(tables.configurations["mean"]) == pytest.approx([0.9005])


@pytest.mark.parametrize(
    "name", ["n", "accuracy", "trial", "mean", "low", "images", "seed", "label"]
)
def test_a_parameter_named_like_a_column_is_seen_everywhere(stored: Stored, name: str) -> None:
    entry = FloatDistribution(0.0, 1.0)
    connection = stored(sample_of({name: entry}, {name: 0.125}))
    (study,) = connection.exec_driver_sql("SELECT name FROM mnist_tune_studies").scalars()
    results = read_results(connection, study)
    for view in (configurations_table(results).text(), runs_table(results).text()):
        titles = [column.heading for column in view.columns]
        assert titles.count(f"param_{name}") == 1
        assert titles.count(name) <= 1
        assert set(view.columns[titles.index(f"param_{name}")].cells) == {"0.125"}
    assert f"param_{name}" in latex_table(configurations_table(results).text()).replace("\\", "")
    report = json.loads(json_document(study_report(results)))
    (record,) = report["configurations"]
    assert record[f"param_{name}"] == 0.125
    assert f"param_{name}" in html_page("x", [study_report(results)])


def test_a_parameter_that_has_the_other_name_too_is_not_hidden(stored: Stored) -> None:
    entry = FloatDistribution(0.0, 1.0)
    space: dict[str, BaseDistribution] = {"n": entry, "param_n": entry}
    tables = tables_of(stored, sample_of(space, {"n": 0.5, "param_n": 0.25}))
    assert list(tables.configurations["param_n"]) == [0.25]
    assert list(tables.configurations["param_param_n"]) == [0.5]
    assert list(tables.configurations["n"]) == [2]


def test_every_fixed_column_is_reserved(stored: Stored) -> None:
    for sample in (samples.l2_confirmed(), samples.autoencoders(), samples.cnns()):
        connection = stored(sample)
        results = read_results(connection, sample.study.name)
        for name in ("runs", "configurations", "epochs"):
            columns = set(study_frame(connection, results, name).columns)
            assert columns - set(parameter_names(results).values()) <= RESERVED


def test_two_studies_in_one_database_stay_apart(stored: Stored) -> None:
    connection = stored(samples.l2_search())
    other = samples.widths()
    uid = "f" * 32
    moved = replace(
        other,
        study=replace(other.study, uid=uid),
        trials=tuple(replace(row, study_uid=uid) for row in other.trials),
        runs=tuple(replace(row, study_uid=uid) for row in other.runs),
        epochs=(),
        timings=(),
    )
    samples.save(connection, moved)
    tables = frames(connection, "layer_widths")
    assert (len(tables.runs), len(tables.configurations), len(tables.epochs)) == (18, 6, 0)
    assert json.loads(tables.runs.to_json())["width_1"]["0"] == 32
