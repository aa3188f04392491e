"""Renaming a study: all that it has stays with it, and nothing else changes."""

from __future__ import annotations

import optuna
import pytest

from mnist_tune.errors import StorageError
from mnist_tune.storage.database import open_database
from mnist_tune.storage.lease import Lease
from mnist_tune.storage.location import Location
from mnist_tune.storage.optuna_adapter import load_study, open_optuna
from mnist_tune.storage.overview import study_overview
from mnist_tune.storage.store import Store
from mnist_tune.storage.whole_studies import rename_study
from tests.storage.storage_samples import sqlite_only
from tests.storage.study_samples import content, files_below, make_analysis, make_study, uid_of


@pytest.fixture
def place(location: Location) -> Location:
    """A storage with two studies, an analysis of both, and a study of another tool."""
    with open_database(location, create=True) as database:
        for name in "ab":
            make_study(database, name)
        make_analysis(database, "denoise", "a", "b")
        optuna.create_study(storage=open_optuna(database), study_name="theirs")
    return location


@sqlite_only
def test_names_change_and_nothing_else(place: Location) -> None:
    before, files = content(place.path), files_below(place.artifacts)
    assert rename_study(place, "a", "other name")
    after = content(place.path)
    changed = {table for table in before if before[table] != after[table]}
    assert changed == {"mnist_tune_studies", "studies", "mnist_tune_analyses"}
    names = {table: str(after[table]).replace("other name", "a") for table in changed}
    assert names == {table: str(sorted(before[table], key=repr)) for table in changed}
    assert files_below(place.artifacts) == files
    with open_database(place, create=False) as database:
        study = Store(database).study("other name")
        assert load_study(database, name="other name", uid=uid_of("a")).counts().complete == 2
        assert [row.name for row in Store(database).analyses_of(study)] == ["denoise"]
    assert study_overview(place, "other name").holder is None


def test_a_study_that_a_dashboard_has_renamed_gets_its_name_back(place: Location) -> None:
    with open_database(place, create=False) as database, database.transaction() as connection:
        connection.exec_driver_sql("UPDATE studies SET study_name = 'x' WHERE study_name = 'a'")
    assert rename_study(place, "a", "x")
    with open_database(place, create=False) as database:
        load_study(database, name="x", uid=uid_of("a"))


@sqlite_only
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("a", "b", "holds a study b already"),
        ("a", "a", "holds a study a already"),
        ("a", "theirs", "holds a study theirs already"),
        ("nope", "c", "no study 'nope'"),
    ],
)
def test_refusals_change_nothing(place: Location, old: str, new: str, words: str) -> None:
    before = content(place.path)
    with pytest.raises(StorageError, match=words):
        rename_study(place, old, new)
    assert content(place.path) == before


def test_a_study_that_runs_is_not_renamed(place: Location) -> None:
    for name in ("a", "c"):  # nor to the name of one that is about to begin
        with Lease(place, name), pytest.raises(StorageError, match="is being worked on"):
            rename_study(place, "a", "c")
    assert rename_study(place, "a", "c")
