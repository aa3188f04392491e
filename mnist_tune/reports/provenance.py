"""Where a study's numbers come from: its definition, its data, its protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from sqlalchemy import Connection

from mnist_tune.data.sources import Source
from mnist_tune.errors import StorageError
from mnist_tune.metrics import METRICS, Metric
from mnist_tune.storage.records import ConfirmationRow, StudyRow
from mnist_tune.storage.store import read_rows

_KINDS = {
    "FloatDistribution": "float",
    "IntDistribution": "int",
    "CategoricalDistribution": "categorical",
}
_OF_THE_ROW = (
    *("uid", "name", "question", "protocol", "rehearsal", "baseline", "planned_trials", "seeds"),
    *("overrides", "fingerprint", "versions"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedParameter:
    """One searched parameter.

    Attributes:
        name: as in the study file.
        kind: float, int or categorical.
        low, high: ends of its range; None if categorical.
        log: whether the range is searched on a log scale.
        choices: of a categorical parameter.
        points: the values that a grid plans, ascending and distinct; empty for a sampler.
    """

    name: str
    kind: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()
    points: tuple[float, ...] = ()

    @property
    def numeric(self) -> bool:
        """Whether values have an order and distances."""
        return self.kind != "categorical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """A study as it was defined, with each opening of the test set.

    What is not named here is that of its `StudyRow`.

    Attributes:
        source: built-in name, or the name of the study file without its folder.
        recipe: how networks are trained, as JSON values; what is searched has one of its values.
        searched_recipe: settings of the recipe that differ between trials.
        data: the images; where they lie is the machine's business, and not for show.
        parameters: the searched ones; results have them in the order of `suggest`.
        confirmations: openings of the test set, the first first.
    """

    uid: str
    name: str
    question: str
    source: str
    protocol: str
    rehearsal: bool
    baseline: str
    planned_trials: int
    seeds: int
    recipe: Mapping[str, Any]
    searched_recipe: tuple[str, ...] = ()
    sampler: str
    pruner: str
    overrides: Mapping[str, Any]
    fingerprint: str
    data: Source
    versions: Mapping[str, str]
    metric: Metric
    noise: tuple[float, float] | None
    parameters: tuple[SearchedParameter, ...]
    confirmations: tuple[ConfirmationRow, ...] = ()

    @property
    def selects_on_test(self) -> bool:
        """Whether what is called validation is the test set."""
        return self.protocol == "notebook"

    @property
    def warning(self) -> str:
        """Why a figure of this study shows no result; empty where it shows one."""
        if self.rehearsal:
            return "rehearsal, not a result"
        if not self.data.full:
            return "embedded digits, not the full MNIST"
        return "optimistic: selected on the test set" if self.selects_on_test else ""

    @property
    def not_comparable(self) -> str:
        """Why the study is compared with no published number; empty where it is."""
        if not self.data.full:
            return "the data is not the full MNIST"
        return "this is a rehearsal" if self.rehearsal else ""

    @property
    def label(self) -> str:
        """What keeps the study's numbers from being compared with those of others."""
        reasons = {
            "rehearsal": self.rehearsal,
            "embedded digits": not self.data.full,
            "notebook protocol, optimistic": self.selects_on_test,
        }
        return ", ".join(reason for reason, true in reasons.items() if true)

    @property
    def validation_name(self) -> str:
        """Which images the search is judged by: `test` or `validation`."""
        return "test" if self.selects_on_test else "validation"


def read_provenance(connection: Connection, name: str) -> Provenance:
    """Read a study and its openings of the test set.

    Raises:
        StorageError: there is no study of that name; the message says which there are.
    """
    studies = read_rows(connection, StudyRow, name=name)
    if not studies:
        names = [study.name for study in read_rows(connection, StudyRow, order=("name",))]
        known = ", ".join(names) or "no study yet"
        raise StorageError(f"no study {name!r}; the storage holds {known}: type `mnist-tune list`")
    study = studies[0]
    definition = json.loads(study.definition)
    plan = definition.get("plan", {})
    recipe, searched = _recipe(definition)
    return Provenance(
        **{name: getattr(study, name) for name in _OF_THE_ROW},
        source=PurePath(study.source).name,
        recipe=recipe,
        searched_recipe=searched,
        sampler=plan.get("sampler", "grid"),
        pruner=definition.get("pruner", "none"),
        data=Source.from_json(study.data),
        metric=METRICS[study.metric],
        noise=study.noise,
        parameters=_parameters(definition.get("space", {}), plan.get("points", [])),
        confirmations=read_rows(connection, ConfirmationRow, study_uid=study.uid),
    )


def _recipe(definition: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The recipe as trials follow it, and which of its settings differ between them.

    A study file may set the learning rate and the size of batches for each trial.
    """
    recipe = dict(definition.get("recipe", {}))
    searched = []
    for name in ("batch_size", "learning_rate"):
        made = {example.get(name) for _, example in definition.get("examples", [])}
        if len(made) > 1:
            searched.append(name)
        elif (value := next(iter(made), None)) is not None:
            changed = {name: value}
            if name in recipe.get("optimizer", {}):
                changed = {"optimizer": {**recipe["optimizer"], **changed}}
            recipe.update(changed)
    return recipe, tuple(searched)


def _parameters(
    space: Mapping[str, Mapping[str, Any]], points: list[Mapping[str, Any]]
) -> tuple[SearchedParameter, ...]:
    """Read Optuna's distributions from their JSON; Optuna itself takes a third of a second to import."""
    return tuple(
        _parameter(name, _KINDS[entry["name"]], entry["attributes"], points)
        for name, entry in sorted(space.items())
    )


def _parameter(
    name: str, kind: str, found: Mapping[str, Any], points: list[Mapping[str, Any]]
) -> SearchedParameter:
    if kind == "categorical":
        return SearchedParameter(name=name, kind=kind, choices=tuple(found["choices"]))
    planned = tuple(sorted({point[name] for point in points if name in point}))
    ends = {end: found[end] for end in ("low", "high", "log")}
    return SearchedParameter(name=name, kind=kind, points=planned, **ends)
