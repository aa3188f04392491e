"""--confirm-seeds that would be ignored is refused, with what to type."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.errors import DefinitionError
from mnist_tune.search.running import Options, run_study
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from tests.search.fakes import SOURCE
from tests.search.test_coordinator import opened, searched, well


@pytest.fixture
def location(tmp_path: Path) -> Location:
    """A storage with a finished search whose confirmation was begun with two seeds."""
    location = Location.parse(tmp_path / "trials.db")
    with open_database(location, create=True) as database:
        session = opened(database)
        searched(session, well)
        session.store.start_confirmation(
            session.row.uid, trial_number=0, seeds=[7, 8], train_size=60_000, test_size=10_000
        )
    return location


def run(location: Location, **options: Any) -> None:
    overrides = Overrides(epochs=4, **options)
    run_study(location, define("l2_factor", overrides, "searched"), SOURCE, Options(), Mock())


def test_a_confirmation_keeps_the_seeds_that_it_began_with(location: Location) -> None:
    with pytest.raises(DefinitionError) as caught:
        run(location, confirm_seeds=3)
    assert str(caught.value) == (
        "the confirmation of searched was begun with 2 seeds, not 3, and is resumed with them: "
        "leave out --confirm-seeds"
    )
    with open_database(location, create=False) as database, database.transaction() as connection:
        connection.exec_driver_sql("UPDATE mnist_tune_confirmations SET state = 'complete'")
    with pytest.raises(DefinitionError) as caught:
        run(location, confirm_seeds=3)
    assert str(caught.value) == (
        "study searched has been confirmed with 2 seeds, not 3: leave out --confirm-seeds, or type "
        "`mnist-tune confirm searched --again --confirm-seeds 3`"
    )
    for same in ({"confirm_seeds": 2}, {}):
        run(location, **same)  # is finished, and starts nothing
