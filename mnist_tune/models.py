"""The trained networks of a trial, by default a study's best, as plain Keras models.

The weights of a confirmed run are those that its confirmation kept. A run of the search, or one
whose weights are gone, is trained again: equal seeds give equal weights.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_tune import checkpoints
from mnist_tune.checkpoints import CheckpointError
from mnist_tune.data.sources import Log, Part, Source, ignore, load_dataset, load_source, split
from mnist_tune.errors import DefinitionError, Diverged, MnistTuneError
from mnist_tune.metrics import METRICS, Metric
from mnist_tune.networks import Denoiser, Network, network_from_json
from mnist_tune.noise import WHITE, evaluation_images, image_errors
from mnist_tune.recipes import recipe_from_json
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import ConfirmationRow, RunRow, StudyRow, TrialRow
from mnist_tune.storage.store import Store
from mnist_tune.trainer.states import RunState
from mnist_tune.workers.tasks import Run, Task, TrialSpec
from mnist_tune.workers.worker import train_task

_AT_ONCE = 1_000  # images that a model predicts
# Share of images that may tip (one always may), and relative difference of a denoising error.
# Measured after three epochs in bfloat16: 1 image of 1,000, and 6e-5.
_TOLERANCES = {"float32": (0.0, 1e-4), "bfloat16": (2e-3, 5e-3)}


@dataclass(frozen=True, slots=True)
class TrainedTrial:
    """A trial with the runs whose networks can be had.

    Attributes:
        study: it belongs to.
        trial: complete.
        runs: of its latest complete confirmation if there is one, else of the search; by seed.
    """

    study: StudyRow
    trial: TrialRow
    runs: tuple[RunRow, ...]

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
        """Whether the runs belong to a confirmation."""
        return self.runs[0].confirmation > 0

    @property
    def measured_on(self) -> str:
        """What the runs were measured on."""
        return "test" if self.confirmed or self.study.protocol == "notebook" else "validation"

    @property
    def values(self) -> tuple[float, ...]:
        """The metric of each run: on the test set if confirmed, else on the validation images."""
        column = f"{'test' if self.confirmed else 'val'}_{self.metric.column}"
        return tuple(getattr(run, column) for run in self.runs)

    def only(self, seed: int | None) -> TrainedTrial:
        """With one run: that with a seed, or the first.

        The best one is not offered: on the test set that would be selection by the test set.

        Raises:
            DefinitionError: there is no run with that seed.
        """
        for run in self.runs:
            if seed in (None, run.seed):
                return replace(self, runs=(run,))
        seeds = ", ".join(str(run.seed) for run in self.runs)
        raise DefinitionError(
            f"--seed {seed}: trial {self.trial.trial_number} of {self.study.name} has the runs "
            f"{seeds}; give one of them"
        )

    def to_json(self) -> dict[str, Any]:
        """The configuration and the metric of its first run, as JSON values."""
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
            "seed": self.runs[0].seed,
            f"{self.measured_on}_{key}": self.values[0],
        }

    def models(self, location: Location, source: Source, log: Log = ignore) -> dict[int, Any]:
        """A plain Keras model for each seed, trained again where its weights were not kept.

        Args:
            location: of the database that the trial is from; kept weights lie beside it.
            source: the study's images, wherever they lie now.
            log: takes a line where a run must be trained again, which may take long.
        """
        from mnist_tune.trainer.keras_models import with_weights

        runs = self._spec(location, source).runs
        return {run.seed: with_weights(self.network, self._state(run, log)) for run in runs}

    def _spec(self, location: Location, source: Source) -> TrialSpec:
        confirmation = self.runs[0].confirmation
        kept = location.artifacts / self.study.uid / f"confirmation-{confirmation}"
        return TrialSpec(
            trial_number=self.trial.trial_number,
            confirmation=confirmation,
            network=self.network,
            recipe=recipe_from_json(dict(self.trial.recipe)),
            seeds=tuple(run.seed for run in self.runs),
            protocol="notebook" if self.study.protocol == "notebook" else "holdout",
            source=source,
            checkpoints=location.checkpoints / self.study.uid,
            weights=kept if confirmation else None,
        )

    def _state(self, run: Run, log: Log) -> RunState:
        if run.weights is not None:
            with contextlib.suppress(CheckpointError):  # trained again, with the same result
                if (kept := checkpoints.load_checkpoint(run.weights, run.identity)) is not None:
                    return kept
        log(
            f"training seed {run.seed} of {self.study.name} again, since its weights were not "
            f"kept: {run.trial.recipe.epochs} epochs, with the same result"
        )
        with tempfile.TemporaryDirectory() as folder:
            run = replace(run, trial=replace(run.trial, checkpoints=Path(folder), weights=None))
            task = Task(name=run.trial.key, runs=(run,), checkpoint_seconds=1e9)
            (result,) = train_task(task, lambda _message: None)
            if isinstance(result, Diverged):  # it did not when it was trained first
                raise result
            state = checkpoints.load_checkpoint(run.checkpoint, run.identity)
        assert state is not None
        return state


def find_trained(location: Location, reference: str) -> TrainedTrial:
    """Find a trial.

    Args:
        location: of the database.
        reference: `STUDY` for its best one, or `STUDY:TRIAL`.

    Raises:
        Incomplete: no trial is complete.
        DefinitionError: the trial is not complete.
    """
    name, _, number = reference.partition(":")
    with open_database(location, create=False, read_only=True) as database:
        store = Store(database)
        study = store.study(name)
        if not number:
            return best_of(store, study)
        from mnist_tune.reports.compare import chosen_trial

        complete = {t.trial_number: t for t in store.trials(study.uid) if t.state == "complete"}
        return _trained(store, study, complete[chosen_trial(reference, list(complete))])


def best_of(store: Store, study: StudyRow) -> TrainedTrial:
    """The best trial of a study.

    Raises:
        Incomplete: no trial is complete.
    """
    return _trained(store, study, store.best_trial(study))


def _trained(store: Store, study: StudyRow, trial: TrialRow) -> TrainedTrial:
    own: dict[str, Any] = {"study_uid": study.uid, "trial_number": trial.trial_number}
    done = store.rows(ConfirmationRow, **own, state="complete")
    latest = done[-1].confirmation if done else 0
    return TrainedTrial(study, trial, store.rows(RunRow, **own, confirmation=latest))


def save_network(location: Location, trained: TrainedTrial, path: Path, data: Path | None) -> str:
    """Write the first run as a `.keras` file, and say what it takes and how good it is.

    Raises:
        InputError: the file cannot be written, or the data are not there.
        MnistTuneError: the file's metric is not the stored one.
    """
    from mnist_tune.trainer.keras_models import check_path, compile_model, save_model

    check_path(path)  # before a training that may take long
    source = same_source(trained.study, data)
    model = next(iter(trained.models(location, source).values()))
    dataset = load_source(source)
    part = dataset.test if trained.measured_on == "test" else split(dataset, "holdout")[1]
    value, tolerance = _measured(trained, model, part)
    shown, stored = trained.metric.shown, trained.values[0]
    if abs(value - stored) > tolerance:
        raise MnistTuneError(
            f"{path} was not written: it would have {shown(value)}, but {shown(stored)} is stored"
        )
    compile_model(model, trained.network, recipe_from_json(dict(trained.trial.recipe)))
    save_model(model, path)
    return (
        f"{trained.measured_on} {trained.metric.name} {shown(value)}, {shown(stored)} is stored; "
        "the network takes images of 0–1, such as x_test / 255"
    )


def predicted(model: Any, given: NDArray[Any]) -> NDArray[np.float32]:
    """What a Keras model of ours returns.

    Args:
        model: that takes images of 0–1, or codes.
        given: floats as the model takes them, or images in bytes.
    """
    if given.dtype == np.uint8:
        given = given / np.float32(WHITE)
    found: NDArray[np.float32] = model.predict(given, batch_size=_AT_ONCE, verbose=0)
    return found


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


def _measured(trained: TrainedTrial, model: Any, part: Part) -> tuple[float, float]:
    """The metric of a Keras model, and by how much it may differ from the trainer's.

    Keras' own kernels round differently: that moves an error a little, and can tip an image that
    stands on the edge between two classes. The trainer scores bfloat16 runs in bfloat16, whose 8
    bits do so more.
    """
    network, recipe = trained.network, recipe_from_json(dict(trained.trial.recipe))
    tipped, relative = _TOLERANCES[recipe.precision]
    if isinstance(network, Denoiser):
        noisy = evaluation_images(part.images, network.noise)
        loss = image_errors(part.images, predicted(model, noisy)).loss
        return loss, relative * trained.values[0]
    classes = predicted(model, part.images).argmax(1)
    return float((classes == part.labels).mean()), max(1.5 / len(part), tipped)
