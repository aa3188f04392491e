"""What mnist_tune.storage relies on in Optuna itself; an upgrade that changes it fails here."""

from __future__ import annotations

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/optuna.db"


@pytest.fixture
def study(url: str) -> optuna.Study:
    return optuna.create_study(storage=url, study_name="facts", direction="maximize")


def reload(url: str) -> optuna.Study:
    """The study as a fresh process sees it."""
    return optuna.load_study(study_name="facts", storage=url)


def requeue(study: optuna.Study, trial: optuna.Trial) -> None:
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)  # noqa: SLF001


def rows(url: str, statement: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(statement)]


def test_n_trials_counts_a_call_not_the_study(study: optuna.Study) -> None:
    for _ in range(2):
        study.optimize(lambda _: 1.0, n_trials=2)
    assert len(study.trials) == 4


def test_requeued_trial_keeps_number_parameters_reports_and_attributes(
    study: optuna.Study, url: str
) -> None:
    study.ask()
    trial = study.ask()
    value = trial.suggest_float("x", 0, 1)
    trial.report(0.5, 3)
    trial.set_user_attr("a", [1, "b"])
    requeue(study, trial)
    (waiting,) = reload(url).get_trials(states=(TrialState.WAITING,))
    assert waiting.number == 1
    again = reload(url).ask()
    assert (again.number, again.params, again.user_attrs) == (1, {"x": value}, {"a": [1, "b"]})
    assert again.suggest_float("x", 0, 1) == value
    assert reload(url).trials[1].intermediate_values == {3: 0.5}


def test_finished_trial_cannot_go_back(study: optuna.Study) -> None:
    trial = study.ask()
    study.tell(trial, 1.0)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        requeue(study, trial)


def test_failed_trial_is_two_columns_and_no_value(study: optuna.Study, url: str) -> None:
    """`requeue_failed` puts these back by SQL; a storage opened later then sees a queued trial."""
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.report(0.5, 1)
    columns = "SELECT * FROM trials"
    study.ask()
    before, other = rows(url, columns)
    study.tell(trial, state=TrialState.FAIL)
    after, same = rows(url, columns)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"state", "datetime_complete"}
    assert (after["state"], before["datetime_complete"], same) == ("FAIL", None, other)
    assert rows(url, "SELECT * FROM trial_values") == []


def test_storage_never_looks_again_at_a_trial_that_it_saw_finished(
    study: optuna.Study, url: str
) -> None:
    study.tell(study.ask(), state=TrialState.FAIL)
    assert study.trials[0].state == TrialState.FAIL
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE trials SET state = 'WAITING', datetime_complete = NULL")
    assert study.trials[0].state == TrialState.FAIL
    assert reload(url).trials[0].state == TrialState.WAITING
    assert reload(url).ask().number == 0


def test_waiting_trials_come_first_and_in_order(study: optuna.Study, url: str) -> None:
    running = [study.ask() for _ in range(3)]
    for x in (0.1, 0.2):
        study.enqueue_trial({"x": x})
    for number in (2, 0, 1):
        requeue(study, running[number])
    assert [reload(url).ask().number for _ in range(6)] == [0, 1, 2, 3, 4, 5]


def test_what_a_queued_trial_must_take_is_an_attribute(study: optuna.Study, url: str) -> None:
    study.enqueue_trial({"x": 0.1})
    study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    study.enqueue_trial({})
    fixed = rows(url, "SELECT trial_id, key, value_json FROM trial_system_attributes")
    assert [(row["trial_id"], row["key"], json.loads(row["value_json"])) for row in fixed] == [
        (1, "fixed_params", {"x": 0.1}),
        (2, "fixed_params", {}),
    ]


def test_second_report_of_a_step_is_ignored_with_a_warning(study: optuna.Study, url: str) -> None:
    trial = study.ask()
    trial.report(0.5, 1)
    with pytest.warns(UserWarning, match="already reported"):
        trial.report(0.7, 1)
    assert reload(url).trials[0].intermediate_values == {1: 0.5}


def test_numpy_attributes_are_refused_and_nan_is_stored_bare(study: optuna.Study, url: str) -> None:
    trial = study.ask()
    with pytest.raises(TypeError):
        trial.set_user_attr("a", np.float32(1))
    trial.set_user_attr("a", math.nan)
    assert math.isnan(reload(url).trials[0].user_attrs["a"])


def test_attributes_are_frozen_with_the_trial(study: optuna.Study) -> None:
    trial = study.ask()
    study.tell(trial, 1.0)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        trial.set_user_attr("a", 1)


def test_url_is_a_template(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/{{x}}.db")


def test_pruned_trial_has_the_value_of_its_last_report(study: optuna.Study, url: str) -> None:
    trial = study.ask()
    trial.report(0.5, 1)
    trial.report(0.4, 2)
    study.tell(trial, state=TrialState.PRUNED)
    assert reload(url).trials[0].value == 0.4


def test_load_if_exists_keeps_an_old_direction_in_silence(study: optuna.Study, url: str) -> None:
    assert study.direction.name == "MAXIMIZE"
    again = optuna.create_study(
        storage=url, study_name="facts", direction="minimize", load_if_exists=True
    )
    assert again.direction.name == "MAXIMIZE"
