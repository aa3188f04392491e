"""A study is opened for work only as what it is stored as."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.errors import DefinitionError
from mnist_tune.search.session import Session, open_session
from mnist_tune.storage.database import Database, open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import TrialCounts
from tests.search.fakes import SOURCE


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_database(Location.parse(tmp_path / "trials.db"), create=True) as database:
        yield database


def opened(database: Database, study: str = "l2_factor", **overrides: Any) -> Session:
    return open_session(database, define(study, Overrides(**overrides)), SOURCE)


def test_new_study_is_stored_with_all_that_made_it(database: Database) -> None:
    session = opened(database, quick=True, seeds=4)
    row = session.store.study("l2_factor-quick")
    assert row == session.row
    assert (row.source, row.overrides) == ("l2_factor", {"quick": True, "seeds": 4})
    assert (row.rehearsal, row.seeds, row.planned_trials) == (True, 4, 5)
    assert (row.protocol, row.baseline) == ("holdout", "hinton-500-300")
    assert row.question == "How much L2 does a dense 500-300 network want?"
    assert row.data == SOURCE.to_json()
    assert {"python", "mnist-tune", "optuna", "tensorflow"} <= set(row.versions)
    assert session.optuna.counts() == TrialCounts(waiting=5)
    assert session.unfinished_trials() == 5
    folder = database.location.folder
    assert session.checkpoints == folder / "checkpoints" / row.uid
    assert session.artifacts == folder / "artifacts" / row.uid


@pytest.mark.parametrize(
    ("study", "metric", "noise"),
    [("l2_factor", "accuracy", None), ("denoiser", "denoising_error", "own")],
)
def test_the_row_says_what_the_study_measures(
    database: Database, study: str, metric: str, noise: str | None
) -> None:
    session = opened(database, study)
    row = session.store.study(study)
    (_, made), *_ = session.definition.space.examples
    assert row.metric == metric
    assert row.noise == (noise and tuple(made["network"]["noise"]))


def test_same_definition_opens_the_same_study(database: Database) -> None:
    first = opened(database)
    trial = first.optuna.ask()
    first.optuna.tell(trial, 0.5)
    again = opened(database)
    assert again.row == first.row
    assert again.unfinished_trials() == 4
    assert again.optuna.counts() == TrialCounts(complete=1, waiting=4)


def test_checkpoints_of_what_has_ended_are_removed(database: Database) -> None:
    session = opened(database)
    trials = [session.optuna.ask() for _ in range(4)]
    session.optuna.tell(trials[0], 0.5)
    session.optuna.report(trials[1], 0.5, 1)
    session.optuna.tell(trials[1], state=TrialState.PRUNED)
    session.optuna.tell(trials[2], state=TrialState.FAIL)  # may be tried again, from there
    session.checkpoints.mkdir(parents=True)
    names = {f"trial-{number}-seed-{seed}.ckpt" for number in range(4) for seed in range(2)}
    confirmation = "confirmation-1-trial-0-seed-1000.ckpt"  # not begun
    for name in (*names, "trial-0-seed-0.ckpt.partial", confirmation, "mine.txt"):
        (session.checkpoints / name).touch()
    opened(database)
    left = {path.name for path in session.checkpoints.iterdir()}
    kept = {f"trial-{number}-seed-{seed}.ckpt" for number in (2, 3) for seed in range(2)}
    assert left == kept | {confirmation, "mine.txt"}


def test_another_definition_is_refused_with_what_differs(database: Database) -> None:
    opened(database)
    with pytest.raises(DefinitionError) as caught:
        opened(database, epochs=20, seeds=5)
    assert str(caught.value) == (
        "study l2_factor is stored with another definition "
        "(--epochs 20 instead of 40; --seeds 5 instead of 3); "
        "type `mnist-tune resume l2_factor` for the options it was started with, "
        "put an edited study file back, or give this one another --name"
    )


def test_other_data_are_refused(database: Database) -> None:
    definition = define("l2_factor", Overrides())
    open_session(database, definition, SOURCE)
    with pytest.raises(
        DefinitionError, match=r"\(images \(--data\) with sha256 e{12}… instead of d{12}…\)"
    ):
        open_session(database, definition, replace(SOURCE, sha256="e" * 64))


def test_same_data_at_another_place_are_the_same(database: Database, tmp_path: Path) -> None:
    definition = define("l2_factor", Overrides())
    first = open_session(database, definition, SOURCE)
    moved = replace(SOURCE, kind="folder", path=tmp_path)
    assert open_session(database, definition, moved).row == first.row


def test_more_trials_of_a_sampler_are_the_same_study(database: Database) -> None:
    first = opened(database, "layer_widths", trials=3)
    again = opened(database, "layer_widths", trials=7, confirm_seeds=4)
    assert again.row.uid == first.row.uid
    assert (first.unfinished_trials(), again.unfinished_trials()) == (3, 7)
    assert again.store.study("layer_widths").planned_trials == 7
    assert again.optuna.counts() == TrialCounts(waiting=1)


def test_fewer_trials_than_have_ended_are_not_planned(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    session = opened(database, "layer_widths", trials=6)
    for _ in range(4):
        session.optuna.tell(session.optuna.ask(), 0.5)
    again = opened(database, "layer_widths", trials=2)
    assert (again.definition.study.trials, again.unfinished_trials()) == (4, 0)
    assert again.store.study("layer_widths").planned_trials == 4
    assert "4 trials of layer_widths have ended already, more than the 2 of --trials" in caplog.text


def test_no_more_first_points_are_queued_than_there_are_trials(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from mnist_tune.networks import Mlp\n"
        "from mnist_tune.recipes import Recipe\n"
        "from mnist_tune.study import Search, Study\n"
        "def suggest(trial): return Mlp(hidden=(trial.suggest_int('width', 8, 64),))\n"
        "first = tuple({'width': width} for width in (8, 16, 24))\n"
        "study = Study(suggest=suggest, recipe=Recipe(epochs=1), plan=Search(first=first))\n",
        encoding="utf-8",
    )
    assert opened(database, str(path), trials=2).optuna.counts() == TrialCounts(waiting=2)
    assert opened(database, str(path)).optuna.counts() == TrialCounts(waiting=3)


def test_finished_study_has_nothing_left(database: Database) -> None:
    session = opened(database, "layer_widths", trials=1)
    for _ in range(2):
        session.optuna.tell(session.optuna.ask(), 0.5)
    assert session.unfinished_trials() == 0


def test_failed_trials_are_put_back_only_where_that_is_asked_for(database: Database) -> None:
    first = opened(database)
    for state in (TrialState.COMPLETE, TrialState.FAIL):
        trial = first.optuna.ask()
        first.optuna.tell(trial, 0.5 if state == TrialState.COMPLETE else None, state)
    assert opened(database).retried == ()
    assert opened(database).unfinished_trials() == 3
    definition = define("l2_factor", Overrides())
    again = open_session(database, definition, SOURCE, retry_failed=True)
    assert (again.retried, again.unfinished_trials()) == ((1,), 4)
    assert again.optuna.counts() == TrialCounts(complete=1, waiting=4)
    assert again.optuna.ask().number == 1
