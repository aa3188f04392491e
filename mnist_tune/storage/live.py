"""A study as it is just now: trials under way epoch by epoch, and those that ended last.

Read-only and with one state of the database for all of it, as `overview` reads; a writer may be at
work.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mnist_tune.storage.identity import Rows
from mnist_tune.storage.location import Location
from mnist_tune.storage.overview import StudyOverview, reading_rows, study_overview

_RUNNING = """
SELECT t.number, v.step, v.intermediate_value
FROM trials t JOIN studies s ON s.study_id = t.study_id
LEFT JOIN trial_intermediate_values v ON v.trial_id = t.trial_id
WHERE s.study_name = :name AND CAST(t.state AS VARCHAR(16)) = 'RUNNING'
ORDER BY t.number, v.step
"""
_PARAMS = """
SELECT t.number, p.param_name, p.param_value, p.distribution_json
FROM trials t JOIN studies s ON s.study_id = t.study_id
JOIN trial_params p ON p.trial_id = t.trial_id
WHERE s.study_name = :name AND CAST(t.state AS VARCHAR(16)) = 'RUNNING'
ORDER BY t.number, p.param_id
"""
_ENDED = """
SELECT t.trial_number, t.state, t.reason, t.params, t.label, t.objective, m.elapsed_seconds
FROM mnist_tune_trials t JOIN mnist_tune_timings m
ON m.study_uid = t.study_uid AND m.trial_number = t.trial_number AND m.confirmation = 0
WHERE t.study_uid = :uid ORDER BY m.finished_at, t.trial_number
"""
_VALUES = """
SELECT seed, {column} FROM mnist_tune_runs
WHERE study_uid = :uid AND confirmation = 0 AND trial_number = :number ORDER BY seed
"""
_CONFIRMING = """
SELECT confirmation, trial_number, seeds FROM mnist_tune_confirmations
WHERE study_uid = :uid AND state = 'running' ORDER BY confirmation
"""
_DEFINITION = "SELECT definition FROM mnist_tune_studies WHERE uid = :uid"


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A trial that is being trained.

    Attributes:
        number: of the trial.
        params: its parameters; some may be missing for a moment.
        values: epoch → mean of the metric over the seeds.
    """

    number: int
    params: Mapping[str, Any]
    values: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Ended:
    """A trial that has ended.

    Attributes:
        number, state, reason, params, label, objective: as in our table of trials.
        elapsed_seconds: of its last attempt.
    """

    number: int
    state: str
    reason: str | None
    params: Mapping[str, Any]
    label: str
    objective: float | None
    elapsed_seconds: float


@dataclass(frozen=True, slots=True)
class Live:
    """What is going on in a study.

    Attributes:
        overview: the study at a glance.
        epochs: that a run trains; a trial may set its own number.
        running: trials under way, by number.
        ended: trials with timings, the latest last.
        best_values: the metric of each seed of the best trial.
        confirming: trial and number of seeds of a confirmation that is under way.
    """

    overview: StudyOverview
    epochs: int
    running: tuple[UnderWay, ...]
    ended: tuple[Ended, ...]
    best_values: tuple[float, ...]
    confirming: tuple[int, int] | None


def read_live(location: Location, name: str, column: str) -> Live:
    """Look at a study.

    Args:
        location: of the database.
        name: of the study.
        column: of the runs that holds its metric, such as `val_accuracy`.

    Raises:
        StorageError: there is no such study, or nothing can be read.
    """
    overview = study_overview(location, name)
    with reading_rows(location) as source:
        assert source is not None, "it was there a moment ago"
        tables, rows = source
        uid = overview.uid
        (definition,) = rows(_DEFINITION, uid=uid)[0]
        confirming = rows(_CONFIRMING, uid=uid)
        best = overview.best
        return Live(
            overview=overview,
            epochs=int(json.loads(definition)["recipe"]["epochs"]),
            running=_running(rows, name) if "trial_intermediate_values" in tables else (),
            ended=tuple(
                Ended(number, state, reason, json.loads(params), label, objective, seconds)
                for number, state, reason, params, label, objective, seconds in rows(
                    _ENDED, uid=uid
                )
            ),
            best_values=()
            if best is None
            else tuple(
                value
                for _, value in rows(
                    _VALUES.format(column=column), uid=uid, number=best.trial_number
                )
                if value is not None
            ),
            confirming=(confirming[0][1], len(json.loads(confirming[0][2])))
            if confirming
            else None,
        )


def _running(rows: Rows, name: str) -> tuple[UnderWay, ...]:
    values: dict[int, dict[int, float]] = defaultdict(dict)
    for number, step, value in rows(_RUNNING, name=name):
        seen = values[number]
        if step is not None and value is not None:
            seen[step] = value
    params: dict[int, dict[str, Any]] = defaultdict(dict)
    for number, param, value, distribution in rows(_PARAMS, name=name):
        params[number][param] = _external(value, distribution)
    return tuple(UnderWay(number, params[number], seen) for number, seen in values.items())


def _external(value: float, distribution: str) -> Any:
    """A parameter as it was suggested; Optuna stores the position of a choice, and ints as floats."""
    described = json.loads(distribution)
    kind, attributes = described["name"], described["attributes"]
    if kind == "CategoricalDistribution":
        return attributes["choices"][int(value)]
    return int(value) if kind == "IntDistribution" else value
