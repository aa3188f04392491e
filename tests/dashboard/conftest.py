"""A finished study in a file and on a server, and dashboards on them, made once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.conftest import STUDY
from tests.dashboard.dashboard_process import RUN, Dashboard, dashboard
from tests.postgresql import Server
from tests.processes import Place


@pytest.fixture(scope="session")
def in_a_file(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place with a finished study in an SQLite file."""
    return _finished(Place(tmp_path_factory.mktemp("finished")))


@pytest.fixture(scope="session")
def on_a_server(tmp_path_factory: pytest.TempPathFactory, postgresql: Server) -> Place:
    """A place with a finished study in a database of a PostgreSQL server."""
    return _finished(Place(tmp_path_factory.mktemp("served"), postgresql.database()))


@pytest.fixture(scope="session", params=["in_a_file", "on_a_server"])
def finished(request: pytest.FixtureRequest) -> Place:
    """Each of them."""
    place: Place = request.getfixturevalue(request.param)
    return place


def _finished(place: Place) -> Place:
    place.study("tiny", STUDY)
    place.done("run", "tiny.py", *RUN)
    return place


@pytest.fixture(scope="session")
def shown(finished: Place) -> Iterator[Dashboard]:
    """A dashboard on it."""
    with dashboard(finished, "tiny") as found:
        yield found
