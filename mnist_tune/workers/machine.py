"""What a machine offers to train on, found without importing TensorFlow."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from mnist_tune.trainer.runtime import available_cores


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found.

    Attributes:
        cores: that this process may run on.
        gpus: names of NVIDIA GPUs as CUDA_VISIBLE_DEVICES takes them, such as `0`.
    """

    cores: int
    gpus: tuple[str, ...] = ()


def this_machine() -> Machine:
    """Look at this machine."""
    return Machine(available_cores(), visible_gpus())


def visible_gpus() -> tuple[str, ...]:
    """Names of the GPUs that a process started here would find."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",")]
        return tuple(name for name in names if name not in ("", "-1"))
    command = shutil.which("nvidia-smi")
    if command is None:
        return ()
    listing = subprocess.run(
        [command, "--list-gpus"], capture_output=True, text=True, timeout=20, check=False
    )
    count = sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
    return tuple(map(str, range(count)))
