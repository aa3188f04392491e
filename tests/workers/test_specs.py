"""Who trains on what: a pure function of what was asked for and what was found."""

from __future__ import annotations

import pytest

from mnist_tune.errors import DefinitionError
from mnist_tune.workers import machine
from mnist_tune.workers.machine import Machine, visible_gpus
from mnist_tune.workers.specs import Wish, WorkerSpec, plan, told

LAPTOP = Machine(4)
TWO_GPUS = Machine(16, ("0", "1"))


@pytest.mark.parametrize(
    ("wish", "found", "runs", "seats"),
    [
        (Wish(), LAPTOP, 100, (WorkerSpec(1),) * 4),
        (Wish(), LAPTOP, 2, (WorkerSpec(2),) * 2),
        (Wish(), LAPTOP, 0, (WorkerSpec(4),)),
        (Wish(), LAPTOP, None, (WorkerSpec(1),) * 4),
        (Wish(workers=3), LAPTOP, 100, (WorkerSpec(1),) * 3),
        (Wish(workers=8), LAPTOP, 1, (WorkerSpec(1),) * 8),
        (Wish(), TWO_GPUS, 100, (WorkerSpec(8, "0"), WorkerSpec(8, "1"))),
        (Wish(), TWO_GPUS, 1, (WorkerSpec(16, "0"),)),
        (Wish(gpus="1"), TWO_GPUS, 100, (WorkerSpec(16, "1"),)),
        (Wish(gpus="1, 0"), TWO_GPUS, 100, (WorkerSpec(8, "1"), WorkerSpec(8, "0"))),
        (Wish(gpus="none"), Machine(2, ("0",)), 9, (WorkerSpec(1, hides_gpus=True),) * 2),
        (Wish(gpus="none", workers=1), LAPTOP, 9, (WorkerSpec(4, hides_gpus=True),)),
        # The first worker of each GPU comes before the second of any.
        (
            Wish(workers_per_gpu=2),
            TWO_GPUS,
            3,
            (WorkerSpec(5, "0"), WorkerSpec(5, "1"), WorkerSpec(5, "0")),
        ),
        (
            Wish(workers=2, workers_per_gpu=2),
            Machine(4, ("GPU-a",)),
            9,
            (WorkerSpec(2, "GPU-a"),) * 2,
        ),
    ],
)
def test_seats(wish: Wish, found: Machine, runs: int | None, seats: tuple[WorkerSpec, ...]) -> None:
    assert plan(wish, found, runs) == seats


@pytest.mark.parametrize(
    ("wish", "found", "words"),
    [
        (Wish(gpus="7"), TWO_GPUS, "--gpus 7: there is GPU 0, 1 here"),
        (Wish(gpus="0"), LAPTOP, "there is no GPU here"),
        (Wish(gpus="0,0"), TWO_GPUS, "different ones"),
        (Wish(gpus=""), TWO_GPUS, "give auto, none"),
        (Wish(workers=3), TWO_GPUS, "2 GPUs with 1 worker each make 2"),
        (Wish(workers_per_gpu=2), LAPTOP, "no GPU is used"),
        (Wish(workers_per_gpu=2, gpus="none"), TWO_GPUS, "no GPU is used"),
        (Wish(workers_per_gpu=0), TWO_GPUS, "give 1 or more"),
        (Wish(workers=0), LAPTOP, "give a number from 1 to 1,024"),
        (Wish(workers=1_025), LAPTOP, "give a number from 1 to 1,024"),
    ],
)
def test_what_cannot_be(wish: Wish, found: Machine, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        plan(wish, found, 10)


def test_a_process_sees_its_gpu_alone() -> None:
    assert WorkerSpec(2, "1").environment == {
        "MNIST_TUNE_THREADS": "2",
        "CUDA_VISIBLE_DEVICES": "1",
    }
    assert WorkerSpec(2, hides_gpus=True).environment["CUDA_VISIBLE_DEVICES"] == "-1"
    assert WorkerSpec(2).environment == {"MNIST_TUNE_THREADS": "2"}


def test_what_people_are_told() -> None:
    assert told((WorkerSpec(2),)) == "1 worker with 2 CPU threads each"
    assert (
        told((WorkerSpec(1, "0"), WorkerSpec(1, "3")))
        == "2 workers with 1 CPU thread each, on GPU 0, 3"
    )


@pytest.mark.parametrize(
    ("variable", "names"), [("2,3", ("2", "3")), ("", ()), ("-1", ()), (" GPU-a ", ("GPU-a",))]
)
def test_gpus_that_were_chosen_before(
    monkeypatch: pytest.MonkeyPatch, variable: str, names: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert visible_gpus() == names


def test_gpus_that_the_driver_lists(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "nvidia-smi"
    command.write_text("#!/bin/sh\necho 'GPU 0: H100 (UUID: x)'\necho 'GPU 1: H100 (UUID: y)'\n")
    command.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(folder))
    assert visible_gpus() == ("0", "1")
    command.unlink()
    assert visible_gpus() == ()
    assert machine.this_machine().gpus == ()
