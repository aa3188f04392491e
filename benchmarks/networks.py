"""The notebook's autoencoder and convolutional network beside `model.fit`: seconds per run and epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.machine import data_notes
from benchmarks.processes import measure
from benchmarks.table import Report, Target, medians, ratios
from mnist_tune.data.sources import load_dataset
from mnist_tune.networks import Autoencoder, Block, Cnn, Network, network_to_json
from mnist_tune.recipes import Adam, Recipe, Sgd, recipe_to_json
from mnist_tune.workers.specs import WorkerOptions, this_machine, worker_specs

_MANY_RUNS = 10**6
_CNN = Cnn(blocks=(Block(filters=32, pool=1), Block(filters=64, pool=3, dropout=0.4)), dense=(64,))


@dataclass(frozen=True, slots=True)
class Case:
    """A network and how it is trained.

    Attributes:
        name: for people.
        network, recipe: what is trained; the recipe's epochs are those that are measured.
        seeds: in one process.
        speed: how many times as fast as `model.fit` in float32 it should be.
    """

    name: str
    network: Network
    recipe: Recipe
    seeds: int
    speed: Target


CASES = (
    Case(
        "autoencoder 128-96-128",
        Autoencoder(latent=96),
        Recipe(epochs=4, batch_size=64, optimizer=Adam()),
        3,
        Target("at least", 3.0),
    ),
    Case(
        "CNN 32-64, float32",
        _CNN,
        Recipe(epochs=1, batch_size=128, optimizer=Sgd(learning_rate=0.1)),
        1,
        Target("at least", 1.0),
    ),
    Case(
        "CNN 32-64, bfloat16",
        _CNN,
        Recipe(epochs=1, batch_size=128, optimizer=Sgd(learning_rate=0.1), precision="bfloat16"),
        1,
        Target("at least", 1.3),
    ),
)


def run(*, repetitions: int, images: int, fast: bool, say: Callable[[str], Any]) -> Report:
    """Measure each network, in turns with the notebook's loop.

    Args:
        repetitions: of each pair.
        images: that are trained on; fewer than 60,000 are scaled up.
        fast: whether this is a rehearsal.
        say: tells people what is going on.
    """
    source = load_dataset(log=say).source
    images = min(images, source.train_size)
    specs = worker_specs(WorkerOptions(), this_machine(), _MANY_RUNS)
    workers = len(specs)
    scale = source.train_size / images
    rows = []
    for case in CASES:
        fit, ours = [], []
        for repetition in range(repetitions):
            say(f"networks: {case.name}, repetition {repetition + 1} of {repetitions}")
            common = {
                "network": network_to_json(case.network),
                "recipe": recipe_to_json(case.recipe),
                "images": images,
            }
            (result,) = measure("keras_fit", common).results
            fit.append(scale * result["seconds"] / case.recipe.epochs)
            settings = {**common, "seeds": case.seeds}
            together = measure("any_network", settings, processes=workers)
            runs = workers * case.seeds * case.recipe.epochs
            ours.append(scale * together.seconds / runs)
        rows += [
            medians(f"{case.name}: model.fit", "s", fit),
            medians(f"{case.name}: a worker per core", "s", ours),
            ratios(f"{case.name}: a worker per core, speed-up", fit, ours, case.speed),
        ]
    return Report(
        name="networks",
        fast=fast,
        settings={
            "images": images,
            "workers": workers,
            "repetitions": repetitions,
        },
        notes=(
            *data_notes(source),
            f"Seconds per run and epoch of {source.train_size:,} images; compiling is part of them.",
            "model.fit trains in float32; the autoencoder's gets images with their noise ready made.",
        ),
        rows=tuple(rows),
    )
