"""What runs in a process of its own: it prepares, says so, waits for the word, and measures.

    python -m benchmarks.measured NAME '{"setting": …}'

It prints `ready`, reads a line, and prints its result as JSON. So each measurement is as fresh as
a first one, compilation included, while imports and data are not part of it.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.baseline import BATCH_SIZE, LEARNING_RATE, NotebookLoop
from benchmarks.products import product_gflops
from mnist_tune.data.sources import load_dataset
from mnist_tune.networks import Denoiser, Mlp, network_from_json
from mnist_tune.noise import salt_and_pepper
from mnist_tune.recipes import Adam, Recipe, Sgd, recipe_from_json
from mnist_tune.trainer.keras_models import keras_model
from mnist_tune.trainer.runtime import device
from mnist_tune.trainer.training import EpochProgress, Trainer, TrainingRun

Result = dict[str, Any]
Measurement = Callable[[], Result]


def notebook(
    *, networks: list[dict[str, Any]], epochs: int, validate: bool, warm: bool
) -> Measurement:
    """Seconds of each network's `model.fit`, one after the other."""
    loop = NotebookLoop(validate=validate)
    if warm:
        loop.warm_up()
    described = [_mlp(network) for network in networks]
    return lambda: {"run_seconds": loop.seconds(described, epochs)}


def trainer(*, network: dict[str, Any], epochs: int, seeds: int) -> Measurement:
    """Seconds of training one configuration with several seeds, from the images on."""
    where, train = device(), load_dataset().train
    described = _mlp(network)
    recipe = Recipe(
        epochs=epochs, batch_size=BATCH_SIZE, optimizer=Sgd(learning_rate=LEARNING_RATE)
    )

    def measure() -> Result:
        ends = [time.perf_counter()]

        def after_epoch(_progress: EpochProgress) -> bool:
            ends.append(time.perf_counter())
            return True

        ours = Trainer(train, None, where)
        states = [ours.start(described, recipe, seed) for seed in range(seeds)]
        ours.train([TrainingRun(described, recipe, state) for state in states], after_epoch)
        return {
            "seconds": time.perf_counter() - ends[0],
            "epoch_seconds": [b - a for a, b in itertools.pairwise(ends)],
        }

    return measure


def keras_fit(*, network: dict[str, Any], recipe: dict[str, Any], images: int) -> Measurement:
    """Seconds of `model.fit` of any network in float32, building and compiling included."""
    described, wanted = network_from_json(network), recipe_from_json(recipe)
    train = load_dataset().train.cut(images)
    pixels = train.images
    targets: NDArray[Any] = train.labels
    if isinstance(described, Denoiser):
        targets = pixels / np.float32(255)
        pixels = salt_and_pepper(pixels, described.noise[0], key=0)
    inputs = pixels / np.float32(255)

    def measure() -> Result:
        import keras

        began = time.perf_counter()
        model = keras_model(described)
        rate = wanted.optimizer.learning_rate
        kind = keras.optimizers.Adam if isinstance(wanted.optimizer, Adam) else keras.optimizers.SGD
        denoises = isinstance(described, Denoiser)
        loss = "binary_crossentropy" if denoises else "sparse_categorical_crossentropy"
        model.compile(optimizer=kind(rate), loss=loss, metrics=[] if denoises else ["accuracy"])
        model.fit(inputs, targets, batch_size=wanted.batch_size, epochs=wanted.epochs, verbose=0)
        return {"seconds": time.perf_counter() - began}

    keras_model(Mlp(hidden=(8,)))  # imports Keras
    return measure


def any_network(
    *, network: dict[str, Any], recipe: dict[str, Any], images: int, seeds: int
) -> Measurement:
    """Seconds of training one configuration with several seeds, from the images on."""
    where, train = device(), load_dataset().train.cut(images)
    described, wanted = network_from_json(network), recipe_from_json(recipe)

    def measure() -> Result:
        began = time.perf_counter()
        ours = Trainer(train, None, where)
        states = [ours.start(described, wanted, seed) for seed in range(seeds)]
        runs = [TrainingRun(described, wanted, state) for state in states]
        ours.train(runs, lambda _progress: True)
        return {"seconds": time.perf_counter() - began}

    return measure


def batch(
    *,
    network: dict[str, Any],
    trials: int,
    seeds: int,
    epochs: int,
    one_program: bool,
) -> Measurement:
    """Seconds of training configurations that differ in their L2 factor, from the images on."""
    where, train = device(), load_dataset().train
    where = replace(where, shares_programs=one_program)
    recipe = Recipe(
        epochs=epochs, batch_size=BATCH_SIZE, optimizer=Sgd(learning_rate=LEARNING_RATE)
    )
    described = [replace(_mlp(network), l2=number * 1e-5) for number in range(trials)]

    def measure() -> Result:
        began = time.perf_counter()
        ours = Trainer(train, None, where)
        runs = [
            TrainingRun(each, recipe, ours.start(each, recipe, seed))
            for each in described
            for seed in range(seeds)
        ]
        for group in [runs] if one_program else [[run] for run in runs]:
            ours.train(group, lambda _progress: True)
        return {"seconds": time.perf_counter() - began}

    return measure


def product(*, repetitions: int) -> Measurement:
    """GFLOP/s of a large product on all cores."""
    return lambda: product_gflops(repetitions)


MEASUREMENTS: dict[str, Callable[..., Measurement]] = {
    "notebook": notebook,
    "trainer": trainer,
    "product": product,
    "keras_fit": keras_fit,
    "any_network": any_network,
    "batch": batch,
}


def _mlp(description: dict[str, Any]) -> Mlp:
    network = network_from_json(description)
    assert isinstance(network, Mlp)  # what the benchmarks send
    return network


def main() -> None:
    """Carry out the measurement that the arguments name."""
    name, settings = sys.argv[1:]
    measure = MEASUREMENTS[name](**json.loads(settings))
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(measure()), flush=True)


if __name__ == "__main__":
    main()
