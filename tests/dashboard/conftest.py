"""A finished study and a dashboard on it, made once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.conftest import STUDY
from tests.dashboard.dashboard_process import RUN, Dashboard, dashboard
from tests.processes import Place


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place with a finished study."""
    place = Place(tmp_path_factory.mktemp("finished"))
    place.study("tiny", STUDY)
    place.done("run", "tiny.py", *RUN)
    return place


@pytest.fixture(scope="session")
def shown(finished: Place) -> Iterator[Dashboard]:
    """A dashboard on it."""
    with dashboard(finished, "tiny") as found:
        yield found
