"""The torture of `scripts/torture` in small, and that it would notice harm."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture import CASES, Counts, Torturer, shows_a_traceback


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_disturbed_studies_come_to_the_same_result(tmp_path: Path) -> None:
    (case,) = (case for case in CASES if case.name == "tpe_pruned")
    torturer = Torturer(tmp_path, seed=1)
    torturer.torture(case, disturbances=3)
    counts = torturer.counts
    assert counts.disturbances.total() == 3
    assert counts.harm == 0, "\n".join(counts.lines())


@pytest.mark.parametrize(
    "what", ["lost", "duplicates", "zombies", "different", "leftovers", "tracebacks"]
)
def test_each_kind_of_harm_counts(what: str) -> None:
    counts = Counts(repeated_epochs=100)  # which is no harm
    assert counts.harm == 0
    setattr(counts, what, 1)
    assert counts.harm == 1


def test_tracebacks_count_but_for_those_of_a_killed_helper_of_python() -> None:
    head = "Traceback (most recent call last):\n"
    helper = f'{head}  File "…/multiprocessing/resource_tracker.py", line 239\nKeyError: "/mp-x"\n'
    ours = f'{head}  File "mnist_tune/cli/main.py", line 9\nKeyboardInterrupt\n'
    assert not shows_a_traceback("all is well\n")
    assert not shows_a_traceback(helper + helper)
    assert shows_a_traceback(helper + ours)
    assert shows_a_traceback(ours)
