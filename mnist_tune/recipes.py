"""Training recipes: how long, in which batches, with which optimizer and learning rate."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mnist_tune.checks import (
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    Range,
    check_choices,
    check_integers,
    check_numbers,
    check_type,
)
from mnist_tune.errors import DefinitionError
from mnist_tune.networks import Network

Schedule = Literal["constant", "cosine"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent as in `keras.optimizers.SGD`.

    Attributes:
        learning_rate: above 0.
        momentum: 0 ≤ momentum < 1.
        nesterov: look ahead along the momentum.
    """

    learning_rate: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        check_numbers(self, learning_rate=POSITIVE, momentum=SHARE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Adaptive:
    """What Adam and AdamW share.

    Attributes:
        learning_rate: above 0.
        beta_1, beta_2: decay of the two moments, 0 ≤ beta < 1.
        epsilon: 0 < epsilon < 1.
    """

    learning_rate: float = 1e-3
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7

    def __post_init__(self) -> None:
        positive_share = Range(0, 1, includes_low=False)
        check_numbers(
            self, learning_rate=POSITIVE, beta_1=SHARE, beta_2=SHARE, epsilon=positive_share
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam(_Adaptive):
    """Adam as in `keras.optimizers.Adam` (Kingma and Ba, 2015)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW(_Adaptive):
    """Adam with decoupled weight decay as in `keras.optimizers.AdamW` (Loshchilov and Hutter, 2019).

    Attributes:
        weight_decay: per step, each kernel and bias shrinks by learning rate × weight_decay.
    """

    weight_decay: float = 4e-3

    def __post_init__(self) -> None:
        _Adaptive.__post_init__(self)
        check_numbers(self, weight_decay=NOT_NEGATIVE)


Optimizer = Sgd | Adam | AdamW
_OPTIMIZERS: dict[str, type[Optimizer]] = {"Sgd": Sgd, "Adam": Adam, "AdamW": AdamW}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: passes over the training images, 1 to 100,000.
        batch_size: images per step, 1 to 60,000; the last batch of an epoch holds what is left.
        optimizer: with its learning rate.
        schedule: `constant`, or `cosine` from the learning rate down to 0 over all steps.
        precision: of the computation between float32 weights and float32 losses; `bfloat16` is
            faster for convolutions and wide layers where the processor has it.
    """

    epochs: int
    batch_size: int = 128
    optimizer: Optimizer = field(default_factory=Sgd)
    schedule: Schedule = "constant"
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        check_integers(self, epochs=100_000, batch_size=60_000)
        check_type(self, "optimizer", Optimizer, "Sgd(…), Adam(…) or AdamW(…)")
        check_choices(self, schedule=Schedule, precision=Precision)


def compiled_on_cpus(network: Network, recipe: Recipe) -> bool:
    """Whether XLA compiles the training for CPUs, where it makes it faster.

    Convolutions it makes ten times as slow, and products in bfloat16 twice: these run by TensorFlow's
    own kernels.
    """
    return not network.convolutional and recipe.precision == "float32"


def recipe_to_json(recipe: Recipe) -> dict[str, Any]:
    """Describe a recipe by JSON values; `recipe_from_json` is the inverse."""
    optimizer = {"kind": type(recipe.optimizer).__name__, **asdict(recipe.optimizer)}
    values = {**asdict(recipe), "optimizer": optimizer}
    if recipe.precision == "float32":
        del values["precision"]  # the usual one, which no report needs to mention
    return values


def recipe_from_json(description: dict[str, Any]) -> Recipe:
    """Make the recipe that `recipe_to_json` described.

    Raises:
        DefinitionError: an unknown optimizer, unknown fields or missing ones.
    """
    try:
        optimizer = dict(description["optimizer"])
        kind = _OPTIMIZERS[optimizer.pop("kind")]
        return Recipe(**{**description, "optimizer": kind(**optimizer)})
    except (KeyError, TypeError, ValueError) as error:
        raise DefinitionError(
            f"{description!r} describes no recipe that this version knows; upgrade mnist_tune"
        ) from error
