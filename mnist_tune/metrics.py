"""Metrics: validation accuracy and denoising error, their direction, unit and text."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Direction = Literal["maximize", "minimize"]
IntervalScale = Literal["linear", "log", "logit"]
"""On which spreads are alike and intervals symmetric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A number that trials are judged by.

    Attributes:
        key: a stable name.
        name: what people call it.
        direction: `maximize` or `minimize`.
        column: in the tables, behind `train_`, `val_` or `test_`.
        scale: stored value → shown value.
        unit: of the shown value, such as `%`.
        difference_unit: of a difference of shown values.
        definition: how it is computed, in one sentence without its end.
        interval_scale: on which intervals are symmetric, so that they never hold what cannot be.
    """

    key: str
    name: str
    direction: Direction
    column: str
    scale: float
    unit: str
    difference_unit: str
    definition: str
    interval_scale: IntervalScale

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1: the greatest of sign × value is the best."""
        return 1 if self.direction == "maximize" else -1

    def shown(self, value: float) -> str:
        """A stored value with its unit, such as `98.47 %`."""
        return f"{self.scale * value:.2f} {self.unit}"


ACCURACY = Metric(
    key="accuracy",
    name="accuracy",
    direction="maximize",
    column="accuracy",
    scale=100.0,
    unit="%",
    difference_unit="points",
    definition="share of images that are classified rightly",
    interval_scale="logit",  # 0–1
)

DENOISING_ERROR = Metric(
    key="denoising_error",
    name="denoising error",
    direction="minimize",
    column="loss",
    scale=1000.0,
    unit="mnat",
    difference_unit="mnat",
    definition=(
        "binary cross-entropy between the clean image and the denoised one, above its floor "
        "(the entropy of the grey clean pixels), mean over pixels and images, in thousandths of a "
        "nat per pixel; 0 is a perfect image"
    ),
    interval_scale="log",  # above 0
)

METRICS = MappingProxyType({metric.key: metric for metric in (ACCURACY, DENOISING_ERROR)})
