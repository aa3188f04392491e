"""Several configurations in one stack: each comes to what it comes to alone, whatever the others do."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from mnist_tune.data.splits import Part
from mnist_tune.errors import Diverged
from mnist_tune.networks import Autoencoder, Block, Cnn, Mlp, Network
from mnist_tune.recipes import Adam, AdamW, Recipe, Sgd
from mnist_tune.trainer.batches import Member, Progress
from mnist_tune.trainer.program import epoch_program, shape_of, stack_key
from mnist_tune.trainer.runtime import Device
from mnist_tune.trainer.states import RunState
from mnist_tune.trainer.training import Trainer
from tests.trainer.training_samples import BUSY, BUSY_RECIPE, bits, go_on, trained

Configuration = tuple[Network, Recipe]
Reached = Mapping[int, Progress | Diverged]

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
def stacking(train_part: Part, validation_part: Part, cpu: Device) -> Trainer:
    """A trainer that stacks runs as on a GPU."""
    return Trainer(train_part, validation_part, replace(cpu, stacks_runs=True))


def members(
    configurations: Sequence[Configuration], seeds: Sequence[int] = (3, 11)
) -> list[Member]:
    return [
        Member(network, recipe, tuple(Trainer.start(network, recipe, seed) for seed in seeds))
        for network, recipe in configurations
    ]


def going(reached: Reached) -> dict[int, Progress]:
    """Without those that have diverged."""
    return {i: done for i, done in reached.items() if isinstance(done, Progress)}


def all_go_on(progress: Reached) -> Container[int]:
    return progress


def leaving(epochs: Mapping[int, int]) -> Callable[[Reached], Container[int]]:
    """Members end after these epochs."""
    return lambda reached: {i for i, p in going(reached).items() if p.epoch < epochs.get(i, 99)}


def reached(trainer: Trainer, together: Sequence[Member], **how: int) -> list[tuple[RunState, ...]]:
    states = trainer.train_together(
        together, leaving({int(name[1:]): epoch for name, epoch in how.items()})
    )
    assert not any(isinstance(each, Diverged) for each in states)
    return [each for each in states if not isinstance(each, Diverged)]


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
def test_each_comes_to_what_it_comes_to_alone(
    trainer: Trainer, stacking: Trainer, configurations: tuple[Configuration, ...]
) -> None:
    alone = [trained(trainer, *configuration, [3, 11]) for configuration in configurations]
    in_turn = reached(trainer, members(configurations))
    assert [[*map(bits, each)] for each in in_turn] == [[*map(bits, each)] for each in alone]
    for stacked, theirs in zip(reached(stacking, members(configurations)), alone, strict=True):
        assert_close(stacked, theirs)
    finals = {states[0].weights[0].tobytes() for states in alone}
    assert len(finals) == len(configurations)


def test_a_stack_is_compiled_once(stacking: Trainer, cpu: Device) -> None:
    configurations = [(replace(network, hidden=(21,)), recipe) for network, recipe in MIXED]
    reached(stacking, members(configurations))
    program = epoch_program(shape_of(*configurations[0], cpu))
    assert program.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("kind", ["in turn", "stacked"])
def test_one_that_ends_early_is_no_matter_to_the_others(
    trainer: Trainer, stacking: Trainer, kind: str
) -> None:
    of_kind = stacking if kind == "stacked" else trainer
    whole = reached(of_kind, members(MIXED))
    ended = reached(of_kind, members(MIXED), i0=1, i1=2, i2=3)
    assert [[state.epoch for state in each] for each in ended] == [[1, 1], [2, 2], [3, 3], [4, 4]]
    assert_close(ended[3], whole[3])
    for i, epochs in enumerate((1, 2, 3)):
        network, recipe = MIXED[i]
        states = [Trainer.start(network, recipe, seed) for seed in (3, 11)]
        until = of_kind.train(network, recipe, states, lambda p, last=epochs: p.epoch < last)  # type: ignore[misc]
        assert_close(ended[i], until)
        assert_close(trainer.train(network, recipe, ended[i], go_on), whole[i])


@pytest.mark.parametrize("kind", ["in turn", "stacked"])
def test_one_that_diverges_is_no_matter_to_the_others(
    trainer: Trainer, stacking: Trainer, kind: str
) -> None:
    of_kind = stacking if kind == "stacked" else trainer
    told: list[dict[int, str]] = []

    def note(reached: Reached) -> Container[int]:
        told.append({i: type(done).__name__ for i, done in reached.items()})
        return range(3)  # a wish to go on is not heard of one that cannot

    first, hopeless, last = of_kind.train_together(
        members([MIXED[0], (BUSY, HOPELESS), MIXED[1]]), note
    )
    assert isinstance(hopeless, Diverged)
    assert "the loss of seed 3 is no longer finite in epoch 1" in str(hopeless)
    well = {0: "Progress", 2: "Progress"}
    assert told == [{**well, 1: "Diverged"}, well, well, well]
    for states, configuration in ((first, MIXED[0]), (last, MIXED[1])):
        assert not isinstance(states, Diverged)
        assert_close(states, trained(trainer, *configuration, [3, 11]))


def test_all_that_diverge_end_the_training(stacking: Trainer) -> None:
    told: list[Reached] = []

    def note(reached: Reached) -> Container[int]:
        told.append(reached)
        return reached

    both = stacking.train_together(members([(BUSY, HOPELESS)] * 2), note)
    assert all(isinstance(each, Diverged) for each in both)
    assert [going(reached) for reached in told] == [{}]


@pytest.mark.parametrize("kind", ["in turn", "stacked"])
def test_those_that_stand_behind_catch_up(trainer: Trainer, stacking: Trainer, kind: str) -> None:
    of_kind = stacking if kind == "stacked" else trainer
    whole = reached(of_kind, members(MIXED))
    parts = reached(of_kind, members(MIXED), i0=3, i1=1, i2=1, i3=2)
    mixed = [
        replace(member, states=states if i != 1 else (states[0], member.states[1]))
        for i, (member, states) in enumerate(zip(members(MIXED), parts, strict=True))
    ]
    seen: list[tuple[int, dict[int, int]]] = []

    def note(reached: Reached) -> Container[int]:
        progress = going(reached)
        epochs = {p.epoch for p in progress.values()}
        seen.append((epochs.pop(), {i: len(p.metrics) for i, p in progress.items()}))
        assert not epochs
        return progress

    for states, theirs in zip(of_kind.train_together(mixed, note), whole, strict=True):
        assert not isinstance(states, Diverged)
        assert_close(states, theirs)
    assert seen == [
        (1, {1: 1}),
        (2, {1: 2, 2: 2}),
        (3, {1: 2, 2: 2, 3: 2}),
        (4, {0: 2, 1: 2, 2: 2, 3: 2}),
    ]


def test_a_snapshot_is_of_one_of_them_at_that_epoch(stacking: Trainer) -> None:
    taken: dict[tuple[int, int], tuple[RunState, ...]] = {}

    def keep(reached: Reached) -> Container[int]:
        taken.update({(i, p.epoch): p.snapshot() for i, p in going(reached).items()})
        return reached

    final = stacking.train_together(members(MIXED[:2]), keep)
    for i, states in enumerate(final):
        assert not isinstance(states, Diverged)
        assert [*map(bits, states)] == [*map(bits, taken[i, 4])]
    (ended, _) = reached(stacking, members(MIXED[:2]), i0=2)
    assert [*map(bits, ended)] == [*map(bits, taken[0, 2])]


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
    assert stack_key(*other) != stack_key(BUSY, BUSY_RECIPE)
    with pytest.raises(ValueError, match="must share a program"):
        trainer.train_together(members([(BUSY, BUSY_RECIPE), other]), all_go_on)


def test_convolutions_are_refused_beside_each_other(trainer: Trainer) -> None:
    network = Cnn(blocks=(Block(filters=4),))
    with pytest.raises(ValueError, match="must share a program"):
        trainer.train_together(members([(network, Recipe(epochs=1))] * 2), all_go_on)


def test_noise_is_of_a_whole_stack_and_convolutions_have_no_stack() -> None:
    quiet, loud = (Autoencoder(latent=4, noise=(0.0, level)) for level in (0.3, 0.5))
    recipe = Recipe(epochs=1)
    assert stack_key(quiet, recipe) == stack_key(replace(quiet, l2=0.1), recipe)
    assert stack_key(quiet, recipe) != stack_key(loud, recipe)
    assert stack_key(Cnn(blocks=(Block(filters=4),)), recipe) is None
