"""A study as it will run: the study file, what the command line changes, and the checked space."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, cast, get_args

from mnist_tune.definitions import loading
from mnist_tune.definitions.space import PRUNED, Space, check_point, probe
from mnist_tune.errors import DefinitionError
from mnist_tune.metrics import Metric
from mnist_tune.networks import Denoiser, Network, network_from_json
from mnist_tune.study import Grid, Sampler, Search, Study

_REHEARSAL_EPOCHS = 3
_REHEARSAL_SEEDS = {"seeds": 2, "confirm_seeds": 3}
_REHEARSAL_TRIALS = 5
# Which part of a study an override changes; those of the plan depend on it.
_OF_RECIPE = ("epochs", "precision")
_OF_STUDY = ("seeds", "pruner", "protocol", "study_seed", "confirm_seeds", "baseline")


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
    precision: str | None = None
    study_seed: int | None = None
    confirm_seeds: int | None = None
    baseline: str | None = None
    quick: bool = False

    def to_json(self) -> dict[str, Any]:
        """Only what was given."""
        # By identity: 0 == False, and `--seeds 0` must be refused rather than forgotten.
        return {
            name: value
            for name, value in asdict(self).items()
            if value is not None and value is not False
        }

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
    """

    name: str
    source: str
    question: str
    study: Study
    space: Space
    overrides: Overrides

    @property
    def metric(self) -> Metric:
        """What its trials are judged by."""
        return _networks(self.space)[0].metric

    @property
    def noise(self) -> tuple[float, float] | None:
        """Lowest and highest noise level that its networks denoise; None of classifiers."""
        network = _networks(self.space)[0]
        return network.noise if isinstance(network, Denoiser) else None


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
    file = loading.find_study(reference)
    study = _overridden(loading.load_study_file(file), overrides)
    try:
        space = probe(study)
        _check_one_task(space)
        _check_plan(study, space)
    except DefinitionError as error:
        raise DefinitionError(f"{file.path}: {error}") from error
    return Definition(
        name=_default_name(file.name, study, overrides) if name is None else name,
        source=file.source,
        question=loading.question(file),
        study=study,
        space=space,
        overrides=overrides,
    )


def _default_name(stem: str, study: Study, overrides: Overrides) -> str:
    notebook = "-notebook" if study.protocol == "notebook" and overrides.protocol else ""
    return stem + notebook + ("-quick" if overrides.quick else "")


def _networks(space: Space) -> list[Network]:
    return [network_from_json(made["network"]) for _, made in space.examples if made != PRUNED]


def _check_one_task(space: Space) -> None:
    """Raise unless all trials can be compared: by one metric, with the same noise."""
    networks = _networks(space)
    if not networks:
        raise DefinitionError("suggest(trial) prunes whatever it is given; let it return a network")
    if len({network.metric.key for network in networks}) > 1:
        raise DefinitionError(
            "suggest(trial) returns classifiers and autoencoders, which cannot be compared; "
            "make two studies of them"
        )
    if len(noises := {n.noise for n in networks if isinstance(n, Denoiser)}) > 1:
        raise DefinitionError(
            f"suggest(trial) returns autoencoders with different noise ({sorted(noises)}), so that "
            "their errors cannot be compared; give all the same noise"
        )


def _check_plan(study: Study, space: Space) -> None:
    plan = study.plan
    if isinstance(plan, Search) and not space.parameters:
        raise DefinitionError(
            f"suggest(trial) asks for no parameter, so that sampler {plan.sampler} would try the same "
            "network over and over; give the plan Grid(({},))"
        )
    numbers = [name for name in space.common_numbers if not space.parameters[name].single()]
    if isinstance(plan, Search) and plan.sampler == "cmaes" and len(numbers) < 2:
        raise DefinitionError(
            "sampler cmaes needs two numbers that every trial has; there is "
            f"{', '.join(numbers) or 'none'}: give sampler tpe or gp"
        )
    for point in plan.points if isinstance(plan, Grid) else plan.first:
        check_point(study, space, point)


def _overridden(study: Study, overrides: Overrides) -> Study:
    given = overrides.to_json()
    study = replace(study, plan=_plan(study.plan, overrides))
    for name, value in given.items():
        with _blaming(name, value):
            if name in _OF_RECIPE:
                study = replace(study, recipe=replace(study.recipe, **{name: value}))
            elif name in _OF_STUDY:
                study = replace(study, **{name: value})
    return _rehearsal(study, given) if overrides.quick else study


@contextmanager
def _blaming(name: str, value: object) -> Iterator[None]:
    """Say which option gave a value that is refused."""
    try:
        yield
    except DefinitionError as error:
        reason = str(error).rpartition(": ")[2]
        raise DefinitionError(f"--{name.replace('_', '-')} {_typed(value)}: {reason}") from error


def _typed(value: object) -> str:
    """A value as it was typed, on one line."""
    return str(value) if str(value).isprintable() else repr(value)


def _plan(plan: Grid | Search, overrides: Overrides) -> Grid | Search:
    plan = _sampled(plan, overrides.sampler)
    trials = overrides.trials
    if trials is None:
        return plan
    if isinstance(plan, Search):
        with _blaming("trials", trials):
            return replace(plan, trials=trials)
    if not 1 <= trials <= len(plan.points):
        raise DefinitionError(
            f"--trials {trials}: the grid has {len(plan.points)} points; "
            "give 1 to that many, or --sampler tpe"
        )
    return Grid(plan.points[:trials])


def _sampled(plan: Grid | Search, sampler: str | None) -> Grid | Search:
    """The plan with another sampler; points that come first stay."""
    if sampler is None:
        return plan
    if sampler == "grid":
        if isinstance(plan, Grid):
            return plan
        raise DefinitionError(
            "--sampler grid: this study has no grid; give --sampler random or tpe"
        )
    if sampler not in get_args(Sampler):
        raise DefinitionError(
            f"--sampler {_typed(sampler)}: give one of grid, {', '.join(get_args(Sampler))}"
        )
    known = cast(Sampler, sampler)
    return replace(plan, sampler=known) if isinstance(plan, Search) else Search(sampler=known)


def _rehearsal(study: Study, given: dict[str, Any]) -> Study:
    """Shorten what the command line did not give by hand."""
    if "epochs" not in given:
        epochs = min(study.recipe.epochs, _REHEARSAL_EPOCHS)
        study = replace(study, recipe=replace(study.recipe, epochs=epochs))
    if "trials" not in given:
        study = replace(study, plan=_shortened(study.plan))
    shorter = {
        name: min(getattr(study, name), most)
        for name, most in _REHEARSAL_SEEDS.items()
        if name not in given
    }
    return replace(study, **shorter)


def _shortened(plan: Grid | Search) -> Grid | Search:
    if isinstance(plan, Grid):
        return Grid(plan.points[:_REHEARSAL_TRIALS])
    return replace(plan, trials=min(plan.trials, _REHEARSAL_TRIALS))
