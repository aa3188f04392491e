"""Who trains on what: a pure function of what was asked for and what was found."""

from __future__ import annotations

import pytest

from mnist_tune.errors import DefinitionError
from mnist_tune.workers import specs as workers_specs
from mnist_tune.workers.specs import (
    Machine,
    WorkerOptions,
    WorkerSpec,
    describe_workers,
    visible_gpus,
    worker_specs,
)

LAPTOP = Machine(4)
TWO_GPUS = Machine(16, ("0", "1"))


@pytest.mark.parametrize(
    ("options", "found", "runs", "specs"),
    [
        (WorkerOptions(), LAPTOP, 100, (WorkerSpec(),) * 4),
        (WorkerOptions(), LAPTOP, 2, (WorkerSpec(),) * 2),
        (WorkerOptions(), LAPTOP, 0, (WorkerSpec(),)),
        (WorkerOptions(), LAPTOP, None, (WorkerSpec(),) * 4),
        (WorkerOptions(workers=3), LAPTOP, 100, (WorkerSpec(),) * 3),
        (WorkerOptions(workers=8), LAPTOP, 1, (WorkerSpec(),) * 8),
        (WorkerOptions(), TWO_GPUS, 100, (WorkerSpec("0"), WorkerSpec("1"))),
        (WorkerOptions(), TWO_GPUS, 1, (WorkerSpec("0"),)),
        (WorkerOptions(gpus="1"), TWO_GPUS, 100, (WorkerSpec("1"),)),
        (WorkerOptions(gpus="1, 0"), TWO_GPUS, 100, (WorkerSpec("1"), WorkerSpec("0"))),
        (WorkerOptions(gpus="none"), Machine(2, ("0",)), 9, (WorkerSpec(hides_gpus=True),) * 2),
        (WorkerOptions(gpus="none", workers=1), LAPTOP, 9, (WorkerSpec(hides_gpus=True),)),
        # The first worker of each GPU comes before the second of any.
        (
            WorkerOptions(workers_per_gpu=2),
            TWO_GPUS,
            3,
            (WorkerSpec("0"), WorkerSpec("1"), WorkerSpec("0")),
        ),
        (
            WorkerOptions(workers=2, workers_per_gpu=2),
            Machine(4, ("GPU-a",)),
            9,
            (WorkerSpec("GPU-a"),) * 2,
        ),
    ],
)
def test_specs(
    options: WorkerOptions, found: Machine, runs: int | None, specs: tuple[WorkerSpec, ...]
) -> None:
    assert worker_specs(options, found, runs) == specs


@pytest.mark.parametrize(
    ("options", "found", "words"),
    [
        (WorkerOptions(gpus="7"), TWO_GPUS, "--gpus 7: there is GPU 0, 1 here"),
        (WorkerOptions(gpus="0"), LAPTOP, "there is no GPU here"),
        (WorkerOptions(gpus="0,0"), TWO_GPUS, "different ones"),
        (WorkerOptions(gpus=""), TWO_GPUS, "give auto, none"),
        (WorkerOptions(workers=3), TWO_GPUS, "2 GPUs with 1 worker each make 2"),
        (WorkerOptions(workers_per_gpu=2), LAPTOP, "no GPU is used"),
        (WorkerOptions(workers_per_gpu=2, gpus="none"), TWO_GPUS, "no GPU is used"),
        (WorkerOptions(workers_per_gpu=0), TWO_GPUS, "give 1 or more"),
        (WorkerOptions(workers=0), LAPTOP, "give a number from 1 to 1,024"),
        (WorkerOptions(workers=1_025), LAPTOP, "give a number from 1 to 1,024"),
    ],
)
def test_what_cannot_be(options: WorkerOptions, found: Machine, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        worker_specs(options, found, 10)


def test_a_process_sees_its_gpu_alone() -> None:
    assert WorkerSpec("1").environment == {"CUDA_VISIBLE_DEVICES": "1"}
    assert WorkerSpec(hides_gpus=True).environment == {"CUDA_VISIBLE_DEVICES": "-1"}
    assert WorkerSpec().environment == {}


def test_what_people_are_describe_workers() -> None:
    assert describe_workers((WorkerSpec(),)) == "1 worker with 1 CPU thread each"
    assert (
        describe_workers((WorkerSpec("0"), WorkerSpec("3")))
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
    assert workers_specs.this_machine().gpus == ()
