"""Starts the fork server: a process that imports TensorFlow once and forks worker processes.

A worker that is forked computes at once and shares the memory of what was imported; one that is
spawned imports TensorFlow by itself, which takes seconds. Python's own fork server is used, which
Dask's nannies ask for workers (`distributed.worker.multiprocessing-method`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from multiprocessing import forkserver, resource_tracker

# On macOS a process that has used system libraries must not fork.
METHOD = "forkserver" if sys.platform == "linux" else "spawn"

# Of worker processes, before they start; values that the user has set stay.
ENVIRONMENT: Mapping[str, str] = {
    # glibc keeps freed buffers. Dask lets it return each one to the system, so that every matrix
    # product faults its result in again: 10 to 33 % of the training time of dense networks.
    "MALLOC_TRIM_THRESHOLD_": str(16 * 2**30),  # bytes
    "MALLOC_MMAP_THRESHOLD_": str(2**30),  # bytes
    # Lines of Dask's own are nothing that people could act on.
    "DASK_LOGGING__DISTRIBUTED": "critical",
}


def start(*modules: str) -> None:
    """Start the fork server, unless it runs; it ends with this process, however that ends.

    It is worth calling long before there is a worker to start, since it returns at once.

    Args:
        modules: to import there besides what all workers need.
    """
    with signals_kept_from_children():
        if METHOD == "forkserver":
            forkserver.set_forkserver_preload(["mnist_tune.workers.preload", *modules])
            # A library with threads of its own would make a fork unsafe.
            with _environment({**ENVIRONMENT, **os.environ, "OPENBLAS_NUM_THREADS": "1"}):
                forkserver.ensure_running()


@contextlib.contextmanager
def signals_kept_from_children() -> Iterator[None]:
    """Block Ctrl-C in the threads and processes started meanwhile, which inherit the mask.

    A terminal sends Ctrl-C to every process in the foreground. The coordinator alone answers it;
    a worker must live to the end of its epoch and save.
    """
    # Started first, since starting it unblocks these signals in the thread that does so.
    with _no_stderr():
        resource_tracker.ensure_running()
    blocked = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Start processes meanwhile that can print nothing.

    Python's resource tracker outlives a coordinator that is killed, and tells the user's prompt of
    semaphores that were left, which it removes.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nothing)
