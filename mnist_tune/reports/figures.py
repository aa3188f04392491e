"""Figures: their type, their style, and how they become bytes. No window, no global state.

matplotlib is imported when something is drawn: who only asks which figures there are does not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Any

from mnist_tune.metrics import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#777777"
LIGHT_BLUE = "#9CC4DE"
GREEN, PURPLE, ORANGE, SKY = "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLUMN_INCHES = 3.5
PAGE_INCHES = 7.0
WARNING_INCHES = 0.18  # above what is laid out by hand
_DOTS_PER_INCH = 200

_STYLE = {
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
    "svg.fonttype": "path",
    "svg.hashsalt": "mnist_tune",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}
_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

FigureContent = tuple[str, "Callable[[], Drawing] | bytes"]
"""A caption of one to three sentences, and what draws the figure, or its PNG."""


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure that is read and drawn when somebody asks for it; the same numbers give the same bytes.

    Attributes:
        name: of its files, without suffix.
        read: what it shows; None where that is not at hand.
        warning: why it shows no result, for its caption and above it; empty where it shows one.
        confirmed: whether it is about the confirmed configuration alone.
    """

    name: str
    read: Callable[[], FigureContent | None]
    warning: str = ""
    confirmed: bool = False
    _drawn: dict[tuple[str, int], bytes] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def _content(self) -> FigureContent | None:
        return self.read()

    @property
    def at_hand(self) -> bool:
        """Whether what it shows can be read."""
        return self._content is not None

    @property
    def caption(self) -> str:
        """What it shows, in words, after its warning."""
        text = self._content[0] if self._content else ""
        warning = self.warning
        return f"{warning[0].upper()}{warning[1:]}. {text}" if warning else text

    def png(self, dots_per_inch: int = _DOTS_PER_INCH) -> bytes:
        """Draw as PNG."""
        return self._bytes("png", dots_per_inch)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of its files: pixels, and two kinds of vectors."""
        for suffix in _METADATA:
            yield f"{self.name}.{suffix}", self._bytes(suffix, _DOTS_PER_INCH)

    def _bytes(self, suffix: str, dots_per_inch: int) -> bytes:
        assert self._content is not None
        if isinstance(self._content[1], bytes):
            return self._content[1]
        key = (suffix, dots_per_inch)
        if key not in self._drawn:
            with self.drawing() as drawing, BytesIO() as file:
                drawing.savefig(file, format=suffix, dpi=dots_per_inch, metadata=_METADATA[suffix])
                self._drawn[key] = file.getvalue()
        return self._drawn[key]

    @contextmanager
    def drawing(self) -> Iterator[Drawing]:
        """What is drawn now, with the warning above it, while our style is in force."""
        import matplotlib as mpl
        from matplotlib import style

        assert self._content is not None
        draw = self._content[1]
        assert not isinstance(draw, bytes)
        with mpl.rc_context():
            style.use(["default", _STYLE])
            drawing = draw()
            _warn(drawing, self.warning)
            yield drawing


def figure_of(
    name: str,
    caption: str,
    size: tuple[float, float],
    warning: str,
    fill: Callable[[Drawing], None],
) -> Figure:
    """A figure whose numbers are known already.

    Args:
        name: of its files.
        caption: one or two sentences.
        size: width and height in inches.
        warning: as of the figure.
        fill: draws into a blank drawing of that size.
    """

    def draw() -> Drawing:
        drawing = blank(*size)
        fill(drawing)
        return drawing

    return Figure(name, lambda: (caption, draw), warning)


def stored_figure(name: str, caption: str, png: bytes) -> Figure:
    """A figure that was drawn before, as PNG alone."""
    return Figure(name, lambda: (caption, png))


def blank(width_inches: float, height_inches: float) -> Drawing:
    """A drawing without a window, whose layout keeps its parts apart."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasAgg(drawing)
    return drawing


def legend_below(
    drawing: Drawing, labelled: Axes | Mapping[str, Any], columns: int, **spacing: float
) -> None:
    """One legend below all axes, of label → handle, or of what is labelled in one of the axes."""
    if isinstance(labelled, Mapping):
        handles, labels = list(labelled.values()), list(labelled)
    else:
        handles, labels = labelled.get_legend_handles_labels()
    look: dict[str, Any] = {"ncols": columns, "frameon": False, "fontsize": 6, **spacing}
    drawing.legend(handles, labels, loc="outside lower center", **look)


def metric_title(metric: Metric, images: str = "") -> str:
    """Of an axis, such as `Validation accuracy (%)`."""
    name = f"{images} {metric.name}".strip()
    return f"{name[0].upper()}{name[1:]} ({metric.unit})"


def _warn(drawing: Drawing, warning: str) -> None:
    """Write above a figure why it shows no result; nothing where it does."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not warning:
        return
    title = drawing.suptitle(warning.upper(), color=VERMILION, fontsize=7, weight="bold")
    # A layout engine makes room; what was laid out by hand has left some at the very top.
    if not isinstance(drawing.get_layout_engine(), ConstrainedLayoutEngine):
        title.set(y=1 - 0.03 / drawing.get_figheight(), verticalalignment="top")
