"""Noise levels as people type them: how many, or which."""

from __future__ import annotations

from mnist_tune.errors import DefinitionError

MOST = 101
_HELP = "give how many (2 to 101, such as 11) or which, such as 0,0.1,0.4"


def parse_levels(text: str) -> tuple[float, ...]:
    """Read `11` as so many levels evenly from 0 to 1, and `0,0.1,0.4` as those.

    A single level is written with its point: 0.4.

    Returns:
        Levels from 0 to 1, ascending, each once.

    Raises:
        DefinitionError: it is neither, or a level is outside 0–1.
    """
    if text.strip().lstrip("+-").isdigit():
        return _evenly(int(text), text)
    try:
        levels = sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise DefinitionError(f"--levels {text!r}: not numbers; {_HELP}") from None
    outside = [level for level in levels if not 0 <= level <= 1]
    if outside:
        raise DefinitionError(f"--levels {text}: {outside[0]:g} is outside 0–1; {_HELP}")
    if len(levels) > MOST:
        raise DefinitionError(f"--levels: {len(levels)} levels are too many; {_HELP}")
    return tuple(level + 0.0 for level in levels)  # -0.0 is 0


def _evenly(count: int, text: str) -> tuple[float, ...]:
    if not 2 <= count <= MOST:
        raise DefinitionError(f"--levels {text}: not a number of levels; {_HELP}")
    # Rounded so that a third of ten is 0.3, in tables and in file names alike.
    return tuple(round(i / (count - 1), 6) for i in range(count))
