"""Whose an Optuna study or trial is."""

from __future__ import annotations

from typing import Literal

import optuna
import pytest

from mnist_tune.storage.database import Database
from mnist_tune.storage.optuna_adapter import open_optuna
from mnist_tune.storage.overview import optuna_id, owner_of
from tests.storage.storage_samples import raw
from tests.storage.study_samples import make_study


def test_ours_have_a_name_and_others_have_none(database: Database) -> None:
    make_study(database, "a")
    other = optuna.create_study(storage=open_optuna(database), study_name="other")
    other.tell(other.ask(), 1.0)
    assert owner_of(database, "studies", optuna_id(database, "a") or 0) == "a"
    assert owner_of(database, "studies", optuna_id(database, "other") or 0) is None
    trials = raw(
        database.location,
        "SELECT study_name, trial_id FROM trials JOIN studies USING (study_id) ORDER BY trial_id",
    )
    assert [owner_of(database, "trials", trial) for _, trial in trials] == ["a"] * 3 + [None]
    assert [name for name, _ in trials] == ["a"] * 3 + ["other"]


@pytest.mark.parametrize("number", [-1, 0, 1000, 2**31, 10**30])
@pytest.mark.parametrize("kind", ["studies", "trials"])
def test_what_is_not_there_is_said(
    database: Database, kind: Literal["studies", "trials"], number: int
) -> None:
    make_study(database, "a")
    with pytest.raises(LookupError):
        owner_of(database, kind, number)
