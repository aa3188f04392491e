"""Studies as the search would store them, with accuracies that are easy to compute with by hand."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from sqlalchemy import Connection, create_engine

from mnist_tune.definitions.space import space_to_json
from mnist_tune.networks import Autoencoder, Block, Cnn, Mlp, Network, network_to_json
from mnist_tune.recipes import Recipe, Sgd, recipe_to_json
from mnist_tune.reports.results import StudyResults
from mnist_tune.reports.search_plot import SearchPlot, search_plots
from mnist_tune.storage.records import (
    ConfirmationRow,
    EpochRow,
    PredictionRow,
    ReferenceRow,
    RunRow,
    StudyRow,
    TimingRow,
    TrialRow,
)
from mnist_tune.storage.schema import metadata
from mnist_tune.storage.store import add_rows

UID = "0123456789abcdef" * 2
L2 = (1e-6, 0.00025075, 0.0005005, 0.00075025, 1e-3)
# Validation accuracy in hundredths of a percent, three seeds of each factor. Trial 1 is best; it
# leads trial 4 by 27, 28 and 26, the others by no more than their spread.
VALIDATION = (
    (9820, 9828, 9824),
    (9817, 9827, 9837),
    (9817, 9824, 9831),
    (9811, 9819, 9827),
    (9790, 9799, 9811),
)
# Test accuracy of ten fresh seeds: mean 98.31, squared deviations 308, ddof 1.
TEST = (9823, 9839, 9831, 9822, 9840, 9831, 9828, 9834, 9831, 9831)
FRESH = tuple(range(1000, 1010))
MNIST = {
    "kind": "folder",
    "path": "/somewhere/mnist",
    "sha256": "ab" * 32,
    "full": True,
    "train_size": 60_000,
    "test_size": 10_000,
}
EMBEDDED = {
    "kind": "embedded",
    "path": None,
    "sha256": "cd" * 32,
    "full": False,
    "train_size": 4_000,
    "test_size": 1_000,
}
L2_SPACE = {"l2": FloatDistribution(1e-6, 1e-3, log=True)}


@dataclass(frozen=True)
class Sample:
    """All rows of a study."""

    study: StudyRow
    trials: tuple[TrialRow, ...] = ()
    runs: tuple[RunRow, ...] = ()
    epochs: tuple[EpochRow, ...] = ()
    confirmations: tuple[ConfirmationRow, ...] = ()
    predictions: tuple[PredictionRow, ...] = ()
    timings: tuple[TimingRow, ...] = ()
    references: tuple[ReferenceRow, ...] = ()

    def changed(self, **changes: Any) -> Sample:
        """With another study row."""
        return replace(self, study=replace(self.study, **changes))

    def plus(self, other: Sample) -> Sample:
        """With the rows of another sample added."""
        names = (
            "trials",
            "runs",
            "epochs",
            "confirmations",
            "predictions",
            "timings",
            "references",
        )
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in names})


def joined(sample: Sample, parts: Sequence[Sample]) -> Sample:
    """The sample with the trials of many others."""
    rows: dict[str, Any] = {
        name: tuple(row for part in parts for row in getattr(part, name))
        for name in ("trials", "runs", "epochs", "timings")
    }
    return replace(sample, **rows)


Stored = Callable[[Sample], Connection]
Read = Callable[[Sample], StudyResults]


def plotted(results: StudyResults) -> SearchPlot:
    """The numbers of the main figure."""
    return next(iter(search_plots(results).values()))()


def save(connection: Connection, sample: Sample) -> None:
    """Write all rows."""
    add_rows(
        connection,
        [
            sample.study,
            *sample.trials,
            *sample.runs,
            *sample.epochs,
            *sample.confirmations,
            *sample.predictions,
            *sample.timings,
            *sample.references,
        ],
    )


@contextmanager
def opened(path: Path, *samples: Sample) -> Iterator[Connection]:
    """A connection to a database file that holds the samples."""
    engine = create_engine(f"sqlite:///{path}")
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("PRAGMA synchronous = OFF")
            metadata.create_all(connection)
            for sample in samples:
                save(connection, sample)
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def latex_columns(text: str) -> tuple[int, float]:
    """How many columns a LaTeX table has, and about how many points it is wide."""
    size, between = 8 if r"\footnotesize" in text else 9 if r"\small" in text else 10, 12
    if r"\tabcolsep" in text:
        between = 4
    rows = [line.removesuffix(r" \\").split(" & ") for line in text.splitlines() if " & " in line]
    # What a command draws is a character or two; of stacked lines the longest counts.
    drawn = [[re.sub(r"\\[a-zA-Z]+(\[.\])?|[${}]", "", cell) for cell in row] for row in rows]
    lengths = [[max(map(len, cell.split(r"\\"))) for cell in row] for row in drawn]
    # A character of Computer Modern is on average somewhat narrower than half the size of type.
    widths = [0.45 * size * max(column) for column in zip(*lengths, strict=True)]
    return len(widths), sum(widths) + between * (len(widths) - 1)


def definition(
    space: Mapping[str, BaseDistribution] = L2_SPACE,
    plan: Mapping[str, Any] | None = None,
    pruner: str = "none",
    network: Network | None = None,
) -> str:
    """The text of a study's definition."""
    points = {"sampler": "grid", "points": [{"l2": value} for value in L2]}
    recipe = recipe_to_json(Recipe(epochs=3, optimizer=Sgd(learning_rate=0.1)))
    values: dict[str, Any] = {
        "space": space_to_json(space),
        "plan": plan or points,
        "recipe": recipe,
        "pruner": pruner,
    }
    if network is not None:
        values["examples"] = [[{}, {"network": network_to_json(network)}]]
    return json.dumps(values, sort_keys=True)


def study(**changes: Any) -> StudyRow:
    values: dict[str, Any] = {
        "uid": UID,
        "name": "l2_factor",
        "source": "/home/somebody/studies/l2_factor.py",
        "question": "How much L2 does a dense 500-300 network want?",
        "overrides": {},
        "definition": definition(),
        "fingerprint": "f" * 64,
        "metric": "accuracy",
        "noise_low": None,
        "noise_high": None,
        "protocol": "holdout",
        "rehearsal": False,
        "baseline": "hinton-500-300",
        "planned_trials": 5,
        "seeds": 3,
        "data": MNIST,
        "versions": {"tensorflow": "2.21.0", "keras": "3.15.1"},
        "created_at": "2026-11-23T21:20:58.123456Z",
    }
    return StudyRow(**{**values, **changes})


def trial(
    number: int,
    network: Network,
    params: Mapping[str, Any],
    hundredths: Sequence[int],
    *,
    state: str = "complete",
    reason: str | None = None,
    epochs: int = 3,
) -> Sample:
    """One trial with its runs, epochs and timing; accuracies in hundredths of a percent."""
    values = [value / 10_000 for value in hundredths]
    row = TrialRow(
        study_uid=UID,
        trial_number=number,
        state=state,
        reason=reason,
        params=params,
        network=network_to_json(network),
        recipe={},
        label=network.label,
        parameters=network.parameters,
        objective=None if state == "failed" else sum(values) / len(values),
    )
    runs = tuple(_run(number, seed, value, state, epochs) for seed, value in enumerate(values))
    return Sample(
        study(),
        trials=(row,),
        runs=runs,
        epochs=tuple(_epoch(run, epoch) for run in runs for epoch in range(1, epochs + 1)),
        timings=(_timing(0, number, 0, len(values)),),
    )


def confirmation(
    number: int = 1,
    trial_number: int = 1,
    hundredths: Sequence[int] = TEST,
    *,
    seeds: Sequence[int] = FRESH,
    state: str = "complete",
    test_size: int = 10_000,
) -> Sample:
    """One opening of the test set; fewer accuracies than seeds where it is still running."""
    runs = tuple(
        RunRow(
            study_uid=UID,
            confirmation=number,
            trial_number=trial_number,
            seed=seed,
            state="complete",
            epochs=3,
            train_loss=0.01,
            train_accuracy=0.999,
            test_loss=0.07,
            test_accuracy=value / 10_000,
        )
        for seed, value in zip(seeds, hundredths, strict=False)
    )
    row = ConfirmationRow(
        study_uid=UID,
        confirmation=number,
        trial_number=trial_number,
        state=state,
        seeds=tuple(seeds),
        train_size=6 * test_size,
        test_size=test_size,
    )
    return Sample(
        study(),
        runs=runs,
        epochs=tuple(_epoch(run, epoch) for run in runs for epoch in range(1, 4)),
        confirmations=(row,),
        predictions=tuple(_prediction(run) for run in runs),
        timings=(_timing(number, trial_number, seeds[0], len(seeds)),),
    )


def l2_search(numbers: Sequence[int] = range(5), **changes: Any) -> Sample:
    """The search over L2 factors, not confirmed."""
    sample = Sample(study(**changes))
    for number in numbers:
        network = Mlp(hidden=(500, 300), l2=L2[number])
        sample = sample.plus(trial(number, network, {"l2": L2[number]}, VALIDATION[number]))
    return sample


def l2_confirmed(**changes: Any) -> Sample:
    """The search over L2 factors and its one confirmation."""
    return l2_search(**changes).plus(confirmation())


def l2_one_seed() -> Sample:
    """One seed per configuration."""
    sample = Sample(study(seeds=1))
    for number, values in enumerate(VALIDATION):
        network = Mlp(hidden=(500, 300), l2=L2[number])
        sample = sample.plus(trial(number, network, {"l2": L2[number]}, values[:1]))
    return sample


def l2_with_losses() -> Sample:
    """Trial 3 diverged, trial 4 was pruned after its second epoch."""
    network = Mlp(hidden=(500, 300))
    failed = trial(3, network, {"l2": L2[3]}, (), state="failed", reason="diverged")
    pruned = trial(4, network, {"l2": L2[4]}, (9901, 9903, 9905), state="pruned", epochs=2)
    changed = definition(pruner="median")
    return l2_search(range(3), definition=changed).plus(failed).plus(pruned)


# Hidden widths → validation accuracies. Trial 2 is best; trial 1, a fourth of its size, cannot be
# told from it, and trial 0 is clearly worse.
WIDTHS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((32,), (9681, 9683, 9690)),
    ((300, 100), (9816, 9826, 9815)),
    ((1024, 512), (9826, 9824, 9830)),
    ((1024, 1024, 1024), (9819, 9825, 9823)),
    ((128,), (9781, 9779, 9785)),
    ((512, 64, 48), (9811, 9816, 9818)),
)


def widths() -> Sample:
    """A search by a sampler over depth and widths, with parameters that not every trial has."""
    width = IntDistribution(32, 1024, log=True)
    depth = IntDistribution(1, 3)
    space = {"depth": depth, "width_1": width, "width_2": width, "width_3": width}
    plan = {"sampler": "tpe", "first": [], "study_seed": 0}
    row = study(name="layer_widths", definition=definition(space, plan), planned_trials=6)
    sample = Sample(replace(row, question="How deep and how wide must a dense network be?"))
    for number, (hidden, values) in enumerate(WIDTHS):
        params = {"depth": len(hidden)} | {f"width_{i}": w for i, w in enumerate(hidden, 1)}
        sample = sample.plus(trial(number, Mlp(hidden=hidden, l2=2.5e-4), params, values))
    return sample


SEVERAL: dict[str, BaseDistribution] = {
    "learning_rate": FloatDistribution(1e-3, 1.0, log=True),
    "units_of_the_first_hidden_layer": IntDistribution(8, 2048, log=True),
    "dropout": FloatDistribution(0.0, 0.6),
    "activation": CategoricalDistribution(("relu", "leaky relu", "tanh")),
    "depth": IntDistribution(1, 2),
    "width_2": IntDistribution(8, 64),  # of those with two layers
    "l2": FloatDistribution(0.0, 1e-2),
    "normalised": CategoricalDistribution((True, False)),
}


def several(parameters: int, trials: int, seeds: int = 3) -> Sample:
    """A random search over the first of these parameters, of which the learning rate matters most."""
    draw = random.Random(0)
    space = dict(list(SEVERAL.items())[:parameters])
    parts = []
    for number in range(trials):
        params: dict[str, Any] = {}
        for name, entry in space.items():
            if isinstance(entry, CategoricalDistribution):
                params[name] = draw.choice(entry.choices)
            elif isinstance(entry, IntDistribution):
                params[name] = draw.randint(entry.low, entry.high)
            elif isinstance(entry, FloatDistribution):
                low = entry.low or 0.0
                share = draw.random()
                params[name] = (
                    low * (entry.high / low) ** share if entry.log else share * entry.high
                )
        if params.get("depth") == 1:
            params.pop("width_2", None)
        level = 9850 - 200 * abs(math.log10(params["learning_rate"]) + 1)
        level -= 300 * params.get("dropout", 0.0)
        values = [round(level + draw.gauss(0, 6)) for _ in range(seeds)]
        hidden = (params.get("units_of_the_first_hidden_layer", 32), params.get("width_2", 16))
        parts.append(trial(number, Mlp(hidden=hidden), params, values))
    text = definition(space, {"sampler": "random", "first": [], "study_seed": 0})
    row = study(name="several", definition=text, planned_trials=trials, seeds=seeds)
    return joined(Sample(row), parts)


# Latent size → denoising errors in millionths of a nat per pixel. Trial 2 is best; trial 1 cannot be
# told from it, trial 0 is clearly worse.
LATENT: tuple[tuple[int, tuple[int, ...]], ...] = (
    (2, (60_000, 60_400, 60_200)),
    (16, (31_000, 30_600, 30_500)),
    (64, (30_500, 30_900, 30_400)),
)


def autoencoders(*, referenced: bool = True, confirmed: bool = True) -> Sample:
    """A plan of latent sizes, one width, with what they must beat; confirmed with three seeds."""
    space = {
        "latent": IntDistribution(2, 128, log=True),
        "hidden": IntDistribution(32, 1024, log=True),
    }
    points = [{"latent": latent, "hidden": 128} for latent, _ in LATENT]
    plan = {"sampler": "grid", "points": points}
    text = definition(space, plan, network=Autoencoder(latent=2))
    row = study(name="autoencoder_latent", definition=text, planned_trials=3)
    row = replace(row, metric="denoising_error", noise_low=0.4, noise_high=0.4)
    sample = Sample(replace(row, source="autoencoder_latent", question="How large a code?"))
    for number, (latent, errors) in enumerate(LATENT):
        one = trial(number, Autoencoder(latent=latent), points[number], errors)
        sample = sample.plus(_as_denoiser(one))
    if confirmed:
        fresh = confirmation(1, 2, (30_200, 30_400, 30_300), seeds=FRESH[:3])
        sample = sample.plus(replace(_as_denoiser(fresh), predictions=()))
    remedies = {"noisy": (3.2, 0.19, 7.2), "median filter": (0.6, 0.048, 13.3)}
    remedies["mean image"] = (0.2, 0.067, 11.9)
    references = tuple(
        ReferenceRow(study_uid=UID, images=images, name=name, loss=loss, mse=mse, psnr=psnr)
        for images in ("validation", "test")
        for name, (loss, mse, psnr) in remedies.items()
    )
    return replace(sample, references=references) if referenced else sample


def _as_denoiser(sample: Sample) -> Sample:
    """What stands for accuracies (in ten-thousandths) as errors in nats, a hundredth of them."""

    def error(accuracy: float | None) -> dict[str, float | None]:
        if accuracy is None:
            return {"loss": None, "mse": None, "psnr": None}
        return {"loss": accuracy / 100, "mse": 0.016, "psnr": 18 - accuracy / 10}

    def turned(row: Any, *parts: str) -> Any:
        changes: dict[str, Any] = {"train_accuracy": None}
        for part in parts:
            found = error(getattr(row, f"{part}_accuracy"))
            changes[f"{part}_accuracy"] = None
            changes |= {f"{part}_{name}": value for name, value in found.items()}
        return replace(row, **changes)

    return replace(
        sample,
        trials=tuple(replace(t, objective=(t.objective or 0) / 100) for t in sample.trials),
        runs=tuple(turned(run, "val", "test") for run in sample.runs),
        epochs=tuple(turned(epoch, "val") for epoch in sample.epochs),
    )


def cnns() -> Sample:
    """Convolutional networks whose cost is not told by their parameters."""
    sample = Sample(study(name="cnn_design", planned_trials=3))
    found = (
        ((Block(filters=8),), (9880, 9882, 9879)),
        ((Block(filters=8), Block(filters=16)), (9901, 9904, 9899)),
        ((Block(filters=8, pool=1), Block(filters=16, pool=4)), (9903, 9900, 9898)),
    )
    for number, (blocks, values) in enumerate(found):
        sample = sample.plus(trial(number, Cnn(blocks=blocks), {"blocks": len(blocks)}, values))
    return sample


def _run(number: int, seed: int, accuracy: float, state: str, epochs: int) -> RunRow:
    return RunRow(
        study_uid=UID,
        trial_number=number,
        seed=seed,
        state=state,
        epochs=epochs,
        train_loss=0.01,
        train_accuracy=0.999,
        val_loss=0.07,
        val_accuracy=accuracy,
    )


def _epoch(run: RunRow, epoch: int) -> EpochRow:
    """Validation rises to the run's last value; a confirmation has none."""
    left = run.epochs - epoch
    return EpochRow(
        study_uid=UID,
        confirmation=run.confirmation,
        trial_number=run.trial_number,
        seed=run.seed,
        epoch=epoch,
        train_loss=0.01 + 0.1 * left,
        train_accuracy=0.999 - 0.02 * left,
        val_loss=None if run.val_accuracy is None else 0.07 + 0.05 * left,
        val_accuracy=None if run.val_accuracy is None else run.val_accuracy - 0.01 * left,
    )


def _prediction(run: RunRow) -> PredictionRow:
    classes = bytes((run.seed + image) % 10 for image in range(100))
    return PredictionRow(
        study_uid=UID,
        confirmation=run.confirmation,
        trial_number=run.trial_number,
        seed=run.seed,
        classes=classes,
    )


def _timing(confirmation: int, number: int, first_seed: int, seeds: int) -> TimingRow:
    return TimingRow(
        study_uid=UID,
        confirmation=confirmation,
        trial_number=number,
        first_seed=first_seed,
        seeds=seeds,
        started_at=f"2026-11-23T21:{20 + number}:58.123456Z",  # one after the other
        finished_at=f"2026-11-23T21:{21 + number}:58.123456Z",
        elapsed_seconds=60.0,
        train_seconds=55.5,
        host="here",
        device="CPU",
        threads=1,
    )
