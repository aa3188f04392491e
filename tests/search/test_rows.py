"""What a job came to becomes rows and attributes, exactly."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_tune.metrics import ACCURACY, DENOISING_ERROR
from mnist_tune.networks import network_from_json
from mnist_tune.recipes import recipe_from_json
from mnist_tune.search import rows
from mnist_tune.search.events import TrialEnded
from mnist_tune.storage.records import json_value
from mnist_tune.storage.schema import to_columns
from mnist_tune.trainer.states import EpochMetrics
from tests.search.fakes import evaluation_of, history_of, spec, timing

UID = "0123456789abcdef" * 2
PARAMS = {"l2": 0.1 + 0.2, "width": 64, "activation": None}


def ended(**changes: Any) -> TrialEnded:
    made = changes.pop("trial", spec(5, epochs=3))
    values: dict[str, Any] = {
        "trial": made,
        "state": "complete",
        "histories": {seed: history_of(made, seed, 3) for seed in made.seeds},
        "tests": {},
        "timings": (timing(),),
        "elapsed_seconds": 2.5,
    }
    return TrialEnded(**{**values, **changes})


def confirmed() -> TrialEnded:
    made = spec(5, seeds=(1000, 1001), confirmation=2)
    return ended(trial=made, tests={seed: evaluation_of(seed) for seed in made.seeds})


def failed(histories: dict[int, tuple[EpochMetrics, ...]]) -> TrialEnded:
    return ended(
        state="failed",
        failure="diverged",
        message="nan",
        attempts=1,
        histories=histories,
        timings=(),
    )


def with_accuracies(*accuracies: float | None) -> dict[int, EpochMetrics]:
    return {
        seed: EpochMetrics(1, 0.1, 0.2, 0.3, accuracy) for seed, accuracy in enumerate(accuracies)
    }


class TestObjective:
    def test_mean_and_standard_deviation_with_ddof_1(self) -> None:
        metrics = with_accuracies(0.97, 0.98, 0.96)
        assert rows.objective(ACCURACY, metrics) == pytest.approx(0.97, abs=1e-15)
        assert rows.spread(ACCURACY, metrics) == pytest.approx(0.01, abs=1e-15)

    def test_of_an_autoencoder_it_is_the_error(self) -> None:
        metrics = {seed: EpochMetrics(1, 0.5, val_loss=0.03 + seed / 100) for seed in range(3)}
        assert rows.objective(DENOISING_ERROR, metrics) == pytest.approx(0.04)
        assert rows.spread(DENOISING_ERROR, metrics) == pytest.approx(0.01)

    def test_one_seed_has_no_spread(self) -> None:
        assert rows.objective(ACCURACY, with_accuracies(0.25)) == 0.25
        assert rows.spread(ACCURACY, with_accuracies(0.25)) is None

    @given(st.lists(st.floats(0, 1), min_size=2, max_size=5))
    def test_order_of_the_seeds_does_not_matter_to_the_last_bit(
        self, accuracies: list[float]
    ) -> None:
        orders = [with_accuracies(*order) for order in itertools.permutations(accuracies)]
        assert len({rows.objective(ACCURACY, order) for order in orders}) == 1
        assert len({rows.spread(ACCURACY, order) for order in orders}) == 1
        assert rows.objective(ACCURACY, orders[0]) == pytest.approx(np.mean(accuracies))
        assert rows.spread(ACCURACY, orders[0]) == pytest.approx(
            np.std(accuracies, ddof=1), abs=1e-12
        )


class TestRows:
    def test_trial(self) -> None:
        row = rows.trial_row(UID, ended(), PARAMS)
        assert (row.study_uid, row.trial_number, row.state, row.reason) == (
            UID,
            5,
            "complete",
            None,
        )
        assert row.params == PARAMS
        assert (row.label, row.parameters) == ("64-64", 55_050)
        assert network_from_json(dict(row.network)) == spec(5).network
        assert recipe_from_json(dict(row.recipe)) == spec(5).recipe
        last = {seed: history[-1] for seed, history in ended().histories.items()}
        assert row.objective == rows.objective(ACCURACY, last)

    def test_objective_is_of_the_last_epoch_and_not_of_the_best(self) -> None:
        histories = {0: (EpochMetrics(1, 0, 0, 0, 0.9), EpochMetrics(2, 0, 0, 0, 0.5))}
        row = rows.trial_row(UID, ended(histories=histories), {})
        assert row.objective == 0.5

    @pytest.mark.parametrize("histories", [{0: (), 1: ()}, {0: history_of(spec(), 0, 1), 1: ()}])
    def test_failed_trial_keeps_what_there_is(
        self, histories: dict[int, tuple[EpochMetrics, ...]]
    ) -> None:
        end = failed(histories)
        row = rows.trial_row(UID, end, {})
        assert (row.state, row.reason, row.objective) == ("failed", "diverged", None)
        runs = rows.run_rows(UID, end)
        assert [run.epochs for run in runs] == [len(h) for h in histories.values()]
        assert (runs[1].train_loss, runs[1].val_accuracy) == (None, None)
        assert len(rows.epoch_rows(UID, end)) == sum(len(h) for h in histories.values())
        assert rows.timing_row(UID, end) is None

    def test_runs_hold_their_last_epoch_exactly(self) -> None:
        runs = rows.run_rows(UID, ended())
        assert [(run.seed, run.epochs, run.confirmation) for run in runs] == [
            (0, 3, 0),
            (1, 3, 0),
            (2, 3, 0),
        ]
        for run in runs:
            metrics = history_of(spec(5), run.seed, 3)[-1]
            for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
                assert getattr(run, name) == getattr(metrics, name)
            assert (run.test_loss, run.test_accuracy) == (None, None)

    def test_epochs_hold_all_of_them_exactly(self) -> None:
        found = rows.epoch_rows(UID, ended())
        assert [(row.seed, row.epoch) for row in found] == list(
            itertools.product((0, 1, 2), (1, 2, 3))
        )
        for row in found:
            metrics = history_of(spec(5), row.seed, row.epoch)[-1]
            for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
                assert getattr(row, name) == getattr(metrics, name)

    def test_confirmed_runs_hold_the_score_on_the_test_set_and_no_validation(self) -> None:
        runs = rows.run_rows(UID, confirmed())
        assert [(run.confirmation, run.seed) for run in runs] == [(2, 1000), (2, 1001)]
        assert [run.test_accuracy for run in runs] == [
            evaluation_of(s).accuracy for s in (1000, 1001)
        ]
        assert [run.test_loss for run in runs] == [evaluation_of(s).loss for s in (1000, 1001)]
        assert {run.val_accuracy for run in runs} == {run.val_loss for run in runs} == {None}

    def test_predictions_are_one_byte_an_image(self) -> None:
        found = rows.prediction_rows(UID, confirmed())
        assert [(row.confirmation, row.trial_number, row.seed) for row in found] == [
            (2, 5, 1000),
            (2, 5, 1001),
        ]
        assert {row.classes for row in found} == {bytes(range(10))}
        assert rows.prediction_rows(UID, ended()) == []

    def test_nothing_but_finite_json_reaches_the_database(self) -> None:
        histories = {0: (EpochMetrics(1, math.nan, 0.5, math.inf, 0.5),)}
        end = ended(histories=histories)
        found = [
            rows.trial_row(UID, end, {"x": math.nan, "y": np.float32(0.5)}),
            *rows.run_rows(UID, end),
            *rows.epoch_rows(UID, end),
        ]
        columns = [to_columns(row) for row in found]
        assert not any(
            isinstance(value, float) and math.isnan(value)
            for row in columns
            for value in row.values()
        )
        assert json.loads(columns[0]["params"]) == {"x": None, "y": 0.5}


class TestTimings:
    def test_of_several_tasks_are_summed_up(self) -> None:
        nine, ten = (datetime(2026, 11, 23, hour, tzinfo=UTC) for hour in (21, 22))
        early = timing(started_at=nine, host="b", threads=2)
        late = timing(finished_at=ten, host="a", train_seconds=4.0)
        row = rows.timing_row(UID, ended(timings=(late, early, timing(device="GPU:0"))))
        assert row is not None
        assert row.started_at == "2026-11-23T21:00:00.000000Z"
        assert row.finished_at == "2026-11-23T22:00:00.000000Z"
        assert (row.train_seconds, row.elapsed_seconds) == (7.0, 2.5)
        assert (row.host, row.device, row.threads) == ("a, b, here", "CPU, GPU:0", 2)
        assert (row.first_seed, row.seeds, row.confirmation) == (0, 3, 0)

    def test_of_one_task(self) -> None:
        row = rows.timing_row(UID, confirmed())
        assert row is not None
        assert row.started_at == "2026-11-23T21:20:58.000000Z"
        assert row.finished_at == "2026-11-23T21:21:58.000000Z"
        assert (row.first_seed, row.seeds, row.confirmation) == (1000, 2, 2)


class TestAttributes:
    def test_are_the_columns_of_the_dashboard(self) -> None:
        end = ended(timings=(timing(train_seconds=1.23456), timing(train_seconds=1)))
        last = {seed: history[-1] for seed, history in end.histories.items()}
        assert rows.attributes(end) == {
            "network": "64-64",
            "parameters": 55_050,
            "multiply_adds": 784 * 64 + 64 * 64 + 64 * 10,
            "val_accuracy_mean": rows.objective(ACCURACY, last),
            "val_accuracy_std": rows.spread(ACCURACY, last),
            "n_seeds": 3,
            "epochs": 3,
            "train_seconds": 2.235,
        }

    def test_of_a_failure(self) -> None:
        assert rows.attributes(failed({0: ()})) == {
            "network": "64-64",
            "parameters": 55_050,
            "multiply_adds": 784 * 64 + 64 * 64 + 64 * 10,
            "failure": "diverged",
            "failure_message": "nan",
            "failure_attempts": 1,
        }

    @pytest.mark.parametrize("state", ["complete", "pruned"])
    def test_are_json_and_come_back_exactly(self, state: str) -> None:
        cut = {seed: history[:2] for seed, history in ended().histories.items()}
        attributes = rows.attributes(replace(ended(state=state), histories=cut))
        assert attributes["epochs"] == 2
        assert json_value(attributes) == attributes
        assert json.loads(json.dumps(attributes, allow_nan=False)) == attributes
