"""What tests of all folders share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgresql import Server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server of this test run's own."""
    with Server() as server:
        yield server
