"""Which pieces of tasks of this worker process should end at their next epoch.

The coordinator calls `end` in the worker's event loop while a task trains in its thread.
"""

from __future__ import annotations

_ending: set[str] = set()


async def end(names: list[str]) -> None:
    """Ask pieces to save and end after the epoch under way; names not running here are ignored.

    A coroutine, since Dask sends nothing else without waiting for its result.
    """
    _ending.update(names)


def should_end(name: str) -> bool:
    """Whether a piece has been asked to end."""
    return name in _ending


def forget(name: str) -> None:
    """Drop a piece that has ended."""
    _ending.discard(name)
