"""Confirmed studies with kept weights, stored without any training.

The networks are tiny and have seen nothing; what is looked at is how they are found and used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_tune import checkpoints
from mnist_tune.data.sources import Source, load_dataset
from mnist_tune.networks import Autoencoder, Mlp, Network, network_to_json
from mnist_tune.recipes import Recipe, recipe_to_json
from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from mnist_tune.storage.records import RunRow, StudyRow, TrialRow
from mnist_tune.storage.store import Store
from mnist_tune.trainer.training import Trainer
from mnist_tune.workers.tasks import TrialSpec
from tests.storage.storage_samples import study_row

AUTOENCODER = Autoencoder(latent=4, hidden=(8,))
CLASSIFIER = Mlp(hidden=(16,))
RECIPE = Recipe(epochs=1)
SEEDS = (1000, 1001)


def embedded() -> Source:
    return load_dataset(Path("embedded")).source


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A study with one trial of one seed, and its confirmation.

    Attributes:
        name: of the study.
        network: of the trial.
        value: objective of the search.
        tested: metric on the test set of each confirmed run; none leaves it unconfirmed.
        changes: of the study's row.
    """

    name: str
    network: Network
    value: float
    tested: tuple[float, ...] = ()
    changes: dict[str, Any]

    @property
    def study(self) -> StudyRow:
        values = {
            "rehearsal": False,
            "data": embedded().to_json(),
            "metric": self.network.metric.key,
            **self.changes,
        }
        return study_row(name=self.name, uid=f"{self.name:x<32.32}", **values)

    @property
    def trial(self) -> TrialRow:
        return TrialRow(
            study_uid=self.study.uid,
            trial_number=3,
            state="complete",
            params={"latent": 4},
            network=network_to_json(self.network),
            recipe=recipe_to_json(RECIPE),
            label=self.network.label,
            parameters=self.network.parameters,
            objective=self.value,
        )

    def run(self, seed: int, value: float, confirmation: int) -> RunRow:
        images = "test" if confirmation else "val"
        return RunRow(
            study_uid=self.study.uid,
            confirmation=confirmation,
            trial_number=3,
            seed=seed,
            state="complete",
            epochs=1,
            **{f"{images}_{self.network.metric.column}": value},
        )


def autoencoder(
    name: str = "codes", value: float = 0.1, tested: tuple[float, ...] = (0.2, 0.21), **changes: Any
) -> Sample:
    return Sample(name=name, network=AUTOENCODER, value=value, tested=tested, changes=changes)


def classifier(
    name: str = "classes", value: float = 0.9, tested: tuple[float, ...] = (0.8,), **changes: Any
) -> Sample:
    return Sample(name=name, network=CLASSIFIER, value=value, tested=tested, changes=changes)


def store(location: Location, *samples: Sample) -> Location:
    """Write the rows, and the weights of confirmed runs."""
    with open_database(location, create=True) as database:
        kept = Store(database)
        for sample in samples:
            kept.add_study(sample.study)
            kept.write_trial(sample.trial, [sample.run(0, sample.value, 0)], [], None)
            if sample.tested:
                _confirm(kept, sample)
                keep_weights(location, sample)
    return location


def keep_weights(location: Location, sample: Sample) -> None:
    """Write the weights that the confirmation would have kept."""
    for run in spec_of(location, sample).runs:
        assert run.weights is not None
        state = Trainer.start(sample.network, RECIPE, run.seed)
        checkpoints.save_checkpoint(run.weights, state, run.identity)


def spec_of(location: Location, sample: Sample) -> TrialSpec:
    return TrialSpec(
        trial_number=3,
        confirmation=1,
        network=sample.network,
        recipe=RECIPE,
        seeds=SEEDS[: len(sample.tested)],
        protocol="holdout",
        source=embedded(),
        checkpoints=location.checkpoints / sample.study.uid,
        weights=location.artifacts / sample.study.uid / "confirmation-1",
    )


def _confirm(kept: Store, sample: Sample) -> None:
    source, seeds = embedded(), SEEDS[: len(sample.tested)]
    row = kept.start_confirmation(
        sample.study.uid,
        trial_number=3,
        seeds=seeds,
        train_size=source.train_size,
        test_size=source.test_size,
    )
    pairs = zip(seeds, sample.tested, strict=True)
    runs = [sample.run(seed, value, row.confirmation) for seed, value in pairs]
    kept.write_confirmed_runs(runs, [], [], None)
    kept.finish_confirmation(sample.study.uid, row.confirmation)
