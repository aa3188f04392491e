"""A diagram of a network: a box for each layer with its kind, output shape and parameters."""

from __future__ import annotations

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from mnist_tune.layers import Convolution, Deconvolution, Dense, Dropout, Pooling
from mnist_tune.networks import Denoiser, Network
from mnist_tune.reports.figures import BLUE, COLUMN_INCHES, GREEN, GREY, ORANGE, PURPLE, blank

_ROW_INCHES = 0.36
_BOX = 0.74  # share of a row that its box fills
_ROOM = 26  # characters of a kind that fit into a line before the shape
_HEADINGS: tuple[tuple[float, Literal["left", "right"], str], ...] = (
    (0.05, "left", "layer"),
    (0.33, "left", "kind"),
    (0.79, "right", "output"),
    (0.95, "right", "parameters"),
)
_COLOURS: tuple[tuple[type[object] | tuple[type[object], ...], str], ...] = (
    (Dense, BLUE),
    ((Convolution, Deconvolution), GREEN),
    (Pooling, PURPLE),
    (Dropout, ORANGE),
)


def draw_network(network: Network) -> Drawing:
    """Layers from top to bottom, the image first and the sum of parameters last."""
    rows = len(network.layers) + 1
    drawing = blank(COLUMN_INCHES, (rows + 1.2) * _ROW_INCHES)
    drawing.set_layout_engine("none")
    axes = drawing.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(-rows - 0.3, 0.9)
    for place, align, heading in _HEADINGS:
        axes.text(place, 0.62, heading, ha=align, va="center", fontsize=5.5, color=GREY)
    _draw_box(axes, 0, "image", "pixels 0–1", "28×28", 0, GREY)
    for row, layer in enumerate(network.layers, start=1):
        _draw_arrow(axes, row)
        shape = "×".join(map(str, layer.shape))
        colour = next((colour for kind, colour in _COLOURS if isinstance(layer, kind)), GREY)
        _draw_box(axes, row, layer.name, layer.kind, shape, layer.parameters, colour)
    what = "the clean image" if isinstance(network, Denoiser) else "10 probabilities"
    total = f"{what}; {network.parameters:,} parameters, {network.multiply_adds:,} multiply-adds"
    axes.text(0.5, -rows + 0.1, total, ha="center", va="center", fontsize=6.5)
    return drawing


def _draw_box(
    axes: Axes, row: int, name: str, kind: str, shape: str, parameters: int, colour: str
) -> None:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    box = FancyBboxPatch(
        (0.03, -row - _BOX / 2),
        0.94,
        _BOX,
        boxstyle="round,pad=0,rounding_size=0.02",
        mutation_aspect=6,
        linewidth=0.7,
        edgecolor=colour,
        facecolor=(red, green, blue, 0.10),
    )
    axes.add_patch(box)
    axes.text(0.05, -row, name.replace("_", " "), va="center", fontsize=6)
    axes.text(0.33, -row, _wrapped(kind), va="center", fontsize=6, color="#333333", linespacing=1.1)
    axes.text(0.79, -row, shape, va="center", ha="right", fontsize=6)
    counted = f"{parameters:,}" if parameters else ""
    axes.text(0.95, -row, counted, va="center", ha="right", fontsize=6, weight="bold")


def _wrapped(kind: str) -> str:
    """In two lines of about the same length where one would run into the shape."""
    if len(kind) <= _ROOM:
        return kind
    breaks = [place for place, character in enumerate(kind) if character == " "]
    middle = min(breaks, key=lambda place: abs(2 * place - len(kind)))
    return f"{kind[:middle]}\n{kind[middle + 1 :]}"


def _draw_arrow(axes: Axes, row: int) -> None:
    start, end = (0.5, -row + 1 - _BOX / 2), (0.5, -row + _BOX / 2)
    arrow = FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=4, shrinkA=0, shrinkB=0)
    arrow.set(linewidth=0.6, color=GREY)
    axes.add_patch(arrow)
