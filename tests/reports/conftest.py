"""Studies in real database files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mnist_tune.reports.results import read_results
from tests.reports.report_samples import Read, Stored, opened


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Stored]:
    """Stores a sample in a file of its own and opens that."""
    with ExitStack() as stack:
        paths = (tmp_path / f"{number}.db" for number in range(100))
        yield lambda sample: stack.enter_context(opened(next(paths), sample))


@pytest.fixture
def read(stored: Stored) -> Read:
    """Stores a sample and reads its results."""
    return lambda sample: read_results(stored(sample), sample.study.name)
