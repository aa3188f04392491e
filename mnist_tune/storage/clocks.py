"""Whether the times in Optuna's tables are UTC: Optuna 5 writes UTC, older ones local time.

Our own times are always UTC, so that nothing of ours is wrong; Optuna's dashboard shows its own.
Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from mnist_tune.storage.identity import Rows
from mnist_tune.storage.location import Location

_FIRST_IN_UTC = 5

_WRITER = "SELECT library_version FROM version_info"
# When trials ended, by Optuna's clock and by ours.
_ENDS = """
SELECT CAST(trials.datetime_complete AS VARCHAR(32)), mnist_tune_timings.finished_at
FROM trials
JOIN studies ON studies.study_id = trials.study_id
JOIN mnist_tune_studies ON mnist_tune_studies.name = studies.study_name
JOIN mnist_tune_timings ON mnist_tune_timings.study_uid = mnist_tune_studies.uid
    AND mnist_tune_timings.trial_number = trials.number AND mnist_tune_timings.confirmation = 0
WHERE trials.state = 'COMPLETE' AND trials.datetime_complete IS NOT NULL
"""
# All zones are whole quarters of an hour from UTC; a result is told within seconds of its end.
_QUARTER = timedelta(minutes=15)
_TOLERANCE = timedelta(minutes=1)
_FARTHEST = timedelta(hours=14)


def warning(rows: Rows, location: Location) -> str | None:
    """One line about times that are not UTC; None where all are, as far as can be told."""
    hours = _shift_hours(rows(_ENDS))
    if hours is not None:
        return (
            f"WARNING: {location}: Optuna's times of trials are {hours:+g} h from UTC, as Optuna 4 "
            "wrote them: the dashboard shows them shifted, reports of mnist_tune do not use them"
        )
    version = str(next(iter(rows(_WRITER)), ("",))[0])
    major = version.partition(".")[0]
    if major.isdecimal() and int(major) < _FIRST_IN_UTC:
        return (
            f"WARNING: {location} was made by Optuna {version}, which wrote local times where "
            "Optuna 5 writes UTC: the dashboard may show older trials shifted, reports do not use them"
        )
    return None


def _shift_hours(ends: Iterable[tuple[str, str]]) -> float | None:
    """The first shift by a time zone that is found."""
    for theirs, ours in ends:
        apart = _utc(theirs) - _utc(ours)
        quarters = round(apart / _QUARTER)
        if quarters and abs(apart) <= _FARTHEST and abs(apart - quarters * _QUARTER) < _TOLERANCE:
            return quarters / 4
    return None


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)
