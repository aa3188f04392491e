"""Event files for TensorBoard, read back with TensorBoard's own format."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from mnist_tune.dashboard.tensorboard import EventFiles, event_files
from mnist_tune.errors import InputError
from mnist_tune.search.events import EpochDone, TrialEnded, TrialStarted
from mnist_tune.trainer.states import EpochMetrics
from tests.search.fakes import metrics_of, spec


def events(folder: Path) -> Iterator[Event]:
    """Records of all files: length, its checksum, content, its checksum."""
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event()
            event.ParseFromString(data[12 : 12 + length])
            yield event
            data = data[16 + length :]


def scalars(folder: Path) -> dict[tuple[str, int], list[float]]:
    found: dict[tuple[str, int], list[float]] = {}
    for event in events(folder):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault((value.tag, event.step), []).append(value.simple_value)
    return found


def metrics(number: int, epoch: int, seeds: tuple[int, ...]) -> dict[int, EpochMetrics]:
    return {seed: metrics_of(number, seed, epoch) for seed in seeds}


def told(folder: Path, epochs: range, *, ends: bool = True) -> None:
    """A trial of two seeds, as a search tells it."""
    files, trained = EventFiles(folder), spec(3, seeds=(0, 1))
    files.notify(TrialStarted(trained, {"l2": 1e-4}))
    for epoch in epochs:
        files.notify(EpochDone(trained, epoch, metrics(3, epoch, trained.seeds)))
    if ends:
        files.notify(
            TrialEnded(
                trial=trained,
                state="complete",
                histories={},
                tests={},
                timings=(),
                elapsed_seconds=1.0,
            )
        )
    files.close()


def test_each_run_has_a_folder_and_each_epoch_a_value(tmp_path: Path) -> None:
    told(tmp_path, range(1, 4))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["trial-3-seed-0", "trial-3-seed-1"]
    found = scalars(tmp_path / "trial-3-seed-1")
    assert set(found) == {
        (f"{measure}/{images}", epoch)
        for measure in ("accuracy", "loss")
        for images in ("training", "validation")
        for epoch in (1, 2, 3)
    }
    expected = metrics_of(3, 1, 2).val_accuracy
    assert found["accuracy/validation", 2] == [pytest.approx(expected)]


def test_after_an_interruption_no_epoch_is_there_twice(tmp_path: Path) -> None:
    told(tmp_path, range(1, 3), ends=False)
    for file in [*tmp_path.rglob("events.*")]:  # named by the second, which is still the same one
        file.rename(file.with_name(file.name.replace("tfevents.", "tfevents.0")))
    told(tmp_path, range(1, 4))
    found = scalars(tmp_path / "trial-3-seed-0")
    assert {len(values) for values in found.values()} == {1}
    assert max(step for _, step in found) == 3


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    class Session:
        class row:  # noqa: N801
            name = "tiny"

    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"cannot write to .*file/tiny: .*--tensorboard"),
        event_files(tmp_path / "file", Session(), print),  # type: ignore[arg-type]
    ):
        pass
