"""The plain Keras model of a network, for people who want to use, show or share one.

The model takes images as every source of MNIST gives them, `[N, 28, 28]` with pixels 0–255 of
any number type, and scales them itself; it returns the ten probabilities of each image:

    model = keras.models.load_model("best.keras")
    digits = model.predict(x_test).argmax(axis=1)

Dropout and L2 regularisers are part of it, so that training can go on with `compile` and `fit`
and labels 0–9 (`sparse_categorical_crossentropy`). Predictions are not touched by either.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from mnist_tune.errors import DefinitionError, InputError
from mnist_tune.networks import Network
from mnist_tune.trainer.runtime import tensorflow
from mnist_tune.trainer.states import RunState

SUFFIX = ".keras"
_DTYPE = "float32"  # whatever the reader's own Keras is set to


def keras_model(network: Network) -> Any:
    """Build the model, with Keras' own initial weights.

    Args:
        network: whose layers the model gets, by the same names, besides `pixels`, `scale` and
            `flat` before them and layers named `…dropout`.

    Returns:
        A `keras.Sequential`, not compiled, with `network.parameters` trainable numbers.
    """
    keras = _keras()
    pieces = [
        keras.Input((28, 28), dtype=_DTYPE, name="pixels"),
        keras.layers.Rescaling(1 / 255, dtype=_DTYPE, name="scale"),
        keras.layers.Flatten(dtype=_DTYPE, name="flat"),
    ]
    if network.input_dropout:
        pieces.append(_dropout(network.input_dropout, "input_dropout"))
    *hidden, output = zip(network.layers, network.widths[1:], strict=True)
    for layer, width in hidden:
        penalty = keras.regularizers.L2(network.l2) if network.l2 else None
        pieces.append(_dense(width, network.activation, layer.name, penalty))
        if network.dropout:
            pieces.append(_dropout(network.dropout, f"{layer.name}_dropout"))
    pieces.append(_dense(output[1], "softmax", output[0].name, None))
    return keras.Sequential(pieces, name=type(network).__name__.lower())


def with_weights(network: Network, state: RunState) -> Any:
    """Build the model with the weights of a run; it predicts what `Trainer.score` counts."""
    model = keras_model(network)
    model.set_weights(list(state.weights))
    return model


def save(model: Any, path: Path) -> None:
    """Write a model so that `path` holds either all of it or what it held before.

    Raises:
        DefinitionError: the name does not end in `.keras`, which is how Keras knows the format.
        InputError: the folder is missing or not writable, or the disk is full.
    """
    if path.suffix != SUFFIX:
        raise DefinitionError(f"{path}: Keras wants a name that ends in {SUFFIX}; give that")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it or give another")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    # Keras asks for its own suffix here too.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{SUFFIX}")
    try:
        with warnings.catch_warnings():
            # Keras 3.15 converts its variables in a way that NumPy calls outdated.
            warnings.simplefilter("ignore", DeprecationWarning)
            model.save(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _dense(width: int, activation: str, name: str, penalty: Any) -> Any:
    return _keras().layers.Dense(
        width, activation=activation, kernel_regularizer=penalty, dtype=_DTYPE, name=name
    )


def _dropout(rate: float, name: str) -> Any:
    return _keras().layers.Dropout(rate, dtype=_DTYPE, name=name)


@cache
def _keras() -> Any:  # Keras ships no types
    """Import Keras on TensorFlow, whatever the user's own setting for other work is."""
    tensorflow()
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    return keras
