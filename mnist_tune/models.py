"""The trained network of a study's best configuration, as a plain Keras file.

A confirmed run is saved from the weights that its confirmation kept. A run of the search, or one
whose weights are gone, is trained again: equal seeds give equal weights.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mnist_tune import checkpoints
from mnist_tune.checkpoints import CheckpointError
from mnist_tune.data.sources import Source, find, load_source
from mnist_tune.data.splits import Part, final, split
from mnist_tune.errors import DefinitionError, InputError, MnistTuneError
from mnist_tune.networks import network_from_json
from mnist_tune.recipes import recipe_from_json
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import RunRow, StudyRow, TrialRow
from mnist_tune.storage.store import Store
from mnist_tune.trainer.states import RunState
from mnist_tune.workers.tasks import Job, Task
from mnist_tune.workers.training import carry_out


@dataclass(frozen=True, slots=True)
class Winner:
    """One run of the best configuration.

    Attributes:
        study: it belongs to.
        trial: the complete trial with the highest objective.
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
    def accuracy(self) -> float:
        """Of the run, 0–1: on the test set if confirmed, else on the validation images."""
        found = self.run.test_accuracy if self.run.confirmation else self.run.val_accuracy
        assert found is not None
        return found

    @property
    def measured_on(self) -> str:
        """What `accuracy` was measured on."""
        return (
            "test" if self.run.confirmation or self.study.protocol == "notebook" else "validation"
        )

    def to_json(self) -> dict[str, Any]:
        """The configuration and its accuracy, as JSON values."""
        return {
            "study": self.study.name,
            "trial": self.trial.trial_number,
            "params": dict(self.trial.params),
            "network": dict(self.trial.network),
            "recipe": dict(self.trial.recipe),
            "parameters": self.trial.parameters,
            "val_accuracy_mean": self.trial.objective,
            "confirmed": self.run.confirmation > 0,
            "seed": self.seed,
            f"{self.measured_on}_accuracy": self.accuracy,
        }


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
    with open_database(location, create=False, read_only=True) as database:
        store = Store(database)
        study = store.study(name)
        trial = store.best_trial(study)
        done = [
            c
            for c in store.confirmations(study.uid)
            if c.state == "complete" and c.trial_number == trial.trial_number
        ]
        confirmation = done[-1].confirmation if done else 0
        runs = [
            run
            for run in store.runs(study.uid, confirmation)
            if run.trial_number == trial.trial_number
        ]
    chosen = [run for run in runs if seed in (None, run.seed)]
    if not chosen:
        seeds = ", ".join(str(run.seed) for run in runs)
        raise DefinitionError(
            f"--seed {seed}: the best configuration of {name} has the runs {seeds}; give one of them"
        )
    return Winner(study, trial, chosen[0])


def save_winner(location: Location, winner: Winner, path: Path, data: Path | None) -> str:
    """Write the run as a `.keras` file and say how its accuracy compares with the stored one.

    Raises:
        InputError: the file cannot be written, or the data are not there.
        MnistTuneError: the file's accuracy is not the stored one.
    """
    from mnist_tune.trainer.keras_models import SUFFIX, save, with_weights

    # `save` says the same, but only after a training that may take long.
    if path.suffix != SUFFIX:
        raise DefinitionError(f"{path}: Keras wants a name that ends in {SUFFIX}; give that")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it or give another")
    source = _source(winner, data)
    job = _job(location, winner, source)
    state = _kept(job, winner.seed) or _trained_again(job, winner.seed)
    model = with_weights(job.network, state)
    part = _judges(winner, source)
    accuracy = float(
        (model.predict(part.images, batch_size=1000, verbose=0).argmax(1) == part.labels).mean()
    )
    # Keras' own kernels round differently, which can tip an image that stands on the edge.
    if abs(accuracy - winner.accuracy) > 1.5 / len(part):
        raise MnistTuneError(
            f"{path} was not written: it would have {accuracy:.4f}, but {winner.accuracy:.4f} is stored"
        )
    save(model, path)
    return f"{winner.measured_on} accuracy {100 * accuracy:.2f} %, {100 * winner.accuracy:.2f} % is stored"


def _source(winner: Winner, data: Path | None) -> Source:
    stored = Source.from_json(winner.study.data)
    if data is None:
        return stored
    found = find(data)
    if found.sha256 != stored.sha256:
        raise DefinitionError(
            f"{data} holds other images than those of {winner.study.name}; leave --data out"
        )
    return found


def _job(location: Location, winner: Winner, source: Source) -> Job:
    confirmation = winner.run.confirmation
    return Job(
        trial_number=winner.trial.trial_number,
        confirmation=confirmation,
        network=network_from_json(dict(winner.trial.network)),
        recipe=recipe_from_json(dict(winner.trial.recipe)),
        seeds=(winner.seed,),
        protocol="notebook" if winner.study.protocol == "notebook" else "holdout",
        source=source,
        checkpoints=location.checkpoints / winner.study.uid,
        weights=location.artifacts / winner.study.uid / f"confirmation-{confirmation}"
        if confirmation
        else None,
    )


def _kept(job: Job, seed: int) -> RunState | None:
    if job.weights is None:
        return None
    try:
        return checkpoints.load(job.kept_weights(seed), job.identity(seed))
    except CheckpointError:
        return None  # trained again, with the same result


def _trained_again(job: Job, seed: int) -> RunState:
    with tempfile.TemporaryDirectory() as folder:
        job = replace(job, checkpoints=Path(folder), weights=None)
        carry_out(
            Task(name=job.key, job=job, seeds=(seed,), checkpoint_seconds=1e9),
            lambda _message: None,
        )
        state = checkpoints.load(job.checkpoint(seed), job.identity(seed))
    assert state is not None
    return state


def _judges(winner: Winner, source: Source) -> Part:
    dataset = load_source(source)
    return (
        final(dataset)[1] if winner.measured_on == "test" else split(dataset, "holdout").validation
    )
