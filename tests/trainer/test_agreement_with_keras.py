"""The trainer takes the same steps as plain Keras: same start, same batches, same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mnist_tune.data.sources import Part
from mnist_tune.networks import (
    Autoencoder,
    Block,
    Cnn,
    ConvAutoencoder,
    Denoiser,
    Mlp,
    Network,
)
from mnist_tune.recipes import Adam, AdamW, Optimizer, Recipe, Sgd
from mnist_tune.trainer.keras_models import keras_model, with_weights
from mnist_tune.trainer.randomness import epoch_order
from mnist_tune.trainer.runtime import Device
from mnist_tune.trainer.states import RunState
from mnist_tune.trainer.training import Trainer
from tests.trainer.training_samples import trained

SEED = 5
BATCH_SIZE = 32
EPOCHS = 4  # of 26 steps each, the last with 10 images: 104 steps


def keras_optimizer(recipe: Recipe, steps: int) -> Any:
    import keras

    values, rate = recipe.optimizer, recipe.optimizer.learning_rate
    if recipe.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps=steps)
    if isinstance(values, Sgd):
        return keras.optimizers.SGD(rate, momentum=values.momentum, nesterov=values.nesterov)
    kind = keras.optimizers.AdamW if isinstance(values, AdamW) else keras.optimizers.Adam
    more = {"weight_decay": values.weight_decay} if isinstance(values, AdamW) else {}
    return kind(rate, beta_1=values.beta_1, beta_2=values.beta_2, epsilon=values.epsilon, **more)


def trained_by_keras(network: Network, recipe: Recipe, part: Part) -> list[np.ndarray]:
    """Train as the notebook does, with `fit`, but in the trainer's order."""
    model = with_weights(network, Trainer.start(network, recipe, SEED))
    steps = recipe.epochs * -(-len(part) // recipe.batch_size)
    denoises = isinstance(network, Denoiser)
    loss = "binary_crossentropy" if denoises else "sparse_categorical_crossentropy"
    model.compile(optimizer=keras_optimizer(recipe, steps), loss=loss)
    for epoch in range(recipe.epochs):
        order = epoch_order(SEED, epoch, len(part))
        images = part.images[order] / np.float32(255)
        wanted = images if denoises else part.labels[order]
        model.fit(images, wanted, batch_size=recipe.batch_size, shuffle=False, verbose=0)
    weights: list[np.ndarray] = model.get_weights()
    return weights


def difference(state: RunState, weights: list[np.ndarray]) -> float:
    """Largest difference of a weight, relative to the largest weight of its array."""
    return max(
        float(np.abs(mine - theirs).max() / np.abs(theirs).max())
        for mine, theirs in zip(state.weights, weights, strict=True)
    )


@pytest.mark.parametrize(
    ("network", "optimizer", "schedule"),
    [
        pytest.param(Mlp(hidden=(24, 16)), Sgd(learning_rate=0.1), "constant", id="sgd"),
        pytest.param(
            Mlp(hidden=(24, 16), l2=1e-2), Sgd(learning_rate=0.1), "constant", id="sgd-l2"
        ),
        pytest.param(Mlp(hidden=()), Sgd(learning_rate=0.1), "cosine", id="no-hidden-layer"),
        pytest.param(
            Mlp(hidden=(24, 16), l2=1e-3, activation="tanh"),
            Sgd(learning_rate=0.05, momentum=0.9),
            "cosine",
            id="momentum-cosine-tanh",
        ),
        pytest.param(
            Mlp(hidden=(24,), activation="sigmoid"),
            Sgd(learning_rate=0.05, momentum=0.8, nesterov=True),
            "constant",
            id="nesterov-sigmoid",
        ),
        pytest.param(
            Mlp(hidden=(24,), activation="elu", l2=1e-3),
            Adam(learning_rate=2e-3, beta_1=0.8, beta_2=0.99, epsilon=1e-3),
            "constant",
            id="adam-elu",
        ),
        pytest.param(
            Mlp(hidden=(24,), activation="gelu"),
            AdamW(learning_rate=2e-3, weight_decay=0.1, epsilon=1e-3),
            "cosine",
            id="adamw-cosine-gelu",
        ),
        pytest.param(
            Cnn(blocks=(Block(filters=4), Block(filters=6)), dense=(12,), l2=1e-4),
            Sgd(learning_rate=0.1),
            "constant",
            id="cnn",
        ),
        pytest.param(
            Cnn(blocks=(Block(filters=3, convolutions=2),), padding="same", activation="tanh"),
            Sgd(learning_rate=0.05, momentum=0.9),
            "cosine",
            id="cnn-same",
        ),
        pytest.param(
            Autoencoder(latent=5, hidden=(24,), noise=(0.0, 0.0), l2=1e-4),
            Sgd(learning_rate=0.1, momentum=0.9),
            "constant",
            id="autoencoder",
        ),
        pytest.param(
            ConvAutoencoder(latent=5, filters=(3, 4), noise=(0.0, 0.0)),
            Sgd(learning_rate=0.1, momentum=0.9),
            "cosine",
            id="convolutional-autoencoder",
        ),
    ],
)
def test_after_100_steps_the_weights_are_those_of_keras(
    network: Network, optimizer: Optimizer, schedule: Any, train_part: Part, cpu: Device
) -> None:
    recipe = Recipe(epochs=EPOCHS, batch_size=BATCH_SIZE, optimizer=optimizer, schedule=schedule)
    (state,) = trained(Trainer(train_part, None, cpu), network, recipe, [SEED])
    weights = trained_by_keras(network, recipe, train_part)
    start = Trainer.start(network, recipe, SEED)
    assert difference(start, weights) > 0.1  # they have come a long way together
    print(difference(state, weights))
    assert difference(state, weights) < 2e-5


def test_the_model_trains_on_from_a_run_as_the_run_itself(
    trainer: Trainer, train_part: Part
) -> None:
    """Dropout and L2 are part of the model, so that `fit` goes on with the same objective."""
    network = Mlp(hidden=(24, 16), l2=1e-2, dropout=0.5, input_dropout=0.2)
    model = keras_model(network)
    regularised = [layer.name for layer in model.layers if getattr(layer, "kernel_regularizer", 0)]
    assert regularised == ["hidden_1", "hidden_2"]
    dropouts = {layer.name: layer.rate for layer in model.layers if hasattr(layer, "rate")}
    assert dropouts == {"input_dropout": 0.2, "hidden_1_dropout": 0.5, "hidden_2_dropout": 0.5}
    kernels = [
        layer.kernel.numpy()
        for layer in model.layers
        if layer.name.startswith("hidden_") and hasattr(layer, "kernel")
    ]
    penalty = 1e-2 * sum((kernel.astype(np.float64) ** 2).sum() for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(penalty, rel=1e-5)
