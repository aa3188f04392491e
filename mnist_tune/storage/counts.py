"""How many trials of each study are in which state, by plain SQL on Optuna's tables.

Standard library only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mnist_tune.storage.records import TrialCounts

# The enumeration is a type of its own in PostgreSQL, hence the cast.
COUNTS_SQL = """
SELECT studies.study_name, CAST(trials.state AS VARCHAR(16)), COUNT(*)
FROM trials JOIN studies ON studies.study_id = trials.study_id
GROUP BY studies.study_name, trials.state
"""

_FIELDS = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


def counts_by_name(rows: Sequence[tuple[Any, ...]]) -> dict[str, TrialCounts]:
    """Turn the rows of COUNTS_SQL into counts of each study."""
    numbers: dict[str, dict[str, int]] = defaultdict(dict)
    for name, state, number in rows:
        numbers[name][_FIELDS[state]] = number
    return {name: TrialCounts(**states) for name, states in numbers.items()}
