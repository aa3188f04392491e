"""What tests of all folders share."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.postgresql import Server
from tests.processes import PATIENT, Place

# How many inputs a test with random ones tries.
settings.register_profile("quick", max_examples=30)
settings.register_profile("thorough", max_examples=600)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the command line ask for what takes minutes."""
    parser.addoption(
        "--thorough", action="store_true", help="run the tests marked `thorough`, too: minutes each"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach the processes that tests start: pytest-xdist's workers would pass on that they ignore it."""
    settings.load_profile("thorough" if config.getoption("--thorough") else "quick")
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the thorough ones unless they are asked for, and begin with the slow ones.

    So no core is left with one of those at the end.
    """
    if not config.getoption("--thorough"):
        thorough = [item for item in items if item.get_closest_marker("thorough")]
        items[:] = [item for item in items if item not in thorough]
        config.hook.pytest_deselected(items=thorough)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A finished run of `PATIENT` that nothing has befallen, one for all processes of pytest-xdist."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    place = Place(folder / "undisturbed")
    place.folder.mkdir(exist_ok=True)
    with (place.folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if place.rows("SELECT state FROM mnist_tune_confirmations") != [("complete",)]:
            place.study("undisturbed", PATIENT)
            place.done("run", "undisturbed.py", "--data", "embedded", "--workers", 1)
    return place


@pytest.fixture(scope="session")
def undisturbed_tables(undisturbed: Place) -> dict[str, bytes]:
    """Its tables."""
    return undisturbed.tables("undisturbed")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server of this test run's own."""
    with Server() as server:
        yield server
