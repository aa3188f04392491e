"""Which worker processes there are on a machine, and what each of them trains on.

A pure function of what was asked for and what was found, so that it can be told, stored and tested
without any GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from mnist_tune.errors import DefinitionError
from mnist_tune.workers.machine import Machine

MOST_WORKERS = 1_024
THREADS_VARIABLE = "MNIST_TUNE_THREADS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What people ask for.

    Attributes:
        workers: processes; None decides by the machine.
        gpus: `auto` takes all that are visible, `none` no one, else their names with commas.
        workers_per_gpu: processes that share a GPU.
    """

    workers: int | None = None
    gpus: str = "auto"
    workers_per_gpu: int = 1


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What one worker process trains on.

    Attributes:
        threads: CPU threads of one operation.
        gpu: name of its GPU; None trains on the CPU.
        hides_gpus: whether GPUs must be kept from TensorFlow.
    """

    threads: int
    gpu: str | None = None
    hides_gpus: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """Variables that its process must have before TensorFlow is imported."""
        visible = self.gpu if self.gpu is not None else "-1" if self.hides_gpus else None
        devices = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        return {THREADS_VARIABLE: str(self.threads), **devices}


def plan(wish: Wish, machine: Machine, runs: int | None = None) -> tuple[WorkerSpec, ...]:
    """Decide how many workers there are and what each trains on.

    On CPUs one thread per worker and as many workers as cores is fastest; a GPU is fed by one
    worker, unless the wish says otherwise.

    Args:
        wish: what was asked for.
        machine: what was found.
        runs: how many runs (trial × seed) there are at most at one time; None is any number.

    Raises:
        DefinitionError: the wish is not a usable one here.
    """
    if wish.workers is not None and not 1 <= wish.workers <= MOST_WORKERS:
        raise DefinitionError(f"--workers {wish.workers}: give a number from 1 to {MOST_WORKERS:,}")
    if wish.workers_per_gpu < 1:
        raise DefinitionError(f"--workers-per-gpu {wish.workers_per_gpu}: give 1 or more")
    gpus = _chosen(wish.gpus, machine.gpus)
    most = MOST_WORKERS if runs is None else runs
    if not gpus:
        if wish.workers_per_gpu > 1:
            raise DefinitionError(
                f"--workers-per-gpu {wish.workers_per_gpu}: no GPU is used; leave it out, or see what "
                "`mnist-tune doctor` finds"
            )
        count = wish.workers or max(1, min(machine.cores, most))
        seat = WorkerSpec(max(1, machine.cores // count), hides_gpus=wish.gpus == "none")
        return (seat,) * count
    seats = gpus * wish.workers_per_gpu
    if wish.workers is not None and wish.workers > len(seats):
        raise DefinitionError(
            f"--workers {wish.workers}: {len(gpus)} GPU{'s' if len(gpus) > 1 else ''} with "
            f"{wish.workers_per_gpu} worker{'s' if wish.workers_per_gpu > 1 else ''} each make "
            f"{len(seats)}; give a larger --workers-per-gpu, or --gpus none"
        )
    count = wish.workers or max(1, min(len(seats), most))
    threads = max(1, machine.cores // count)
    return tuple(WorkerSpec(threads, gpu) for gpu in seats[:count])


def told(seats: tuple[WorkerSpec, ...]) -> str:
    """Say in a few words which workers there are."""
    count, threads = len(seats), seats[0].threads
    each = f"with {threads} CPU thread{'s' if threads > 1 else ''} each"
    workers = f"{count} worker{'s' if count > 1 else ''}"
    gpus = [seat.gpu for seat in seats if seat.gpu is not None]
    return f"{workers} {each}" + (f", on GPU {', '.join(gpus)}" if gpus else "")


def _chosen(wish: str, visible: tuple[str, ...]) -> tuple[str, ...]:
    if wish == "auto":
        return visible
    if wish == "none":
        return ()
    names = tuple(name.strip() for name in wish.split(","))
    unknown = [name for name in names if name not in visible]
    if unknown or len(set(names)) < len(names):
        there = f"GPU {', '.join(visible)}" if visible else "no GPU"
        raise DefinitionError(
            f"--gpus {wish}: there is {there} here; give auto, none, or different ones of these with commas"
        )
    return names
