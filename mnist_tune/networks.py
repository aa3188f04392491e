"""Network descriptions: frozen values that say what to train, without TensorFlow.

A description is validated when it is made, knows its layers, shapes and number of
parameters, and can be stored as JSON. `mnist_tune.trainer` turns it into a program.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from mnist_tune.errors import DefinitionError

PIXELS = 28 * 28
CLASSES = 10

Activation = Literal["relu", "tanh", "sigmoid", "elu", "gelu"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One row of a network's summary.

    Attributes:
        name: unique within the network.
        kind: what a person calls it, such as `dense relu`.
        shape: shape of the output of one image.
        parameters: number of trainable numbers.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp:
    """Dense network 784-hidden…-10 with a softmax output.

    Attributes:
        hidden: widths of the hidden layers, from the input on; each 1 to 65,536.
        l2: factor λ ≥ 0 of the penalty λ·Σw² on the kernels of the hidden layers, as
            Keras' `regularizers.L2` counts it (the "weight decay" of the literature is 2λ).
        activation: of the hidden layers.
        dropout: share of each hidden layer's outputs dropped in training, 0 ≤ rate < 1.
        input_dropout: share of the pixels dropped in training, 0 ≤ rate < 1.

    Raises:
        DefinitionError: a value is of the wrong type or out of its range.
    """

    hidden: tuple[int, ...]
    l2: float = 0.0
    activation: Activation = "relu"
    dropout: float = 0.0
    input_dropout: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for width in self.hidden:
            if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= 65_536:
                raise DefinitionError(
                    f"Mlp hidden={self.hidden}: {width!r} is not a width, give integers from 1 to 65,536"
                )
        if not (_is_number(self.l2) and 0 <= self.l2 < math.inf):
            raise DefinitionError(f"Mlp l2={self.l2!r}: give a finite number of at least 0")
        if self.activation not in get_args(Activation):
            known = ", ".join(get_args(Activation))
            raise DefinitionError(f"Mlp activation={self.activation!r}: give one of {known}")
        for name in ("dropout", "input_dropout"):
            rate = getattr(self, name)
            if not (_is_number(rate) and 0 <= rate < 1):
                raise DefinitionError(
                    f"Mlp {name}={rate!r}: give a share from 0 up to, not including, 1"
                )

    @property
    def widths(self) -> tuple[int, ...]:
        """All layer widths, input and output included."""
        return (PIXELS, *self.hidden, CLASSES)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers with parameters, in order."""
        pairs = list(zip(self.widths, self.widths[1:], strict=False))
        last = len(pairs)
        return tuple(
            Layer(
                name=f"hidden_{i}" if i < last else "output",
                kind=f"dense {self.activation if i < last else 'softmax'}",
                shape=(outputs,),
                parameters=(inputs + 1) * outputs,
            )
            for i, (inputs, outputs) in enumerate(pairs, start=1)
        )

    @property
    def parameters(self) -> int:
        """Number of trainable numbers, equal to Keras' `count_params()`."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def label(self) -> str:
        """The name people give the network, such as `500-300`."""
        return "-".join(str(width) for width in self.hidden) or "no hidden layer"


Network = Mlp

_KINDS: dict[str, type[Network]] = {"Mlp": Mlp}


def network_to_json(network: Network) -> dict[str, Any]:
    """Describe a network by JSON values; `network_from_json` is the inverse."""
    values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(network).items()}
    return {"kind": type(network).__name__, **values}


def network_from_json(description: dict[str, Any]) -> Network:
    """Make the network that `network_to_json` described.

    Raises:
        DefinitionError: an unknown kind of network, unknown fields or missing ones.
    """
    kind = _KINDS.get(description.get("kind", ""))
    values = {name: value for name, value in description.items() if name != "kind"}
    known = {entry.name for entry in fields(kind)} if kind else set()
    if kind is None or not {"hidden"} <= set(values) <= known:
        raise DefinitionError(
            f"{description!r} describes no network that this version knows; upgrade mnist_tune"
        )
    return kind(**values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
