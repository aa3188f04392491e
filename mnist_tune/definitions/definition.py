"""A study as it will run: the study file, what the command line changes, and the checked space."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from mnist_tune.definitions import loading
from mnist_tune.definitions.space import Space, check_point, probe
from mnist_tune.errors import DefinitionError
from mnist_tune.study import Grid, Search, Study

_REHEARSAL_EPOCHS = 3
_REHEARSAL_SEEDS = 2
_REHEARSAL_CONFIRM_SEEDS = 3
_REHEARSAL_TRIALS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the command line changes; None leaves the study file's own value.

    Attributes:
        quick: a rehearsal: at most 3 epochs, 2 seeds, 5 trials and 3 confirmation seeds.
    """

    epochs: int | None = None
    seeds: int | None = None
    trials: int | None = None
    sampler: str | None = None
    pruner: str | None = None
    protocol: str | None = None
    study_seed: int | None = None
    confirm_seeds: int | None = None
    quick: bool = False

    def to_json(self) -> dict[str, Any]:
        """Only what was given."""
        return {name: value for name, value in asdict(self).items() if value not in (None, False)}

    @staticmethod
    def from_json(values: dict[str, Any]) -> Overrides:
        """The inverse of `to_json`."""
        known = {field.name for field in fields(Overrides)}
        return Overrides(**{name: value for name, value in values.items() if name in known})


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A study that has been checked and can run.

    Attributes:
        name: of the study in the storage.
        source: what its file is found by, see `loading.StudyFile`.
        question: first paragraph of the file's docstring.
        study: with the overrides applied.
        space: what `suggest` may ask for.
        overrides: what the command line changed.
    """

    name: str
    source: str
    question: str
    study: Study
    space: Space
    overrides: Overrides


def define(reference: str, overrides: Overrides, name: str | None = None) -> Definition:
    """Load a study file, apply overrides and check all of it.

    Args:
        reference: a built-in name or the path of a study file.
        overrides: from the command line.
        name: of the study in the storage; by default the file's stem, with `-notebook` and
            `-quick` behind it where these apply, so that a rehearsal is never in the way.

    Raises:
        DefinitionError: one line that says what is wrong.
    """
    file = loading.find(reference)
    try:
        study = _overridden(loading.load(file), overrides)
        space = probe(study)
        for point in study.plan.points if isinstance(study.plan, Grid) else study.plan.first:
            check_point(study, space, point)
    except DefinitionError as error:
        where = "" if str(file.path) in str(error) else f"{file.path}: "
        raise DefinitionError(f"{where}{error}") from error
    return Definition(
        name=name or _default_name(file.name, study, overrides),
        source=file.source,
        question=loading.question(file),
        study=study,
        space=space,
        overrides=overrides,
    )


def _default_name(stem: str, study: Study, overrides: Overrides) -> str:
    notebook = "-notebook" if study.protocol == "notebook" and overrides.protocol else ""
    return stem + notebook + ("-quick" if overrides.quick else "")


def _overridden(study: Study, overrides: Overrides) -> Study:
    given = overrides.to_json()
    simple = {
        name: given[name]
        for name in ("seeds", "pruner", "protocol", "study_seed", "confirm_seeds")
        if name in given
    }
    recipe = replace(study.recipe, epochs=given["epochs"]) if "epochs" in given else study.recipe
    changed = replace(study, recipe=recipe, plan=_plan(study, overrides), **simple)
    return _rehearsal(changed, given) if overrides.quick else changed


def _plan(study: Study, overrides: Overrides) -> Grid | Search:
    plan = study.plan
    if overrides.sampler == "grid":
        if not isinstance(plan, Grid):
            raise DefinitionError(
                "--sampler grid: this study has no grid; give --sampler random or tpe"
            )
    elif overrides.sampler is not None:
        trials = plan.trials if isinstance(plan, Search) else 30
        plan = Search(sampler=overrides.sampler, trials=trials)  # type: ignore[arg-type]  # checked there
    if overrides.trials is None:
        return plan
    if isinstance(plan, Search):
        return replace(plan, trials=overrides.trials)
    if not 1 <= overrides.trials <= len(plan.points):
        raise DefinitionError(
            f"--trials {overrides.trials}: the grid has {len(plan.points)} points; "
            "give 1 to that many, or --sampler tpe"
        )
    return Grid(plan.points[: overrides.trials])


def _rehearsal(study: Study, given: dict[str, Any]) -> Study:
    """Shorten what the command line did not give by hand."""
    epochs = given.get("epochs", min(study.recipe.epochs, _REHEARSAL_EPOCHS))
    plan = study.plan
    if isinstance(plan, Search) and "trials" not in given:
        plan = replace(plan, trials=min(plan.trials, _REHEARSAL_TRIALS))
    return replace(
        study,
        recipe=replace(study.recipe, epochs=epochs),
        plan=plan,
        seeds=given.get("seeds", min(study.seeds, _REHEARSAL_SEEDS)),
        confirm_seeds=given.get(
            "confirm_seeds", min(study.confirm_seeds, _REHEARSAL_CONFIRM_SEEDS)
        ),
    )
