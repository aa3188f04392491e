"""What the storage has to say to people while all goes well: a line each, said once a process.

They go to the logger `mnist_tune.storage`, so that a program chooses where they are shown; the
command line prints them to stderr. Standard library only.
"""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("mnist_tune.storage")

_said: set[str] = set()


def notice(line: str) -> None:
    """Say a line, unless it was said before."""
    if line not in _said:
        _said.add(line)
        LOGGER.warning("%s", line)
