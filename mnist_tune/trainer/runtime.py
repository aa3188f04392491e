"""Imports TensorFlow once, without its log messages, and finds the device."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from mnist_tune.networks import Network
from mnist_tune.recipes import Recipe, compiled_on_cpus


@dataclass(frozen=True, slots=True)
class Device:
    """Where training happens.

    Attributes:
        name: what people call it: `CPU` or the GPU's name.
        placement: TensorFlow's name, such as `/CPU:0`.
        threads: CPU threads of one operation.
        shares_programs: whether runs in lock-step share one call of the program. A GPU is filled by
            that. On a CPU they take turns within each epoch: weights stay in its cache (500-300
            gains a tenth), one compilation serves any number of seeds, and a run's bits cannot
            depend on its company.
    """

    name: str
    placement: str
    threads: int
    shares_programs: bool = False

    def compiles(self, network: Network, recipe: Recipe) -> bool:
        """Whether XLA makes this training faster here."""
        return self.placement.startswith("/GPU") or compiled_on_cpus(network, recipe)


@cache
def tensorflow() -> Any:  # TensorFlow ships no types
    """Import TensorFlow and let it look for devices, without the lines that C++ prints then."""
    with _native_stderr_kept_back():
        found = import_tensorflow()
        found.config.list_physical_devices()  # looks for CUDA, and says so
    return found


def import_tensorflow() -> Any:
    """Import TensorFlow without Keras, which only some processes need and which takes as long.

    TensorFlow imports Keras by itself, and works without it. Keras can be imported
    afterwards.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    blocked = "keras" not in sys.modules
    with _native_stderr_kept_back():
        if blocked:
            sys.modules["keras"] = None  # type: ignore[assignment]
        try:
            import tensorflow
        finally:
            if blocked:
                del sys.modules["keras"]
    tensorflow.get_logger().setLevel("ERROR")  # it warns where many networks are compiled, as here
    return tensorflow


def device() -> Device:
    """Set up the first GPU that TensorFlow sees, else the CPU; the first call decides.

    One CPU thread computes an operation, since TensorFlow and XLA round differently with each number
    of threads. A process that has used TensorFlow before keeps its threads.
    """
    if not _devices:
        _devices.append(_set_up())
    return _devices[0]


_devices: list[Device] = []  # the one of this process, once it is set up


def _set_up() -> Device:
    tf = tensorflow()
    gpus = tf.config.list_physical_devices("GPU")
    with contextlib.suppress(RuntimeError):  # TensorFlow has been used: its settings stay
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    threads = tf.config.threading.get_intra_op_parallelism_threads() or available_cores()
    if not gpus:
        return Device("CPU", "/CPU:0", threads)
    details = tf.config.experimental.get_device_details(gpus[0])
    # Which of several, where that was chosen before TensorFlow came in.
    number = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0]
    name = f"GPU {number} {details.get('device_name', '')}".replace("  ", " ").strip()
    return Device(name, "/GPU:0", threads, shares_programs=True)


def available_cores() -> int:
    """Cores that this process may run on, which a container or `taskset` can limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def per_run(numbers: Any, values: Any) -> Any:
    """Numbers `[S]`, one for each run, so that they broadcast over what the runs have in `values`.

    Args:
        numbers: float32 `[S]`, or a scalar that all runs share.
        values: `[S, …]`.
    """
    return tensorflow().reshape(numbers, (-1, *[1] * (len(values.shape) - 1)))


@contextlib.contextmanager
def _native_stderr_kept_back() -> Iterator[None]:
    """Send file descriptor 2 to a temporary file; print that file if the body raises.

    What C++ prints at every start says nothing to people.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(saved, kept.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
