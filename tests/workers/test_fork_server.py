"""The fork server: what it has imported, what it must not have done, and when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mnist_tune.workers import fork_server

pytestmark = pytest.mark.skipif(
    fork_server.METHOD != "forkserver", reason="workers are spawned on this system"
)

# Starts the server, forks a process from it, and has that one say what it finds.
CODE = """
import multiprocessing, os, sys
from mnist_tune.workers import fork_server

def look():
    server = os.getppid()
    print("threads", len(os.listdir(f"/proc/{server}/task")))
    print("tensorflow", "tensorflow" in sys.modules)
    print("keras", any(name.partition(".")[0] == "keras" for name in sys.modules))
    print("maps", any("libcuda" in line for line in open(f"/proc/{server}/maps")))
    for name in ("OPENBLAS_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):
        print(name, os.environ.get(name))
    from mnist_tune.trainer.runtime import tensorflow
    tf = tensorflow()
    from tensorflow.python.eager import context
    print("computes", float(tf.reduce_sum(tf.ones((3, 3)))))
    import keras
    print("keras after", keras.layers.Dense(2)(tf.ones((1, 2))).shape == (1, 2))

if __name__ == "__main__":
    fork_server.start()
    before = dict(os.environ)
    process = multiprocessing.get_context("forkserver").Process(target=look)
    process.start()
    process.join()
    print("environment", dict(os.environ) == before and "OPENBLAS_NUM_THREADS" not in before)
    print("here", "tensorflow" in sys.modules)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a forked process, its server and the process that started both have said."""
    script = tmp_path_factory.mktemp("fork_server") / "main.py"
    script.write_text(CODE)
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"}
    run = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, env=environment
    )
    return dict(line.rsplit(" ", 1) for line in run.stdout.splitlines())


@pytest.mark.slow
class TestServer:
    def test_has_one_thread_so_that_a_fork_is_whole(self, found: dict[str, str]) -> None:
        assert found["threads"] == "1"

    def test_has_imported_tensorflow_without_keras(self, found: dict[str, str]) -> None:
        """TensorFlow must go on tolerating that Keras cannot be imported."""
        assert (found["tensorflow"], found["keras"]) == ("True", "False")

    def test_has_looked_for_no_gpu(self, found: dict[str, str]) -> None:
        """Each worker sees the one that its own environment names."""
        assert found["maps"] == "False"

    def test_its_processes_compute_and_can_import_keras(self, found: dict[str, str]) -> None:
        assert (found["computes"], found["keras after"]) == ("9.0", "True")

    def test_has_the_environment_of_workers_and_leaves_ours_alone(
        self, found: dict[str, str]
    ) -> None:
        assert found["OPENBLAS_NUM_THREADS"] == "1"
        for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"):
            assert found[name] == fork_server.ENVIRONMENT[name]
        assert (found["environment"], found["here"]) == ("True", "False")


def test_ends_at_once_with_a_process_that_is_killed_while_it_imports(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import time\nfrom mnist_tune.workers import fork_server\n"
        "fork_server.start()\nprint('started', flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        children = psutil.Process(process.pid).children()
        while not any(_imports_tensorflow(child) for child in children):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        deadline = time.monotonic() + 2
        while (alive := [c for c in children if _runs(c)]) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert alive == []


def _imports_tensorflow(process: psutil.Process) -> bool:
    return any("tensorflow" in mapped.path for mapped in process.memory_maps())


def _runs(process: psutil.Process) -> bool:
    """Whether it does; a process that has ended may wait long for whoever is to reap it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
