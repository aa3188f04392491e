"""Keras models of our networks, with trained weights.

The model takes images `[N, 28, 28]` of 0–1, as users of `keras.datasets.mnist` scale them. A
classifier returns the ten probabilities of each image, an autoencoder images `[N, 28, 28]` of 0–1:

    model = keras.models.load_model("best.keras")
    loss, accuracy = model.evaluate(x_test / 255, y_test)

Dropout and L2 regularisers are part of it, and it is saved with its optimizer, so that training can
continue with `fit`. Predictions are not touched by either; the loss holds the L2 penalty.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from mnist_tune.errors import DefinitionError, InputError
from mnist_tune.files import replacing
from mnist_tune.layers import (
    Convolution,
    Deconvolution,
    Dense,
    Dropout,
    Layer,
    Pooling,
    Weighted,
)
from mnist_tune.networks import Denoiser, Network
from mnist_tune.recipes import Recipe
from mnist_tune.trainer.runtime import tensorflow
from mnist_tune.trainer.states import RunState

KERAS_SUFFIX = ".keras"
_DTYPE = "float32"  # whatever the reader's own Keras is set to


def keras_model(network: Network) -> Any:
    """Build the model, with Keras' own initial weights.

    Args:
        network: whose layers the model gets, by the same names, besides what changes the shape of
            an image only.

    Returns:
        A `keras.Sequential`, not compiled, with `network.parameters` trainable numbers.
    """
    keras = _keras()
    pieces = [keras.Input((28, 28), dtype=_DTYPE, name="pixels")]
    if isinstance(network.layers[0], Convolution):
        pieces.append(_reshape((28, 28, 1), "grey"))
    else:
        pieces.append(keras.layers.Flatten(dtype=_DTYPE, name="flat"))
    *hidden, last = network.layers
    for layer in hidden:
        penalised = network.l2 and isinstance(layer, Weighted)
        pieces.append(_piece(layer, keras.regularizers.L2(network.l2) if penalised else None))
    pieces.append(_piece(last, None))
    if isinstance(network, Denoiser):
        pieces.append(_reshape((28, 28), "picture"))
    return keras.Sequential(pieces, name=type(network).__name__.lower())


def halves(model: Any) -> tuple[Any, Any]:
    """Cut an autoencoder behind the layer named `code`.

    Returns:
        Encoder, from images `[N, 28, 28]` of 0–1 to codes `[N, latent]`, and decoder, from codes
        to images; both share the model's weights.

    Raises:
        InputError: the model has no layer of that name.
    """
    keras = _keras()
    names = [layer.name for layer in model.layers]
    if "code" not in names:
        raise InputError(
            "the model has no layer named `code`: give an autoencoder that mnist_tune has saved"
        )
    cut = names.index("code") + 1
    encoder = keras.Sequential([keras.Input((28, 28), dtype=_DTYPE), *model.layers[:cut]])
    codes = keras.Input((model.layers[cut - 1].units,), dtype=_DTYPE)
    return encoder, keras.Sequential([codes, *model.layers[cut:]])


def with_weights(network: Network, state: RunState) -> Any:
    """Build the model with the weights of a run; it predicts what `Trainer.score` counts."""
    model = keras_model(network)
    model.set_weights(list(state.weights))
    return model


def compile_model(model: Any, network: Network, recipe: Recipe) -> None:
    """Give a model what it was trained with: optimizer, loss, and metrics without the L2 penalty."""
    values = asdict(recipe.optimizer)
    name = type(recipe.optimizer).__name__
    denoises = isinstance(network, Denoiser)
    loss = "binary_crossentropy" if denoises else "sparse_categorical_crossentropy"
    model.compile(
        optimizer=getattr(_keras().optimizers, "SGD" if name == "Sgd" else name)(**values),
        loss=loss,
        metrics=[loss, "mean_squared_error"] if denoises else ["accuracy"],
    )
    model.optimizer.build(model.trainable_variables)  # else Keras warns who loads the file


def save_model(model: Any, path: Path) -> None:
    """Write a model so that `path` holds either all of it or what it held before.

    Raises:
        InputError: as of `check_path`, or the disk is full.
    """
    check_path(path)
    try:
        with replacing(path) as temporary, warnings.catch_warnings():
            # Keras 3.15 converts its variables in a way that NumPy calls outdated.
            warnings.simplefilter("ignore", DeprecationWarning)
            model.save(temporary)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error


def check_path(path: Path) -> None:
    """Check that a model can be written there.

    Raises:
        DefinitionError: the name does not end in `.keras`, which is how Keras knows the format.
        InputError: the folder is missing, or the path is a folder.
    """
    if path.suffix != KERAS_SUFFIX:
        raise DefinitionError(f"{path}: Keras wants a name that ends in {KERAS_SUFFIX}; give that")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it or give another")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")


def _piece(layer: Layer, penalty: Any) -> Any:
    """One layer of ours as Keras' own."""
    kinds = _keras().layers
    common = {"dtype": _DTYPE, "name": layer.name}
    if isinstance(layer, Dense):
        return kinds.Dense(
            layer.units, activation=layer.activation, kernel_regularizer=penalty, **common
        )
    if isinstance(layer, Convolution | Deconvolution):
        kind = kinds.Conv2D if isinstance(layer, Convolution) else kinds.Conv2DTranspose
        padding = layer.padding if isinstance(layer, Convolution) else "same"
        return kind(
            layer.filters,
            layer.kernel,
            layer.stride,
            padding,
            activation=layer.activation,
            kernel_regularizer=penalty,
            **common,
        )
    if isinstance(layer, Pooling):
        return kinds.MaxPooling2D(layer.size, **common)
    if isinstance(layer, Dropout):
        return kinds.Dropout(layer.rate, **common)
    return _reshape(layer.shape, layer.name)


def _reshape(shape: tuple[int, ...], name: str) -> Any:
    return _keras().layers.Reshape(shape, dtype=_DTYPE, name=name)


@cache
def _keras() -> Any:  # Keras ships no types
    """Import Keras on TensorFlow, whatever the user's own setting for other work is."""
    tensorflow()
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    return keras
