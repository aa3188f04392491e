"""The checks of `mnist-tune doctor`: Python, packages, data, device, storage."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mnist_tune.data import sources
from mnist_tune.errors import InputError
from mnist_tune.storage.health import blame, faults
from mnist_tune.storage.location import Location
from mnist_tune.storage.overview import studies_overview

_PACKAGES = (
    "optuna",
    "optuna-dashboard",
    "tensorflow",
    "keras",
    "distributed",
    "pandas",
    "sqlalchemy",
    "mlxtend",
)
_LEAST_FREE_BYTES = 500 * 2**20  # a study of 30 trials with its checkpoints stays far below
_DEVICE_SECONDS = 120
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}  # as Linux names them: x86, then ARM
_FLAGS = {"flags", "Features"}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the examination.

    Attributes:
        name: what was looked at.
        ok: whether it can be used.
        found: what was found, in a few words.
        to_do: what to do about a problem, or a hint; may be empty.
    """

    name: str
    ok: bool
    found: str
    to_do: str = ""


def examine(location: Location, folder: Path | None) -> tuple[Check, ...]:
    """Look at everything; a failing check does not keep the others from being made."""
    return (
        _python(),
        _packages(),
        _guarded("data", lambda: _data(folder)),
        _device(),
        _guarded("workers", _workers),
        _guarded("storage", lambda: _unless_damaged(location, _storage)),
        _guarded("integrity", lambda: _integrity(location)),
        _disk(location),
        _guarded("lease", lambda: _unless_damaged(location, _lease)),
    )


def computes_bfloat16(description: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether the processor has instructions for bfloat16; without them it is slower than float32.

    Args:
        description: of the processor, as Linux writes it.

    Returns:
        None where the system does not say, as on macOS.
    """
    try:
        lines = description.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, values = line.partition(":")
        if name.strip() in _FLAGS:
            return not _BFLOAT16.isdisjoint(values.split())
    return None


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    ok = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Check("python", ok, found, "" if ok else "use Python 3.11, 3.12 or 3.13")


def _packages() -> Check:
    found, missing = [], []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    return Check(
        "packages",
        not missing,
        ", ".join(found),
        f"pip install {' '.join(missing)}" if missing else "",
    )


def _data(folder: Path | None) -> Check:
    source = sources.load_dataset(folder).source
    return Check("data", True, source.describe(), source.warning or "")


def _device() -> Check:
    """Ask a process of its own, as a worker would be, so that TensorFlow is not loaded here."""
    code = "from mnist_tune.trainer.runtime import device; print(f'{device().name}, 1 CPU thread in each worker')"
    try:
        asked = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=_DEVICE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Check(
            "device",
            False,
            f"TensorFlow did not start in {_DEVICE_SECONDS} s",
            "close other programs and try again",
        )
    if asked.returncode:
        last = (asked.stderr.strip().splitlines() or ["no message"])[-1]
        return Check("device", False, last, "reinstall tensorflow")
    hint = (
        ""
        if "GPU" in asked.stdout or not shutil.which("nvidia-smi")
        else "for the GPU: pip install 'mnist-tune[gpu]'"
    )
    found = asked.stdout.strip().splitlines()[-1]
    if found.startswith("CPU") and computes_bfloat16() is False:
        found += "; --precision bfloat16 would be slow"
    return Check("device", True, found, hint)


def _workers() -> Check:
    """What `run` would start for a study of many runs."""
    from mnist_tune.workers.specs import WorkerOptions, describe_workers, this_machine, worker_specs

    return Check("workers", True, describe_workers(worker_specs(WorkerOptions(), this_machine())))


def _storage(location: Location) -> Check:
    count = len(studies_overview(location))
    studies = f"{count} stud{'y' if count == 1 else 'ies'}" if count else "nothing stored yet"
    folder = next(
        (f for f in (location.folder, *location.folder.parents) if f.exists()), location.folder
    )
    if not os.access(folder, os.W_OK):
        return Check(
            "storage", False, f"{folder} is not writable", "give a writable place by --storage"
        )
    return Check("storage", True, f"{location}: {studies}")


def _integrity(location: Location) -> Check:
    found = faults(location)
    what = "; ".join(fault.what for fault in found)
    to_do = "; ".join(dict.fromkeys(fault.to_do for fault in found))
    return Check("integrity", not found, what or "nothing is damaged or left over", to_do)


def _disk(location: Location) -> Check:
    folder = next(f for f in (location.folder, *location.folder.parents) if f.exists())
    free = shutil.disk_usage(folder).free
    ok = free >= _LEAST_FREE_BYTES
    return Check(
        "disk",
        ok,
        f"{free / 2**30:.1f} GiB free",
        "" if ok else "make room, or give another --storage",
    )


def _lease(location: Location) -> Check:
    held = [f"{o.name}: {o.holder}" for o in studies_overview(location) if o.holder is not None]
    return Check("lease", True, "; ".join(held) or "no study is running", "")


def _unless_damaged(location: Location, look: Callable[[Location], Check]) -> Check:
    try:
        return look(location)
    except InputError:
        raise
    except Exception as error:
        blame(error, location)
        raise


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except InputError as error:
        found, _, to_do = str(error).rpartition(": ")
        return Check(name, False, found or str(error), to_do if found else "")
