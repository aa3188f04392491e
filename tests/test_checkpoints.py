"""Checkpoints: exact, whole or not at all, and never mistaken for something else."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_tune import checkpoints
from mnist_tune.checkpoints import CheckpointError, CheckpointTimer
from mnist_tune.trainer.states import EpochMetrics, RunState

IDENTITY = "2c26b46b68ffc68ff99b453c1d304134"


def some_state(seed: int = 7, epochs: int = 2, width: int = 5) -> RunState:
    """A state with odd numbers: subnormal, negative zero, the largest, thirds."""
    kernel = np.arange(3 * width, dtype=np.float32).reshape(3, width) / np.float32(3)
    kernel.flat[:4] = (
        1e-45,
        -0.0,
        np.finfo(np.float32).max,
        np.nextafter(np.float32(1), np.float32(2)),
    )
    weights = (kernel, -np.ones(width, np.float32))
    history = tuple(EpochMetrics(i + 1, 1 / 3 / (i + 1), 0.1 + i / 7) for i in range(epochs))
    return RunState(seed, weights, tuple(w * np.float32(0.1) for w in weights), history)


def assert_equal(found: RunState | None, wanted: RunState) -> None:
    assert found is not None
    assert (found.seed, found.history) == (wanted.seed, wanted.history)
    for mine, theirs in ((found.weights, wanted.weights), (found.slots, wanted.slots)):
        assert [a.shape for a in mine] == [a.shape for a in theirs]
        assert all(a.dtype == np.float32 for a in mine)
        assert [a.tobytes() for a in mine] == [a.tobytes() for a in theirs]


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good checkpoint of `some_state()`."""
    path = tmp_path_factory.mktemp("good") / "run.ckpt"
    checkpoints.save_checkpoint(path, some_state(), IDENTITY)
    return path.read_bytes()


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], RunState | None]:
    """Load the given bytes as if they had been found in a file."""
    path = tmp_path_factory.mktemp("damaged") / "run.ckpt"

    def load(found: bytes) -> RunState | None:
        path.write_bytes(found)
        return checkpoints.load_checkpoint(path, IDENTITY)

    return load


# --- what is saved comes back ---


@pytest.mark.parametrize("epochs", [0, 1, 40])
def test_a_state_comes_back_bit_for_bit(tmp_path: Path, epochs: int) -> None:
    checkpoints.save_checkpoint(tmp_path / "run.ckpt", some_state(epochs=epochs), IDENTITY)
    assert_equal(
        checkpoints.load_checkpoint(tmp_path / "run.ckpt", IDENTITY), some_state(epochs=epochs)
    )


def test_a_run_without_optimizer_slots_comes_back(tmp_path: Path) -> None:
    state = replace(some_state(), slots=())
    checkpoints.save_checkpoint(tmp_path / "run.ckpt", state, IDENTITY)
    assert_equal(checkpoints.load_checkpoint(tmp_path / "run.ckpt", IDENTITY), state)


@given(
    seed=st.integers(0, 2**63 - 1),
    metrics=st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False),
            st.floats(0, 1),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.none() | st.floats(0, 1),
        ),
        max_size=5,
    ),
    numbers=st.lists(st.floats(width=32), min_size=1, max_size=20),
)
def test_any_state_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    metrics: list[tuple[float, float, float | None, float | None]],
    numbers: list[float],
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.ckpt"
    history = tuple(EpochMetrics(i, *values) for i, values in enumerate(metrics, start=1))
    state = RunState(seed, (np.array(numbers, np.float32),), (), history)
    checkpoints.save_checkpoint(path, state, IDENTITY)
    assert_equal(checkpoints.load_checkpoint(path, IDENTITY), state)


def test_a_loaded_state_does_not_share_memory_that_cannot_be_written(tmp_path: Path) -> None:
    checkpoints.save_checkpoint(tmp_path / "run.ckpt", some_state(), IDENTITY)
    found = checkpoints.load_checkpoint(tmp_path / "run.ckpt", IDENTITY)
    assert found is not None
    assert all(array.flags.writeable for array in (*found.weights, *found.slots))


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert checkpoints.load_checkpoint(tmp_path / "none.ckpt", IDENTITY) is None
    assert checkpoints.load_checkpoint(tmp_path / "no folder" / "none.ckpt", IDENTITY) is None


def test_the_last_save_counts_and_leaves_one_file(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "run.ckpt"
    for epochs in range(5):
        checkpoints.save_checkpoint(path, some_state(epochs=epochs), IDENTITY)
    assert_equal(checkpoints.load_checkpoint(path, IDENTITY), some_state(epochs=4))
    assert list(path.parent.iterdir()) == [path]


def test_a_metric_that_is_not_finite_is_a_fault_of_the_caller(tmp_path: Path) -> None:
    state = replace(some_state(), history=(EpochMetrics(1, float("nan"), 0.1),))
    with pytest.raises(ValueError, match="JSON"):
        checkpoints.save_checkpoint(tmp_path / "run.ckpt", state, IDENTITY)
    assert list(tmp_path.iterdir()) == []


def test_the_layout_is_the_one_that_is_documented(content: bytes) -> None:
    assert content[:16] == b"mnist_tune run\r\n"
    assert struct.unpack_from("<I", content, 16) == (checkpoints.FORMAT,)
    assert checkpoints.FORMAT == 1  # a new layout needs a new number and this test


# --- what is not a good checkpoint is refused ---


def refused(load: Callable[[bytes], RunState | None], found: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        load(found)
    assert "\n" not in str(caught.value)
    assert "run.ckpt" in str(caught.value)
    return str(caught.value)


def test_every_truncation_is_refused(
    damaged: Callable[[bytes], RunState | None], content: bytes
) -> None:
    for length in range(len(content)):
        refused(damaged, content[:length])


def test_every_flipped_bit_is_refused(
    damaged: Callable[[bytes], RunState | None], content: bytes
) -> None:
    for position in range(len(content)):
        wrong = bytearray(content)
        wrong[position] ^= 1 << position % 8
        refused(damaged, bytes(wrong))


@given(found=st.binary(max_size=300))
def test_random_bytes_are_refused(
    damaged: Callable[[bytes], RunState | None], found: bytes
) -> None:
    refused(damaged, found)


@given(data=st.data())
def test_random_damage_is_refused(
    damaged: Callable[[bytes], RunState | None], content: bytes, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(content)))
    end = data.draw(st.integers(start, len(content)))
    wrong = content[:start] + data.draw(st.binary(max_size=64)) + content[end:]
    if wrong == content:
        assert_equal(damaged(wrong), some_state())
    else:
        refused(damaged, wrong)


@given(rest=st.binary(max_size=100))
def test_random_bytes_behind_a_good_head_are_refused(
    damaged: Callable[[bytes], RunState | None], content: bytes, rest: bytes
) -> None:
    refused(damaged, content[:24] + rest)


def test_reasons_are_told_apart(
    damaged: Callable[[bytes], RunState | None], content: bytes, tmp_path: Path
) -> None:
    assert "it is empty" in refused(damaged, b"")
    assert "cut short" in refused(damaged, content[:-1])
    assert "not written by mnist_tune" in refused(damaged, b"\x89HDF" + content)
    head = "<16sI"
    older, newer = (struct.pack(head, content[:16], version) + content[20:] for version in (0, 2))
    assert "an older version of mnist_tune wrote it, format 0" in refused(damaged, older)
    assert "a newer version of mnist_tune wrote it, format 2" in refused(damaged, newer)
    checkpoints.save_checkpoint(tmp_path / "run.ckpt", some_state(), "another")
    assert "another run" in refused(damaged, (tmp_path / "run.ckpt").read_bytes())


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^[^\n]*cannot be read: "):
        checkpoints.load_checkpoint(tmp_path, IDENTITY)


# --- removing ---


def test_remove_removes_files_and_what_a_killed_writer_left(tmp_path: Path) -> None:
    kept, *gone = (tmp_path / f"run-{i}.ckpt" for i in range(3))
    for path in (kept, *gone):
        checkpoints.save_checkpoint(path, some_state(), IDENTITY)
    gone[0].with_name(f"{gone[0].name}.partial").write_bytes(b"half")
    checkpoints.remove([*gone, tmp_path / "never there.ckpt"])
    assert list(tmp_path.iterdir()) == [kept]


# --- real trouble ---

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_checkpoints import IDENTITY, some_state
from mnist_tune import checkpoints

for epochs in range(1_000_000):
    checkpoints.save_checkpoint(Path(sys.argv[2]), some_state(epochs=epochs % 50, width=20_000), IDENTITY)
    print(epochs, flush=True)
"""


def test_a_writer_killed_at_any_moment_leaves_a_whole_file_and_little_else(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    for delay_seconds in (0.0, 0.0007, 0.0013, 0.0031, 0.0047, 0.0061):
        command = [sys.executable, "-c", WRITER, str(Path(__file__).parent), str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(3):
                assert writer.stdout.readline()
            time.sleep(delay_seconds)
            writer.send_signal(signal.SIGKILL)
        found = checkpoints.load_checkpoint(path, IDENTITY)
        assert found is not None
        assert_equal(found, some_state(epochs=found.epoch, width=20_000))
        assert found.epoch >= 2
    assert len(list(tmp_path.iterdir())) <= 2
    checkpoints.save_checkpoint(path, some_state(), IDENTITY)
    assert list(tmp_path.iterdir()) == [path]


DISK_FULL = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_checkpoints import IDENTITY, some_state
from mnist_tune import checkpoints
from mnist_tune.errors import StorageError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoints.save_checkpoint(Path(sys.argv[2]), some_state(width=20_000), IDENTITY)
except StorageError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file sizes")
def test_a_full_disk_keeps_the_old_file_and_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    checkpoints.save_checkpoint(path, some_state(), IDENTITY)
    command = [sys.executable, "-c", DISK_FULL, str(Path(__file__).parent), str(path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"{path} cannot be written (File too large)" in printed
    assert_equal(checkpoints.load_checkpoint(path, IDENTITY), some_state())
    assert list(tmp_path.iterdir()) == [path]


# --- timer ---


class Clock:
    """A clock that stands still until told otherwise."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_saving_is_due_at_most_once_per_wait() -> None:
    clock = Clock()
    timer = CheckpointTimer(10, clock)
    assert not timer.due()
    clock.now += 9.9
    assert not timer.due()
    clock.now += 0.1
    assert timer.due()
    assert not timer.due()
    clock.now += 25
    assert timer.due()
    clock.now += 5  # a late save moves the next one: the waits are not made up for
    assert not timer.due()
    clock.now += 5
    assert timer.due()


def test_slow_saves_are_made_less_often() -> None:
    clock = Clock()
    timer = CheckpointTimer(10, clock)
    clock.now += 10
    assert timer.due()
    clock.now += 0.5  # the save
    timer.saved()
    clock.now += 24.4
    assert not timer.due()
    clock.now += 0.2  # 25 seconds after it began
    assert timer.due()
    clock.now += 0.1
    timer.saved()  # quick this time
    clock.now += 10
    assert timer.due()


def test_a_wait_of_0_seconds_saves_at_every_chance() -> None:
    timer = CheckpointTimer(0, Clock())
    assert [timer.due() for _ in range(3)] == [True] * 3


def test_the_wall_clock_plays_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = CheckpointTimer(3_600)
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert not timer.due()
