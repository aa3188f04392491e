"""Which machine and which data the numbers belong to."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil

from mnist_tune.data.sources import Source
from mnist_tune.trainer.runtime import available_cores
from mnist_tune.workers.specs import visible_gpus

_PACKAGES = ("mnist-tune", "tensorflow", "keras", "numpy", "optuna", "distributed", "click")
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides absolute times.

    Attributes:
        cpu: model.
        cores: that this process may use.
        gpus: that TensorFlow may use.
        memory_gib: installed.
        system: kernel and architecture.
        load: processes that were running, on average over the last minute, before the first
            measurement; anything much above 0 spoils the numbers.
        versions: Python's and the packages'.
    """

    cpu: str
    cores: int
    gpus: int
    memory_gib: float
    system: str
    load: float
    versions: dict[str, str]

    def describe(self) -> str:
        """Two lines for people."""
        packages = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        gpus = f", {self.gpus} GPUs" if self.gpus else ""
        return (
            f"{self.cpu}, {self.cores} cores{gpus}, {self.memory_gib:.0f} GiB, {self.system}, "
            f"load {self.load:.2f} at the start\n{packages}"
        )


def this_machine() -> Machine:
    """Look at this one."""
    return Machine(
        cpu=_cpu_model(),
        cores=available_cores(),
        gpus=len(visible_gpus()),
        memory_gib=round(psutil.virtual_memory().total / _GIB, 1),
        system=platform.platform(),
        load=round(os.getloadavg()[0], 2),
        versions={"python": platform.python_version()}
        | {name: version(name) for name in _PACKAGES},
    )


def data_notes(source: Source) -> list[str]:
    """What must be said about the data: which, and whether it is the small one."""
    if source.full:
        return [source.describe()]
    return [source.describe(), "SMALL DATA: nothing here is comparable with targets for MNIST"]


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()
