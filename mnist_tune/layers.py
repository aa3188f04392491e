"""Layers of a network as immutable dataclasses: shapes, parameters and multiply-adds, without TensorFlow.

Shapes are those of one image, channels last. A kernel is stored as Keras stores it: `[inputs,
units]` of a dense layer, `[height, width, inputs, filters]` of a convolution, `[height, width,
filters, inputs]` of a transposed one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

Activation = Literal["relu", "tanh", "sigmoid", "elu", "gelu", "linear", "softmax"]
Padding = Literal["valid", "same"]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _WithKernel:
    """What layers with a kernel and a bias share."""

    @property
    def kernel_shape(self) -> Shape:
        """Of the weights without the bias."""
        raise NotImplementedError

    @property
    def shape(self) -> Shape:
        """Of the output."""
        raise NotImplementedError

    @property
    def fans(self) -> tuple[int, int]:
        """Inputs of one output and outputs of one input, of the stored kernel as Keras counts them."""
        *window, inputs, outputs = self.kernel_shape
        return math.prod(window) * inputs, math.prod(window) * outputs

    @property
    def parameters(self) -> int:
        """Number of trainable numbers: the kernel, and a bias for each unit or filter."""
        return math.prod(self.kernel_shape) + self.shape[-1]

    @property
    def multiply_adds(self) -> int:
        """For one image forward; at a border of padding they are counted too."""
        return math.prod(self.kernel_shape) * self._positions

    @property
    def _positions(self) -> int:
        """How often the kernel is applied to an image."""
        return math.prod(self.shape[:-1])


@dataclass(frozen=True, slots=True)
class Dense(_WithKernel):
    """Every output sees every input."""

    name: str
    inputs: int
    units: int
    activation: Activation

    @property
    def kind(self) -> str:
        """What a person calls it."""
        return f"dense {self.activation}"

    @property
    def shape(self) -> Shape:
        """Of the output."""
        return (self.units,)

    @property
    def kernel_shape(self) -> Shape:
        """Of the weights without the bias."""
        return (self.inputs, self.units)


@dataclass(frozen=True, slots=True)
class Convolution(_WithKernel):
    """Kernels that slide over the image."""

    name: str
    input_shape: Shape
    filters: int
    kernel: int
    activation: Activation
    padding: Padding = "valid"
    stride: int = 1

    @property
    def kind(self) -> str:
        """What a person calls it."""
        step = f" stride {self.stride}" if self.stride > 1 else ""
        return f"convolution {self.kernel}×{self.kernel}{step} {self.activation}"

    @property
    def shape(self) -> Shape:
        """Of the output."""
        lost = self.kernel - 1 if self.padding == "valid" else 0
        rows, columns = (-(-(side - lost) // self.stride) for side in self.input_shape[:2])
        return rows, columns, self.filters

    @property
    def kernel_shape(self) -> Shape:
        """Of the weights without the bias."""
        return (self.kernel, self.kernel, self.input_shape[2], self.filters)


@dataclass(frozen=True, slots=True)
class Deconvolution(_WithKernel):
    """Transposed convolution with padding `same`, which enlarges the image by its stride."""

    name: str
    input_shape: Shape
    filters: int
    kernel: int
    activation: Activation
    stride: int = 2

    @property
    def kind(self) -> str:
        """What a person calls it."""
        size = f"{self.kernel}×{self.kernel}"
        return f"transposed convolution {size} stride {self.stride} {self.activation}"

    @property
    def shape(self) -> Shape:
        """Of the output."""
        rows, columns = (side * self.stride for side in self.input_shape[:2])
        return rows, columns, self.filters

    @property
    def kernel_shape(self) -> Shape:
        """Of the weights without the bias."""
        return (self.kernel, self.kernel, self.filters, self.input_shape[2])

    @property
    def _positions(self) -> int:
        return math.prod(self.input_shape[:2])


@dataclass(frozen=True, slots=True)
class _WithoutParameters:
    """What layers without parameters share."""

    parameters: ClassVar[int] = 0
    multiply_adds: ClassVar[int] = 0


@dataclass(frozen=True, slots=True)
class Pooling(_WithoutParameters):
    """Keeps the maximum of each square; what does not fill a square is cut off."""

    name: str
    input_shape: Shape
    size: int

    @property
    def kind(self) -> str:
        """What a person calls it."""
        return f"max pooling {self.size}×{self.size}"

    @property
    def shape(self) -> Shape:
        """Of the output."""
        rows, columns = (side // self.size for side in self.input_shape[:2])
        return rows, columns, self.input_shape[2]


@dataclass(frozen=True, slots=True)
class Dropout(_WithoutParameters):
    """Drops a share of the values in training and scales the others up.

    Attributes:
        place: number of layers with parameters before it; with the step it decides the mask.
    """

    name: str
    shape: Shape
    rate: float
    place: int

    @property
    def kind(self) -> str:
        """What a person calls it."""
        return f"dropout {self.rate:.3g}"


@dataclass(frozen=True, slots=True)
class Reshape(_WithoutParameters):
    """An image as one row of numbers, or back."""

    name: str
    shape: Shape

    @property
    def kind(self) -> str:
        """What a person calls it."""
        return "flatten" if len(self.shape) == 1 else "reshape"


Weighted = Dense | Convolution | Deconvolution
Layer = Dense | Convolution | Deconvolution | Pooling | Dropout | Reshape
