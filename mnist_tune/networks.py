"""Network descriptions: immutable dataclasses that say what to train, without TensorFlow.

A description is validated when it is made, knows its layers, shapes, parameters and
multiply-adds, and can be stored as JSON. `mnist_tune.trainer` turns it into a program.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

from mnist_tune.checks import (
    NOT_NEGATIVE,
    SHARE,
    check_choices,
    check_integers,
    check_numbers,
    is_integer,
    is_number,
    refused,
)
from mnist_tune.errors import DefinitionError
from mnist_tune.layers import (
    Activation,
    Convolution,
    Deconvolution,
    Dense,
    Dropout,
    Layer,
    Padding,
    Pooling,
    Reshape,
)
from mnist_tune.metrics import ACCURACY, DENOISING_ERROR, Metric

SIDE = 28
PIXELS = SIDE * SIDE
CLASSES = 10

HiddenActivation = Literal["relu", "tanh", "sigmoid", "elu", "gelu"]
_MOST_UNITS = 65_536
_IMAGE: tuple[int, ...] = (SIDE, SIDE, 1)


class _Described:
    """What all descriptions share."""

    __slots__ = ()

    metric: ClassVar[Metric]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers in order, those without parameters included."""
        return tuple(self._layers())

    def _layers(self) -> Iterator[Layer]:
        raise NotImplementedError

    @property
    def convolutional(self) -> bool:
        """Whether any layer is a convolution, which trains by other kernels."""
        return any(isinstance(layer, Convolution | Deconvolution) for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Number of trainable numbers, equal to Keras' `count_params()`."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiplications with an addition each, for one image forward."""
        return sum(layer.multiply_adds for layer in self.layers)


class _Classifier(_Described):
    """Networks with a softmax output."""

    __slots__ = ()
    metric = ACCURACY


class _Denoiser(_Described):
    """Autoencoders; the layer named `code` gives the code."""

    __slots__ = ()
    metric = DENOISING_ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class Mlp(_Classifier):
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
    activation: HiddenActivation = "relu"
    dropout: float = 0.0
    input_dropout: float = 0.0

    def __post_init__(self) -> None:
        _set_widths(self, "hidden")
        check_numbers(self, l2=NOT_NEGATIVE, dropout=SHARE, input_dropout=SHARE)
        check_choices(self, activation=HiddenActivation)

    @property
    def widths(self) -> tuple[int, ...]:
        """All layer widths, input and output included."""
        return (PIXELS, *self.hidden, CLASSES)

    def _layers(self) -> Iterator[Layer]:
        rates = self.input_dropout, self.dropout
        return _dense(self.widths, self.activation, "softmax", rates)

    @property
    def label(self) -> str:
        """The name people give the network, such as `500-300`."""
        return "-".join(str(width) for width in self.hidden) or "no hidden layer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Convolutions of one size and a pooling behind them.

    Attributes:
        filters: of each convolution, 1 to 4,096.
        kernel: side of the kernels in pixels, 1 to 28.
        convolutions: how many, 1 to 8.
        pool: side of the squares whose maximum is kept, 1 to 28; 1 pools nothing.
        dropout: share of the block's outputs dropped in training, 0 ≤ rate < 1.
    """

    filters: int
    kernel: int = 3
    convolutions: int = 1
    pool: int = 2
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_integers(self, filters=4_096, kernel=SIDE, convolutions=8, pool=SIDE)
        check_numbers(self, dropout=SHARE)

    @property
    def label(self) -> str:
        """Such as `2×64k3p2`: two convolutions of 64 kernels of 3×3, pooling 2×2."""
        times = f"{self.convolutions}×" if self.convolutions > 1 else ""
        pool = f"p{self.pool}" if self.pool > 1 else ""
        return f"{times}{self.filters}k{self.kernel}{pool}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cnn(_Classifier):
    """Convolutional network: blocks, then dense layers, with a softmax output.

    Attributes:
        blocks: at least one, from the image on.
        dense: widths of the dense layers between the last block and the output.
        dropout: share of each dense layer's outputs dropped in training, 0 ≤ rate < 1.
        padding: `valid`, where a convolution shrinks the image, or `same`.
        l2: factor λ ≥ 0 of the penalty λ·Σw² on all kernels but the output's.
        activation: of all layers but the output.

    Raises:
        DefinitionError: a value is out of its range, or nothing is left of the image.
    """

    blocks: tuple[Block, ...]
    dense: tuple[int, ...] = (64,)
    dropout: float = 0.0
    padding: Padding = "valid"
    l2: float = 0.0
    activation: HiddenActivation = "relu"

    def __post_init__(self) -> None:
        given: Any = self.blocks  # dicts, where they come from JSON
        several = given if isinstance(given, Iterable) else ()
        blocks = tuple(Block(**b) if isinstance(b, dict) else b for b in several)
        if not blocks or not all(isinstance(block, Block) for block in blocks):
            raise refused(self, "blocks", "give blocks in brackets, such as (Block(filters=32),)")
        object.__setattr__(self, "blocks", blocks)
        _set_widths(self, "dense")
        check_numbers(self, l2=NOT_NEGATIVE, dropout=SHARE)
        check_choices(self, activation=HiddenActivation, padding=Padding)
        smallest = min(min(layer.shape) for layer in self.layers)
        if smallest < 1:
            raise DefinitionError(
                f"Cnn {self.label}: nothing is left of the image behind its blocks; "
                "give smaller kernels or pools, or padding='same'"
            )

    def _layers(self) -> Iterator[Layer]:
        shape, place = _IMAGE, 0
        for number, block in enumerate(self.blocks, start=1):
            for turn in range(1, block.convolutions + 1):
                name = f"block_{number}_convolution_{turn}"
                layer = Convolution(
                    name, shape, block.filters, block.kernel, self.activation, self.padding
                )
                yield layer
                shape, place = layer.shape, place + 1
            if block.pool > 1:
                pooling = Pooling(f"block_{number}_pooling", shape, block.pool)
                yield pooling
                shape = pooling.shape
            if block.dropout:
                yield Dropout(f"block_{number}_dropout", shape, block.dropout, place)
        flat = Reshape("flat", (math.prod(shape),))
        yield flat
        widths = (*flat.shape, *self.dense, CLASSES)
        yield from _dense(widths, self.activation, "softmax", (0.0, self.dropout), place)

    @property
    def label(self) -> str:
        """Such as `32k3-64k3p3-64`: convolutions with kernel and pool sizes, dense widths."""
        return "-".join([*(block.label for block in self.blocks), *map(str, self.dense)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoencoder(_Denoiser):
    """Dense denoising autoencoder 784-hidden…-latent-…hidden-784 with a sigmoid output.

    It is trained to make the clean image from one with salt-and-pepper noise: at each level, that
    share of the pixels is set to black or white, each half of the time.

    Attributes:
        latent: numbers in the code, 1 to 65,536; the code has no activation.
        hidden: widths of the encoder's hidden layers; the decoder mirrors them.
        noise: lowest and highest noise level, 0–1; each image draws its level evenly between
            them, in training, validation and test alike. One number is both.
        activation: of the hidden layers.
        l2: factor λ ≥ 0 of the penalty λ·Σw² on all kernels but the output's.

    Raises:
        DefinitionError: a value is of the wrong type or out of its range.
    """

    latent: int
    hidden: tuple[int, ...] = (128,)
    noise: tuple[float, float] = (0.4, 0.4)
    activation: HiddenActivation = "relu"
    l2: float = 0.0

    def __post_init__(self) -> None:
        _set_noise_range(self)
        check_integers(self, latent=_MOST_UNITS)
        _set_widths(self, "hidden")
        check_numbers(self, l2=NOT_NEGATIVE)
        check_choices(self, activation=HiddenActivation)

    def _layers(self) -> Iterator[Layer]:
        activation, place = self.activation, len(self.hidden) + 1
        encoder = (PIXELS, *self.hidden, self.latent)
        yield from _dense(encoder, activation, "linear", hidden="encoder", output="code")
        decoder = encoder[::-1]
        yield from _dense(
            decoder, activation, "sigmoid", place=place, hidden="decoder", output="image"
        )

    @property
    def label(self) -> str:
        """Such as `128-16-128`."""
        return "-".join(map(str, (*self.hidden, self.latent, *reversed(self.hidden))))


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvAutoencoder(_Denoiser):
    """Convolutional denoising autoencoder: halving convolutions, a dense code, and back.

    Attributes:
        latent: numbers in the code, 1 to 65,536; the code has no activation.
        filters: of the one or two convolutions that each halve the image; mirrored back.
        kernel: side of the kernels in pixels, 2 to 28.
        noise: as of `Autoencoder`.
        activation: of all layers but code and output.
        l2: factor λ ≥ 0 of the penalty λ·Σw² on all kernels but the output's.
    """

    latent: int
    filters: tuple[int, ...] = (32, 64)
    kernel: int = 5
    noise: tuple[float, float] = (0.4, 0.4)
    activation: HiddenActivation = "relu"
    l2: float = 0.0

    def __post_init__(self) -> None:
        _set_noise_range(self)
        check_integers(self, latent=_MOST_UNITS, kernel=SIDE)
        _set_widths(self, "filters")
        if not 1 <= len(self.filters) <= 2 or self.kernel < 2:
            raise DefinitionError(
                f"ConvAutoencoder filters={self.filters}, kernel={self.kernel}: give one or two "
                "numbers of filters (28 halves twice), and a kernel of at least 2"
            )
        check_numbers(self, l2=NOT_NEGATIVE)
        check_choices(self, activation=HiddenActivation)

    def _layers(self) -> Iterator[Layer]:
        shape, activation = _IMAGE, self.activation
        for i, filters in enumerate(self.filters, start=1):
            down = Convolution(
                f"encoder_{i}", shape, filters, self.kernel, activation, "same", stride=2
            )
            yield down
            shape = down.shape
        flat = Reshape("flat", (math.prod(shape),))
        yield flat
        yield Dense("code", flat.shape[0], self.latent, "linear")
        yield Dense("spread", self.latent, flat.shape[0], activation)
        yield Reshape("square", shape)
        outputs = (*reversed(self.filters[:-1]), 1)
        for i, filters in enumerate(outputs, start=1):
            last = i == len(outputs)
            up = Deconvolution(
                "image" if last else f"decoder_{i}",
                shape,
                filters,
                self.kernel,
                "sigmoid" if last else activation,
                stride=2,
            )
            yield up
            shape = up.shape

    @property
    def label(self) -> str:
        """Such as `conv 32-64-128`: filters, then the size of the code."""
        return f"conv {'-'.join(map(str, self.filters))}-{self.latent}"


Denoiser = Autoencoder | ConvAutoencoder
Network = Mlp | Cnn | Autoencoder | ConvAutoencoder

_KINDS: dict[str, type[Network]] = {kind.__name__: kind for kind in get_args(Network)}


def network_to_json(network: Network) -> dict[str, Any]:
    """Describe a network by JSON values; `network_from_json` is the inverse."""
    values = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(network).items()}
    return {"kind": type(network).__name__, **values}


def network_from_json(description: dict[str, Any]) -> Network:
    """Make the network that `network_to_json` described.

    Raises:
        DefinitionError: an unknown kind of network, unknown fields or missing ones.
    """
    values = dict(description)
    try:
        return _KINDS[values.pop("kind")](**values)
    except (KeyError, TypeError) as error:
        raise DefinitionError(
            f"{description!r} describes no network that this version knows; upgrade mnist_tune"
        ) from error


def _dense(
    widths: tuple[int, ...],
    activation: Activation,
    last: Activation,
    dropout: tuple[float, float] = (0.0, 0.0),
    place: int = 0,
    hidden: str = "hidden",
    output: str = "output",
) -> Iterator[Layer]:
    """Dense layers with dropout before the first and behind each but the last."""
    before, behind = dropout
    if before:
        yield Dropout("input_dropout", (widths[0],), before, place)
    end = len(widths) - 1
    for i, (inputs, units) in enumerate(pairwise(widths), start=1):
        name = output if i == end else f"{hidden}_{i}"
        yield Dense(name, inputs, units, last if i == end else activation)
        if behind and i < end:
            yield Dropout(f"{name}_dropout", (units,), behind, place + i)


def _set_noise_range(owner: Denoiser) -> None:
    given: Any = owner.noise
    ends = tuple(given) if isinstance(given, Iterable) else (given, given)
    numbers = len(ends) == 2 and all(is_number(end) for end in ends)
    if not numbers or not 0 <= ends[0] <= ends[1] <= 1:
        raise refused(owner, "noise", "give a level from 0 to 1, or the lowest and the highest one")
    object.__setattr__(owner, "noise", (float(ends[0]), float(ends[1])))


def _set_widths(owner: Network, name: str) -> None:
    """Check a field that holds widths, and make it a tuple, which JSON knows not."""
    given = getattr(owner, name)
    widths = tuple(given) if isinstance(given, Iterable) else (None,)
    if not all(is_integer(width, 1, _MOST_UNITS) for width in widths):
        advice = f"give integers from 1 to {_MOST_UNITS:,} in brackets, such as (128, 64)"
        raise refused(owner, name, advice)
    object.__setattr__(owner, name, widths)
