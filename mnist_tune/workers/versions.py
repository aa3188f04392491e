"""Packages that must agree between a coordinator and its workers: results depend on them.

Standard library only, since it is asked for in every worker.
"""

from __future__ import annotations

import platform
import socket
from collections.abc import Mapping
from importlib.metadata import version

_PACKAGES = ("mnist-tune", "tensorflow", "keras", "numpy", "distributed")


def versions_here() -> dict[str, str]:
    """Host and versions of this process."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {
        "host": socket.gethostname(),
        "python": python,
        **{package: version(package) for package in _PACKAGES},
    }


def difference(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str | None:
    """Say how a worker differs from its coordinator; None if it does not.

    Args:
        theirs: of the worker.
        ours: of the coordinator.
    """
    differing = [
        f"{name} {theirs.get(name, 'none')} instead of {ours[name]}"
        for name in ours
        if name != "host" and theirs.get(name) != ours[name]
    ]
    if not differing:
        return None
    return (
        f"the worker on {theirs.get('host', 'another machine')} has {', '.join(differing)}: install the same "
        "versions there (`pip install -r requirements.lock`), since results depend on them"
    )
