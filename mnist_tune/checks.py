"""Checks of integers, numbers, choices and texts that a study file or the command line gives.

Each raises DefinitionError in one line: whose field it is, the value, and what to give instead.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Any, TypeGuard, get_args

from mnist_tune.errors import DefinitionError


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` up to, not including, `high`."""

    low: float
    high: float = math.inf
    includes_low: bool = True

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.includes_low else value > self.low
        return above and value < self.high

    def __str__(self) -> str:
        lower = f"at least {self.low:g}" if self.includes_low else f"above {self.low:g}"
        return lower if self.high == math.inf else f"{lower} and below {self.high:g}"


POSITIVE = Range(0, includes_low=False)
NOT_NEGATIVE = Range(0)
SHARE = Range(0, 1)
MOST_NAME_BYTES = 200  # of a study's name; files are named after it


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_integer(value: object, low: float = -math.inf, high: float = math.inf) -> TypeGuard[int]:
    """Whether a value is an integer from low to high, both included; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def check_integers(owner: object, **highest: int) -> None:
    """Raise unless these attributes are integers from 1 to the given ones."""
    for name, high in highest.items():
        if not is_integer(getattr(owner, name), 1, high):
            raise refused(owner, name, f"give an integer from 1 to {high:,}")


def check_numbers(owner: object, **ranges: Range) -> None:
    """Raise unless these attributes are numbers in the given ranges."""
    for name, known in ranges.items():
        value = getattr(owner, name)
        if not (is_number(value) and value in known):
            raise refused(owner, name, f"give a number {known}")


def check_choices(owner: object, **literals: Any) -> None:
    """Raise unless these attributes are among the values of the given `Literal` types."""
    for name, literal in literals.items():
        if getattr(owner, name) not in get_args(literal):
            raise refused(owner, name, f"give one of {', '.join(get_args(literal))}")


def check_type(owner: object, name: str, kind: Any, wanted: str) -> None:
    """Raise unless an attribute is of a type; `wanted` says what to give."""
    if not isinstance(getattr(owner, name), kind):
        raise refused(owner, name, f"give {wanted}")


def check_study_name(name: str, advice: str) -> None:
    """Raise unless a study can have this name: commands, files and links are made of it."""
    if not name.strip():
        reason = "is empty"
    elif name.startswith("-"):
        reason = "would be taken for an option"
    elif not name.isprintable():
        reason = "cannot be typed"
    elif "/" in name or "\\" in name or name in (".", ".."):
        reason = "cannot be the name of a file"
    elif len(name.encode()) > MOST_NAME_BYTES:
        reason = f"is longer than {MOST_NAME_BYTES} letters"
    else:
        return
    raise DefinitionError(f"the name {shown(name)} of a study {reason}: {advice}")


def refused(owner: object, name: str, advice: str) -> DefinitionError:
    """The error about an attribute's value."""
    return DefinitionError(f"{type(owner).__name__} {name}={shown(getattr(owner, name))}: {advice}")


def shown(value: object, width: int = 200) -> str:
    """A value in one line that is not too long for a message."""
    return textwrap.shorten(repr(value), width, placeholder="…")
