"""Imports what every worker process needs; only the fork server imports this module.

It looks for no device: each worker sees the GPU that its own CUDA_VISIBLE_DEVICES names.
"""

from __future__ import annotations

import ctypes
import gc
import signal
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # of prctl(2)


def _on_death_of_coordinator(number: int) -> None:
    """Have the kernel send this process a signal when the coordinator ends; 0 sends none.

    A server that has imported everything sees the end by itself; this is for an end meanwhile.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def _import_all() -> None:
    import distributed.nanny
    import distributed.worker  # noqa: F401

    import mnist_tune.workers.worker  # noqa: F401
    from mnist_tune.trainer.runtime import import_tensorflow

    import_tensorflow()


_on_death_of_coordinator(signal.SIGKILL)
_import_all()
gc.freeze()  # a collection in a worker would copy the pages that it shares
# A fork copies the calling thread alone: locks that others hold would stay locked for ever.
_threads = len(list(Path("/proc/self/task").iterdir()))
assert _threads == 1, f"the fork server has {_threads} threads"
_on_death_of_coordinator(0)
