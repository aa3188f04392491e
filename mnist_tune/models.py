"""The trained networks of a study's best trial as plain Keras models.

The weights of a confirmed run are those that its confirmation kept. A run of the search, or one
whose weights are gone, is trained again: equal seeds give equal weights.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mnist_tune import checkpoints
from mnist_tune.checkpoints import CheckpointError
from mnist_tune.data.sources import Dataset, Source, load_dataset, load_source
from mnist_tune.data.splits import Part, final, split
from mnist_tune.errors import DefinitionError, Diverged, InputError, MnistTuneError
from mnist_tune.metrics import METRICS, Metric
from mnist_tune.networks import Denoiser, Network, network_from_json
from mnist_tune.noise import evaluation_images, image_errors
from mnist_tune.recipes import recipe_from_json
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import ConfirmationRow, RunRow, StudyRow, TrialRow
from mnist_tune.storage.store import Store
from mnist_tune.trainer.states import RunState
from mnist_tune.workers.tasks import Run, Task, TrialSpec
from mnist_tune.workers.worker import train_task

Say = Callable[[str], object]

BATCH = 1_000  # images that a model predicts at once
# Share of images that may tip (one always may), and relative difference of a denoising error.
# Measured after three epochs in bfloat16: 1 image of 1,000, and 6e-5.
_TOLERANCES = {"float32": (0.0, 1e-4), "bfloat16": (2e-3, 5e-3)}


@dataclass(frozen=True, slots=True)
class Winner:
    """One run of the best configuration.

    Attributes:
        study: it belongs to.
        trial: the complete trial with the best objective.
        run: of the latest confirmation if there is one, else of the search.
    """

    study: StudyRow
    trial: TrialRow
    run: RunRow

    @property
    def seed(self) -> int:
        """Of the run."""
        return self.run.seed

    @property
    def network(self) -> Network:
        """What was trained."""
        return network_from_json(dict(self.trial.network))

    @property
    def metric(self) -> Metric:
        """What the study judges by."""
        return METRICS[self.study.metric]

    @property
    def confirmed(self) -> bool:
        """Whether the run belongs to a confirmation."""
        return self.run.confirmation > 0

    @property
    def value(self) -> float:
        """The run's metric: on the test set if confirmed, else on the validation images."""
        images = "test" if self.confirmed else "val"
        found: float | None = getattr(self.run, f"{images}_{self.metric.column}")
        assert found is not None
        return found

    @property
    def measured_on(self) -> str:
        """What `value` was measured on."""
        return "test" if self.confirmed or self.study.protocol == "notebook" else "validation"

    def to_json(self) -> dict[str, Any]:
        """The configuration and its metric, as JSON values."""
        key = self.metric.key
        return {
            "study": self.study.name,
            "trial": self.trial.trial_number,
            "params": dict(self.trial.params),
            "network": dict(self.trial.network),
            "recipe": dict(self.trial.recipe),
            "parameters": self.trial.parameters,
            f"val_{key}_mean": self.trial.objective,
            "confirmed": self.confirmed,
            "seed": self.seed,
            f"{self.measured_on}_{key}": self.value,
        }


@dataclass(frozen=True, slots=True, eq=False)
class TrainedRun:
    """A run of the best configuration with its weights."""

    winner: Winner
    state: RunState

    @property
    def seed(self) -> int:
        """Of the run."""
        return self.winner.seed

    @property
    def network(self) -> Network:
        """What was trained."""
        return self.winner.network

    def model(self) -> Any:
        """A plain Keras model with the weights."""
        from mnist_tune.trainer.keras_models import with_weights

        return with_weights(self.network, self.state)


def find_winner(location: Location, name: str, seed: int | None = None) -> Winner:
    """Find the best configuration of a study, and one of its runs.

    Args:
        location: of the database.
        name: of the study.
        seed: of the run; None takes the first. The best run is not offered: on the test set that
            would be selection by the test set.

    Raises:
        Incomplete: no trial is complete.
        DefinitionError: there is no run with that seed.
    """
    winners = find_winners(location, name)
    for winner in winners:
        if seed in (None, winner.seed):
            return winner
    seeds = ", ".join(str(winner.seed) for winner in winners)
    raise DefinitionError(
        f"--seed {seed}: the best configuration of {name} has the runs {seeds}; give one of them"
    )


def find_winners(location: Location, name: str) -> tuple[Winner, ...]:
    """Find the best configuration of a study, and all its runs by seed.

    They are those of its latest complete confirmation if there is one, else those of the search.

    Raises:
        Incomplete: no trial is complete.
    """
    with open_database(location, create=False, read_only=True) as database:
        store = Store(database)
        return winners_of(store, store.study(name))


def winners_of(store: Store, study: StudyRow) -> tuple[Winner, ...]:
    """As `find_winners`, from an open storage."""
    trial = store.best_trial(study)
    done = [
        c.confirmation
        for c in store.rows(ConfirmationRow, study_uid=study.uid, state="complete")
        if c.trial_number == trial.trial_number
    ]
    runs = store.rows(
        RunRow,
        study_uid=study.uid,
        confirmation=done[-1] if done else 0,
        trial_number=trial.trial_number,
    )
    return tuple(Winner(study, trial, run) for run in runs)


def trained_run(
    location: Location, winner: Winner, source: Source, say: Say = lambda _line: None
) -> TrainedRun:
    """Get a run's weights, by training it again if they were not kept.

    Args:
        location: of the database that the winner is from; its kept weights lie beside it.
        winner: which run.
        source: the study's images, wherever they lie now.
        say: takes a line where the run must be trained again, which may take long.
    """
    run = _run(location, winner, source)
    state = _kept(run)
    if state is None:
        say(
            f"training seed {winner.seed} of {winner.study.name} again, since its weights were not "
            f"kept: {run.trial.recipe.epochs} epochs, with the same result"
        )
        state = _trained_again(run)
    return TrainedRun(winner, state)


def trained_runs(
    location: Location, name: str, data: Path | None = None, say: Say = lambda _line: None
) -> tuple[TrainedRun, ...]:
    """All runs of a study's best configuration with their weights.

    Args:
        location: of the database.
        name: of the study.
        data: folder of the study's images if they have moved.
        say: as of `trained_run`.

    Raises:
        Incomplete: no trial is complete.
        DataError: the images are not there.
    """
    winners = find_winners(location, name)
    source = same_source(winners[0].study, data)
    return tuple(trained_run(location, winner, source, say) for winner in winners)


def save_winner(location: Location, winner: Winner, path: Path, data: Path | None) -> str:
    """Write the run as a `.keras` file and say how its metric compares with the stored one.

    Raises:
        InputError: the file cannot be written, or the data are not there.
        MnistTuneError: the file's metric is not the stored one.
    """
    from mnist_tune.trainer.keras_models import KERAS_SUFFIX, save_model

    # `save` says the same, but only after a training that may take long.
    if path.suffix != KERAS_SUFFIX:
        raise DefinitionError(f"{path}: Keras wants a name that ends in {KERAS_SUFFIX}; give that")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it or give another")
    source = same_source(winner.study, data)
    model = trained_run(location, winner, source).model()
    part = _judges(winner, load_source(source))
    value, tolerance = _measured(winner, model, part)
    shown = winner.metric.shown
    if abs(value - winner.value) > tolerance:
        raise MnistTuneError(
            f"{path} was not written: it would have {shown(value)}, "
            f"but {shown(winner.value)} is stored"
        )
    save_model(model, path)
    return (
        f"{winner.measured_on} {winner.metric.name} {shown(value)}, {shown(winner.value)} is stored"
    )


def same_source(study: StudyRow, data: Path | None) -> Source:
    """Where the images of a study lie, or lie now.

    Raises:
        DefinitionError: `data` holds others.
    """
    stored = Source.from_json(study.data)
    if data is None:
        return stored
    found = load_dataset(data).source
    if found.sha256 != stored.sha256:
        raise DefinitionError(
            f"{data} holds other images than those of {study.name}; leave --data out"
        )
    return found


def _measured(winner: Winner, model: Any, part: Part) -> tuple[float, float]:
    """The metric of a Keras model, and by how much it may differ from the trainer's.

    Keras' own kernels round differently: that moves an error a little, and can tip an image that
    stands on the edge between two classes. The trainer scores bfloat16 runs in bfloat16, whose 8
    bits do so more.
    """
    network, recipe = winner.network, recipe_from_json(dict(winner.trial.recipe))
    tipped, relative = _TOLERANCES[recipe.precision]
    if isinstance(network, Denoiser):
        noisy = evaluation_images(part.images, network.noise)
        made = model.predict(noisy, batch_size=BATCH, verbose=0)
        return image_errors(part.images, made).loss, relative * winner.value
    classes = model.predict(part.images, batch_size=BATCH, verbose=0).argmax(1)
    return float((classes == part.labels).mean()), max(1.5 / len(part), tipped)


def _run(location: Location, winner: Winner, source: Source) -> Run:
    confirmation = winner.run.confirmation
    trial = TrialSpec(
        trial_number=winner.trial.trial_number,
        confirmation=confirmation,
        network=winner.network,
        recipe=recipe_from_json(dict(winner.trial.recipe)),
        seeds=(winner.seed,),
        protocol="notebook" if winner.study.protocol == "notebook" else "holdout",
        source=source,
        checkpoints=location.checkpoints / winner.study.uid,
        weights=location.artifacts / winner.study.uid / f"confirmation-{confirmation}"
        if confirmation
        else None,
    )
    return Run(trial, winner.seed)


def _kept(run: Run) -> RunState | None:
    if run.weights is None:
        return None
    try:
        return checkpoints.load_checkpoint(run.weights, run.identity)
    except CheckpointError:
        return None  # trained again, with the same result


def _trained_again(run: Run) -> RunState:
    with tempfile.TemporaryDirectory() as folder:
        run = replace(run, trial=replace(run.trial, checkpoints=Path(folder), weights=None))
        task = Task(name=run.trial.key, runs=(run,), checkpoint_seconds=1e9)
        (result,) = train_task(task, lambda _message: None)
        if isinstance(result, Diverged):  # it did not when it was trained first
            raise result
        state = checkpoints.load_checkpoint(run.checkpoint, run.identity)
    assert state is not None
    return state


def _judges(winner: Winner, dataset: Dataset) -> Part:
    return (
        final(dataset)[1] if winner.measured_on == "test" else split(dataset, "holdout").validation
    )
