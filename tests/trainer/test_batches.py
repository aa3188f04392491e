"""Batches of runs of several configurations: each run gets its result, whatever the others do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mnist_tune.data.sources import Part
from mnist_tune.errors import Diverged
from mnist_tune.networks import Autoencoder, Block, Cnn, Mlp, Network
from mnist_tune.recipes import Adam, AdamW, Recipe, Sgd
from mnist_tune.trainer.program import epoch_program, program_key, program_spec
from mnist_tune.trainer.runtime import Device
from mnist_tune.trainer.states import RunState
from mnist_tune.trainer.training import EpochProgress, Trainer, TrainingRun
from tests.trainer.training_samples import BUSY, BUSY_RECIPE, bits, go_on, trained

Configuration = tuple[Network, Recipe]

# All that may differ between the rows of a program, and does.
MIXED: tuple[tuple[Mlp, Recipe], ...] = (
    (BUSY, BUSY_RECIPE),
    (replace(BUSY, l2=3e-3), BUSY_RECIPE),
    (replace(BUSY, dropout=0.6, input_dropout=0.2), BUSY_RECIPE),
    (BUSY, replace(BUSY_RECIPE, optimizer=Sgd(learning_rate=0.2, momentum=0.5))),
)
ADAM = tuple(
    (BUSY, replace(BUSY_RECIPE, optimizer=optimizer))
    for optimizer in (Adam(learning_rate=2e-3), Adam(beta_1=0.8, beta_2=0.99, epsilon=1e-4))
)
ADAMW = tuple(
    (BUSY, replace(BUSY_RECIPE, optimizer=AdamW(weight_decay=decay))) for decay in (0.0, 0.3)
)
DENOISERS = tuple(
    (Autoencoder(latent=4, hidden=(12,), l2=l2), Recipe(epochs=2, batch_size=32))
    for l2 in (0, 1e-3)
)
HOPELESS = replace(BUSY_RECIPE, optimizer=Sgd(learning_rate=1e30, momentum=0.9))


@pytest.fixture(scope="session")
def sharing(train_part: Part, validation_part: Part, cpu: Device) -> Trainer:
    """A trainer whose runs share a program, as on a GPU."""
    return Trainer(train_part, validation_part, replace(cpu, shares_programs=True))


@pytest.fixture(scope="session", params=["in turn", "sharing"])
def either(request: pytest.FixtureRequest, trainer: Trainer, sharing: Trainer) -> Trainer:
    return sharing if request.param == "sharing" else trainer


def new_runs(
    configurations: Sequence[Configuration], seeds: Sequence[int] = (3, 11)
) -> list[TrainingRun]:
    return [
        TrainingRun(network, recipe, Trainer.start(network, recipe, seed))
        for network, recipe in configurations
        for seed in seeds
    ]


def reached(trainer: Trainer, runs: Sequence[TrainingRun], until: int = 99) -> tuple[RunState, ...]:
    states = trainer.train(runs, lambda progress: progress.epoch < until)
    assert not any(isinstance(state, Diverged) for state in states)
    return tuple(state for state in states if isinstance(state, RunState))


def assert_close(mine: Sequence[RunState], theirs: Sequence[RunState]) -> None:
    """To float precision, as sums are taken in another order."""
    assert [(s.seed, s.epoch) for s in mine] == [(s.seed, s.epoch) for s in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert one.history[-1].train_loss == pytest.approx(other.history[-1].train_loss, rel=1e-4)
        for a, b in zip((*one.weights, *one.slots), (*other.weights, *other.slots), strict=True):
            assert a.shape == b.shape
            assert np.abs(a - b).max() <= 2e-4 * np.abs(b).max()


@pytest.mark.parametrize(
    "configurations", [MIXED, ADAM, ADAMW, DENOISERS], ids=["sgd", "adam", "adamw", "denoisers"]
)
def test_each_run_gets_the_result_that_it_gets_alone(
    trainer: Trainer, sharing: Trainer, configurations: tuple[Configuration, ...]
) -> None:
    alone = [s for each in configurations for s in trained(trainer, *each, [3, 11])]
    in_turn = reached(trainer, new_runs(configurations))
    assert [*map(bits, in_turn)] == [*map(bits, alone)]
    assert_close(reached(sharing, new_runs(configurations)), alone)
    assert len({state.weights[0].tobytes() for state in alone}) == len(alone)


def test_a_batch_is_compiled_once(sharing: Trainer, cpu: Device) -> None:
    configurations = [(replace(network, hidden=(21,)), recipe) for network, recipe in MIXED]
    reached(sharing, new_runs(configurations))
    program = epoch_program(program_spec(*configurations[0], cpu))
    assert program.experimental_get_tracing_count() == 1


def test_one_that_diverges_is_no_matter_to_the_others(either: Trainer, trainer: Trainer) -> None:
    seen: list[tuple[list[int], list[int]]] = []

    def note(progress: EpochProgress) -> bool:
        seen.append((sorted(progress.metrics), sorted(progress.diverged)))
        assert progress.snapshot().keys() == progress.metrics.keys()
        return True

    runs = new_runs([MIXED[0], (BUSY, HOPELESS), MIXED[1]])
    states = either.train(runs, note)
    for seed, state in zip((3, 11), states[2:4], strict=True):
        assert isinstance(state, Diverged)
        assert f"the loss of seed {seed} is no longer finite in epoch 1" in str(state)
    assert seen == [([0, 1, 4, 5], [2, 3])] * 4
    for first, configuration in ((0, MIXED[0]), (4, MIXED[1])):
        sound = [state for state in states[first : first + 2] if isinstance(state, RunState)]
        assert_close(sound, trained(trainer, *configuration, [3, 11]))


def test_all_that_diverge_end_the_training(either: Trainer) -> None:
    seen: list[EpochProgress] = []

    def note(progress: EpochProgress) -> bool:
        seen.append(progress)
        return True

    states = either.train(new_runs([(BUSY, HOPELESS)] * 2), note)
    assert all(isinstance(state, Diverged) for state in states)
    assert [(progress.epoch, progress.metrics) for progress in seen] == [(1, {})]


def test_those_that_stand_behind_catch_up(either: Trainer) -> None:
    whole = reached(either, new_runs(MIXED))
    runs = []
    for run, epochs in zip(new_runs(MIXED), (3, 3, 0, 1, 1, 1, 2, 2), strict=True):
        (state,) = reached(either, [run], epochs) if epochs else (run.state,)
        runs.append(replace(run, state=state))
    seen: list[tuple[int, list[int]]] = []

    def note(progress: EpochProgress) -> bool:
        seen.append((progress.epoch, list(progress.metrics)))
        return True

    states = either.train(runs, note)
    assert_close([state for state in states if isinstance(state, RunState)], whole)
    assert seen == [(1, [2]), (2, [2, 3, 4, 5]), (3, [2, 3, 4, 5, 6, 7]), (4, [*range(8)])]


def test_a_stop_while_some_catch_up_leaves_the_others_as_they_were(either: Trainer) -> None:
    ahead, behind = new_runs(MIXED[:1])
    ahead = replace(ahead, state=reached(either, [ahead], 2)[0])
    states = reached(either, [ahead, behind], 1)
    assert [state.epoch for state in states] == [2, 1]
    assert states[0] is ahead.state


def test_a_snapshot_is_of_that_epoch(either: Trainer) -> None:
    taken: list[dict[int, RunState]] = []

    def keep(progress: EpochProgress) -> bool:
        taken.append(progress.snapshot())
        return True

    final = either.train(new_runs(MIXED[:2]), keep)
    assert [bits(s) for s in final if isinstance(s, RunState)] == [
        bits(state) for state in taken[3].values()
    ]
    ended = reached(either, new_runs(MIXED[:2]), 2)
    assert [*map(bits, ended)] == [bits(state) for state in taken[1].values()]


@pytest.mark.parametrize(
    "other",
    [
        (replace(BUSY, hidden=(24, 17)), BUSY_RECIPE),
        (replace(BUSY, activation="tanh"), BUSY_RECIPE),
        (replace(BUSY, dropout=0.0), BUSY_RECIPE),
        (BUSY, replace(BUSY_RECIPE, epochs=5)),
        (BUSY, replace(BUSY_RECIPE, batch_size=33)),
        (BUSY, replace(BUSY_RECIPE, schedule="constant")),
        (BUSY, replace(BUSY_RECIPE, optimizer=Adam())),
        (Autoencoder(latent=16, hidden=(24,)), BUSY_RECIPE),
    ],
)
def test_what_cannot_share_a_program_is_told_apart_and_refused(
    trainer: Trainer, other: Configuration
) -> None:
    assert program_key(*other) != program_key(BUSY, BUSY_RECIPE)
    with pytest.raises(ValueError, match="must share a program"):
        trainer.train(new_runs([(BUSY, BUSY_RECIPE), other]), go_on)


def test_different_convolutions_are_refused_beside_each_other(trainer: Trainer) -> None:
    networks = [Cnn(blocks=(Block(filters=4),), l2=l2) for l2 in (0.0, 0.1)]
    with pytest.raises(ValueError, match="must share a program"):
        trainer.train(new_runs([(network, Recipe(epochs=1)) for network in networks]), go_on)


def test_noise_is_of_a_whole_batch_and_convolutions_have_no_batch() -> None:
    quiet, loud = (Autoencoder(latent=4, noise=(0.0, level)) for level in (0.3, 0.5))
    recipe = Recipe(epochs=1)
    assert program_key(quiet, recipe) == program_key(replace(quiet, l2=0.1), recipe)
    assert program_key(quiet, recipe) != program_key(loud, recipe)
    assert program_key(Cnn(blocks=(Block(filters=4),)), recipe) is None
