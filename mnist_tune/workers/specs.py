"""Workers that were asked for, what this machine offers, and what each worker process gets.

Nothing here needs a GPU or TensorFlow.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from mnist_tune.errors import DefinitionError
from mnist_tune.trainer.runtime import available_cores
from mnist_tune.workers.addresses import Address

MOST_WORKERS = 1_024


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores that this process may run on, and names of GPUs as CUDA_VISIBLE_DEVICES takes them."""

    cores: int
    gpus: tuple[str, ...] = ()


def this_machine() -> Machine:
    """Look at this machine, without importing TensorFlow."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """What was asked for; changes no result of a plan.

    Attributes:
        workers: processes on this machine; None decides by the machine.
        gpus: `auto` takes all that are visible, `none` no one, else their names with commas.
        workers_per_gpu: processes that share a GPU.
        listen: where workers of other machines join; None lets nobody join.
        cluster: scheduler of an existing Dask cluster that is to be used instead.
        priority: against other studies on the same cluster; higher ones come first.

    Raises:
        DefinitionError: some of it excludes the rest.
    """

    workers: int | None = None
    gpus: str = "auto"
    workers_per_gpu: int = 1
    listen: Address | None = None
    cluster: Address | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        """Refuse what excludes each other."""
        if self.cluster is None:
            return
        if self.listen is not None:
            raise DefinitionError("--listen and --cluster exclude each other: leave one out")
        if self.about_this_machine:
            raise DefinitionError(
                "--workers, --gpus and --workers-per-gpu are about this machine: give them to "
                "`mnist-tune worker`, or leave --cluster out"
            )

    @property
    def about_this_machine(self) -> bool:
        """Whether workers of this machine were asked for."""
        return (self.workers, self.gpus, self.workers_per_gpu) != (None, "auto", 1)


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What one worker process trains on.

    Attributes:
        gpu: name of its GPU; None trains on the CPU.
        hides_gpus: whether GPUs must be kept from TensorFlow.
    """

    gpu: str | None = None
    hides_gpus: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """Variables that its process must have before TensorFlow is imported."""
        visible = self.gpu if self.gpu is not None else "-1" if self.hides_gpus else None
        return {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}


def worker_specs(
    options: WorkerOptions, machine: Machine, tasks: int | None = None
) -> tuple[WorkerSpec, ...]:
    """Decide how many workers there are on a machine and what each trains on.

    On CPUs one thread per worker and as many workers as cores is fastest; a GPU is fed by one
    worker, unless the options say otherwise.

    Args:
        options: what was asked for.
        machine: where.
        tasks: how many there are at most at one time; None is any number.

    Raises:
        DefinitionError: the options are not usable here.
    """
    wanted, per_gpu = options.workers, options.workers_per_gpu
    if wanted is not None and not 1 <= wanted <= MOST_WORKERS:
        raise DefinitionError(f"--workers {wanted}: give a number from 1 to {MOST_WORKERS:,}")
    if per_gpu < 1:
        raise DefinitionError(f"--workers-per-gpu {per_gpu}: give 1 or more")
    gpus = _chosen(options.gpus, machine.gpus)
    if not gpus and per_gpu > 1:
        raise DefinitionError(
            f"--workers-per-gpu {per_gpu}: no GPU is used; leave it out, or see what "
            "`mnist-tune doctor` finds"
        )
    places = gpus * per_gpu
    if gpus and wanted is not None and wanted > len(places):
        raise DefinitionError(
            f"--workers {wanted}: {_counted(len(gpus), 'GPU')} with {_counted(per_gpu, 'worker')} "
            f"each make {len(places)}; give a larger --workers-per-gpu, or --gpus none"
        )
    most = MOST_WORKERS if tasks is None else tasks
    count = wanted or max(1, min(len(places) if gpus else machine.cores, most))
    if gpus:
        return tuple(WorkerSpec(gpu) for gpu in places[:count])
    return (WorkerSpec(hides_gpus=options.gpus == "none"),) * count


def describe_workers(specs: Sequence[WorkerSpec]) -> str:
    """Say in a few words which workers there are."""
    workers = f"{_counted(len(specs), 'worker')} with 1 CPU thread each"
    gpus = [spec.gpu for spec in specs if spec.gpu is not None]
    return workers + (f", on GPU {', '.join(gpus)}" if gpus else "")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _chosen(names: str, visible: tuple[str, ...]) -> tuple[str, ...]:
    """The GPUs of --gpus."""
    if names == "auto":
        return visible
    if names == "none":
        return ()
    chosen = tuple(name.strip() for name in names.split(","))
    unknown = [name for name in chosen if name not in visible]
    if unknown or len(set(chosen)) < len(chosen):
        there = f"GPU {', '.join(visible)}" if visible else "no GPU"
        raise DefinitionError(
            f"--gpus {names}: there is {there} here; give auto, none, or different ones of these with commas"
        )
    return chosen
