"""What all figures share: style, colours, and how they become bytes. No window, no global state.

matplotlib is imported when something is drawn: who only asks which figures there are does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#777777"
LIGHT_BLUE = "#9CC4DE"
GREEN, PURPLE, ORANGE, SKY = "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLUMN_INCHES = 3.5
_RESOLUTION = 200  # dots per inch

_STYLE = {
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "svg.fonttype": "path",
    "svg.hashsalt": "mnist_tune",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}

Draw = Callable[[], "Figure"]


def blank(width_inches: float, height_inches: float, *, constrained: bool = True) -> Figure:
    """A figure without a window; constrained, it keeps its parts apart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    layout: Literal["constrained"] | None = "constrained" if constrained else None
    figure = Figure(figsize=(width_inches, height_inches), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def png(draw: Draw, dots_per_inch: int = _RESOLUTION) -> bytes:
    """Draw as PNG: the same numbers give the same bytes."""
    return _saved(draw, "png", {"Software": None}, dots_per_inch)


def svg(draw: Draw) -> bytes:
    """Draw as SVG, text as outlines: the same numbers give the same bytes."""
    return _saved(draw, "svg", {"Date": None, "Creator": None})


def warn(figure: Figure, warning: str) -> None:
    """Write above a figure why it shows no result; nothing where it does."""
    if warning:
        figure.suptitle(warning.upper(), color=VERMILION, fontsize=7, weight="bold")


def _saved(
    draw: Draw, suffix: str, metadata: dict[str, Any], dots_per_inch: int = _RESOLUTION
) -> bytes:
    import matplotlib as mpl
    from matplotlib import style

    with mpl.rc_context(), BytesIO() as file:
        style.use(["default", _STYLE])
        draw().savefig(file, format=suffix, dpi=dots_per_inch, metadata=metadata)
        return file.getvalue()
