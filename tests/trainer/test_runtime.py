"""TensorFlow is set up once and says what it will use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mnist_tune.trainer.runtime import Device, available_cores, device

LATE = """
from mnist_tune.trainer.runtime import available_cores, device, tensorflow

tensorflow().zeros(1)  # as a notebook does that has used TensorFlow before
assert device().threads == available_cores()
for number in range(9):  # programs of as many networks, of which it would warn
    tensorflow().function(lambda: number)()
"""


def test_the_first_call_decides(cpu: Device) -> None:
    assert device() is cpu


def test_tensorflow_that_was_used_before_keeps_its_threads() -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    finished = subprocess.run(
        [sys.executable, "-c", LATE], capture_output=True, text=True, env=environment, check=False
    )
    assert (finished.stderr, finished.returncode) == ("", 0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux pins processes")
def test_only_cores_that_this_process_may_use_count() -> None:
    code = "import os; from mnist_tune.trainer.runtime import available_cores; "
    code += "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); print(available_cores())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert int(printed) == 1
    assert available_cores() == len(os.sched_getaffinity(0))
