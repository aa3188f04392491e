"""What tests of all folders share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.postgresql import Server


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach the processes that tests start: pytest-xdist's workers would pass on that they ignore it."""
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow ones, so that no core is left with one of them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server of this test run's own."""
    with Server() as server:
        yield server
