"""Training: exact in any company, at any interruption; evaluation counts every image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mnist_tune import checkpoints
from mnist_tune.data import embedded
from mnist_tune.data.sources import Part
from mnist_tune.errors import Diverged
from mnist_tune.networks import Mlp
from mnist_tune.recipes import Adam, Optimizer, Recipe, Sgd
from mnist_tune.trainer import forward, program
from mnist_tune.trainer.keras_models import with_weights
from mnist_tune.trainer.program import batch_rows, epoch_program, program_spec, scoring_program
from mnist_tune.trainer.randomness import epoch_order
from mnist_tune.trainer.runtime import Device
from mnist_tune.trainer.states import EpochMetrics, RunState
from mnist_tune.trainer.training import EpochProgress, Trainer
from tests.trainer.training_samples import (
    BUSY,
    BUSY_RECIPE,
    SMALL,
    bits,
    go_on,
    runs_of,
    train,
    trained,
)

ADAM_RECIPE = replace(BUSY_RECIPE, optimizer=Adam(learning_rate=2e-3))
CPU = Device("CPU", "/CPU:0", 1)


def until(epoch: int) -> Callable[[EpochProgress], bool]:
    return lambda progress: progress.epoch < epoch


@pytest.fixture(scope="module")
def busy_runs(trainer: Trainer) -> dict[int, RunState]:
    """Three seeds trained together and without a stop."""
    return {state.seed: state for state in trained(trainer, BUSY, BUSY_RECIPE, [3, 11, 2**40])}


# --- exactness ---


def test_a_run_is_the_same_alone(trainer: Trainer, busy_runs: dict[int, RunState]) -> None:
    for seed, together in busy_runs.items():
        (alone,) = trained(trainer, BUSY, BUSY_RECIPE, [seed])
        assert bits(alone) == bits(together)


def test_runs_with_different_seeds_differ(busy_runs: dict[int, RunState]) -> None:
    finals = [state.weights[0].tobytes() for state in busy_runs.values()]
    assert len(set(finals)) == len(finals)


@pytest.mark.parametrize("recipe", [BUSY_RECIPE, ADAM_RECIPE], ids=["momentum", "adam"])
def test_seeds_stacked_in_one_program_come_to_the_same(
    train_part: Part, validation_part: Part, cpu: Device, trainer: Trainer, recipe: Recipe
) -> None:
    """As a GPU trains them: to float precision, as sums are taken in another order."""
    stacking = Trainer(train_part, validation_part, replace(cpu, shares_programs=True))
    stacked = trained(stacking, BUSY, recipe, [3, 11, 2**40])
    in_turn = trained(trainer, BUSY, recipe, [3, 11, 2**40])
    assert [state.seed for state in stacked] == [state.seed for state in in_turn]
    for mine, theirs in zip(stacked, in_turn, strict=True):
        assert mine.history[-1].train_loss == pytest.approx(theirs.history[-1].train_loss, rel=1e-4)
        for a, b in zip(mine.weights, theirs.weights, strict=True):
            assert np.abs(a - b).max() < 1e-4 * np.abs(b).max()
    scores = stacking.evaluate(runs_of(BUSY, recipe, in_turn), validation_part)
    for one, other in zip(
        scores, trainer.evaluate(runs_of(BUSY, recipe, in_turn), validation_part), strict=True
    ):
        assert (one.seed, one.accuracy) == (other.seed, other.accuracy)
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
        assert one.classes is not None
        assert other.classes is not None
        assert np.array_equal(one.classes, other.classes)


def test_a_cpu_does_not_stack_seeds(cpu: Device) -> None:
    """Their bits would depend on their company then."""
    if cpu.placement == "/CPU:0":
        assert not cpu.shares_programs


@pytest.mark.parametrize("recipe", [BUSY_RECIPE, ADAM_RECIPE], ids=["momentum", "adam"])
def test_a_run_stopped_after_any_epoch_goes_on_from_its_checkpoint_as_if_never_stopped(
    trainer: Trainer, tmp_path: Path, recipe: Recipe
) -> None:
    (whole,) = trained(trainer, BUSY, recipe, [11])
    state: RunState | None = Trainer.start(BUSY, recipe, 11)
    for epoch in range(1, recipe.epochs + 1):
        assert state is not None
        (state,) = train(trainer, BUSY, recipe, [state], until(epoch))
        assert state.epoch == epoch
        checkpoints.save_checkpoint(tmp_path / "run.ckpt", state, "identity")
        state = checkpoints.load_checkpoint(tmp_path / "run.ckpt", "identity")
    assert state is not None
    assert bits(state) == bits(whole)


def test_runs_that_stand_behind_catch_up_and_come_to_the_same(
    trainer: Trainer, busy_runs: dict[int, RunState]
) -> None:
    starts = {seed: Trainer.start(BUSY, BUSY_RECIPE, seed) for seed in busy_runs}
    first, second, third = starts
    ahead = train(trainer, BUSY, BUSY_RECIPE, [starts[first]], until(3))
    between = train(trainer, BUSY, BUSY_RECIPE, [starts[third]], until(1))
    seen: list[tuple[int, set[int]]] = []

    def note(progress: EpochProgress) -> bool:
        seen.append((progress.epoch, {run_seeds[i] for i in progress.metrics}))
        return True

    run_seeds = (first, second, third)
    states = train(trainer, BUSY, BUSY_RECIPE, [*ahead, starts[second], *between], note)
    assert [state.seed for state in states] == [first, second, third]
    assert [bits(state) for state in states] == [bits(busy_runs[state.seed]) for state in states]
    assert seen == [
        (1, {second}),
        (2, {second, third}),
        (3, {second, third}),
        (4, {first, second, third}),
    ]


def test_a_finished_run_is_handed_back_untouched(
    trainer: Trainer, busy_runs: dict[int, RunState]
) -> None:
    def unexpected(progress: EpochProgress) -> bool:
        raise AssertionError(progress)

    states = train(trainer, BUSY, BUSY_RECIPE, list(busy_runs.values()), unexpected)
    assert states == tuple(busy_runs.values())


def test_a_finished_run_beside_a_new_one_is_not_trained_on(
    trainer: Trainer, busy_runs: dict[int, RunState]
) -> None:
    first, second, _ = busy_runs
    states = [busy_runs[first], Trainer.start(BUSY, BUSY_RECIPE, second)]
    finished, caught_up = train(trainer, BUSY, BUSY_RECIPE, states, go_on)
    assert bits(finished) == bits(busy_runs[first])
    assert bits(caught_up) == bits(busy_runs[second])


def test_a_snapshot_is_the_state_at_that_epoch(trainer: Trainer) -> None:
    taken: list[tuple[RunState, ...]] = []

    def keep(progress: EpochProgress) -> bool:
        taken.append(tuple(progress.snapshot().values()))
        return True

    states = [Trainer.start(BUSY, BUSY_RECIPE, seed) for seed in (3, 11)]
    final = train(trainer, BUSY, BUSY_RECIPE, states, keep)
    assert [[state.epoch for state in each] for each in taken] == [[n, n] for n in (1, 2, 3, 4)]
    assert [bits(state) for state in taken[-1]] == [bits(state) for state in final]
    stopped = train(trainer, BUSY, BUSY_RECIPE, states, until(2))
    assert [bits(state) for state in taken[1]] == [bits(state) for state in stopped]


def test_being_told_to_stop_stops_at_that_epoch(trainer: Trainer) -> None:
    calls: list[int] = []

    def stop_at_2(progress: EpochProgress) -> bool:
        calls.append(progress.epoch)
        return progress.epoch < 2

    states = [Trainer.start(BUSY, BUSY_RECIPE, seed) for seed in (3, 11)]
    assert [s.epoch for s in train(trainer, BUSY, BUSY_RECIPE, states, stop_at_2)] == [2, 2]
    assert calls == [1, 2]


# --- evaluation ---


@pytest.mark.parametrize("count", [1, 999, 1_000, 1_001, 1_234])
def test_every_image_is_scored_once(
    trainer: Trainer, validation_part: Part, count: int, train_part: Part
) -> None:
    """Against plain Keras, on sizes around the block of 1,000."""
    (state,) = trained(trainer, SMALL, Recipe(epochs=1, batch_size=32), [3])
    part = Part(validation_part.images[:count], validation_part.labels[:count])
    (score,) = trainer.evaluate(runs_of(SMALL, Recipe(epochs=1), [state]), part)
    probabilities = with_weights(SMALL, state).predict(part.images / 255, verbose=0)
    assert score.classes is not None
    assert np.array_equal(score.classes, probabilities.argmax(axis=1))
    assert score.accuracy == (probabilities.argmax(axis=1) == part.labels).mean()
    right = probabilities[np.arange(count), part.labels].astype(np.float64)
    assert score.loss == pytest.approx(-np.log(right).mean(), rel=1e-5)


def test_a_single_image_more_moves_the_score(trainer: Trainer, validation_part: Part) -> None:
    state = Trainer.start(SMALL, Recipe(epochs=1), 3)
    (score,) = trainer.evaluate(runs_of(SMALL, Recipe(epochs=1), [state]), validation_part)
    assert score.classes is not None
    labels = validation_part.labels.copy()
    labels[-1] = score.classes[-1] if score.classes[-1] != labels[-1] else (labels[-1] + 1) % 10
    changed = Part(validation_part.images, labels)
    (moved,) = trainer.evaluate(runs_of(SMALL, Recipe(epochs=1), [state]), changed)
    assert abs((moved.accuracy or 0) - (score.accuracy or 0)) == pytest.approx(1 / len(labels))


def test_the_metrics_of_an_epoch_are_the_score_of_its_weights(
    trainer: Trainer, validation_part: Part, busy_runs: dict[int, RunState]
) -> None:
    scores = trainer.evaluate(runs_of(BUSY, BUSY_RECIPE, list(busy_runs.values())), validation_part)
    for score, (seed, state) in zip(scores, busy_runs.items(), strict=True):
        last = state.history[-1]
        assert score.seed == seed
        assert score.accuracy == last.val_accuracy
        assert score.loss == pytest.approx(last.val_loss, rel=1e-6)


def test_the_training_metrics_are_means_over_the_steps_of_the_epoch(train_part: Part) -> None:
    """One epoch by hand, in float64: plain cross-entropy before each step, each image once."""
    recipe = Recipe(epochs=1, batch_size=300, optimizer=Sgd(learning_rate=0.1))
    network = Mlp(hidden=(), l2=5.0)  # a penalty on hidden kernels, of which there are none
    state = Trainer.start(network, recipe, 3)
    trainer = Trainer(train_part, None, Device("CPU", "/CPU:0", 1))
    (after,) = train(trainer, network, recipe, [state], go_on)
    kernel, bias = (w.astype(np.float64) for w in state.weights)
    losses: list[float] = []
    hits: list[bool] = []
    order = epoch_order(3, 0, len(train_part))
    for rows in np.split(order, [300, 600]):
        images = train_part.images[rows].reshape(len(rows), -1) / 255
        labels = train_part.labels[rows]
        scores = images @ kernel + bias
        odds = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares = odds / odds.sum(axis=1, keepdims=True)
        losses += list(-np.log(shares[np.arange(len(rows)), labels]))
        hits += list(scores.argmax(axis=1) == labels)
        slope = (shares - np.eye(10)[labels]) / len(rows)
        kernel, bias = kernel - 0.1 * images.T @ slope, bias - 0.1 * slope.sum(axis=0)
    (metrics,) = after.history
    assert metrics.train_loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert metrics.train_accuracy == np.mean(hits)
    assert after.weights[0] == pytest.approx(kernel, abs=1e-6)
    assert metrics == EpochMetrics(1, metrics.train_loss, metrics.train_accuracy, None, None)


def test_metrics_leave_the_l2_penalty_out(trainer: Trainer, validation_part: Part) -> None:
    """Keras would add about 8 here."""
    network = Mlp(hidden=(64,), l2=0.05)
    recipe = Recipe(epochs=1, batch_size=405, optimizer=Sgd(learning_rate=1e-9))
    (state,) = trained(trainer, network, recipe, [3])
    (metrics,) = state.history
    penalty = 0.05 * (state.weights[0].astype(np.float64) ** 2).sum()
    assert penalty > 5
    assert metrics.train_loss == pytest.approx(math.log(10), abs=0.5)
    assert metrics.val_loss == pytest.approx(math.log(10), abs=0.5)


def test_without_validation_images_training_is_the_same(
    train_part: Part, cpu: Device, busy_runs: dict[int, RunState]
) -> None:
    (state,) = trained(Trainer(train_part, None, cpu), BUSY, BUSY_RECIPE, [11])
    assert [w.tobytes() for w in state.weights] == [w.tobytes() for w in busy_runs[11].weights]
    assert all(m.val_loss is None and m.val_accuracy is None for m in state.history)


def test_batches_hold_every_image_once_and_mark_what_is_missing() -> None:
    orders = np.stack([np.arange(10), np.arange(10)[::-1]]).astype(np.int32)
    plan = batch_rows(orders, 4)
    assert plan.shape == (3, 2, 4)
    assert plan[:, 0].ravel().tolist() == [*range(10), -1, -1]
    assert plan[:, 1].ravel().tolist() == [*range(9, -1, -1), -1, -1]


@pytest.mark.parametrize("batch_size", [1_000, 810, 809])
def test_a_batch_may_hold_all_images_or_more(trainer: Trainer, batch_size: int) -> None:
    (state,) = trained(trainer, SMALL, Recipe(epochs=1, batch_size=batch_size), [3])
    assert state.history[0].train_loss == pytest.approx(math.log(10), abs=0.5)


# --- what is compiled, and when ---


def test_what_are_only_numbers_shares_one_compilation(trainer: Trainer) -> None:
    """L2 factor, learning rate, momentum, dropout rate, seed, number of seeds, epochs."""
    network = Mlp(hidden=(13,), l2=1e-3, dropout=0.1)
    recipe = Recipe(epochs=1, batch_size=32, optimizer=Sgd(learning_rate=0.1, momentum=0.5))
    traces = epoch_program(program_spec(network, recipe, CPU)).experimental_get_tracing_count
    trained(trainer, network, recipe, [3])
    assert traces() == 1
    trained(trainer, replace(network, l2=0.0), recipe, [4])
    trained(trainer, replace(network, l2=2e-4, dropout=0.7), replace(recipe, epochs=2), [5, 6])
    faster = replace(recipe, optimizer=Sgd(learning_rate=0.2, momentum=0.9))
    trained(trainer, network, faster, [3])
    assert traces() == 1
    assert epoch_program(program_spec(network, faster, CPU)).experimental_get_tracing_count() == 1


def test_these_numbers_do_take_effect_without_a_new_compilation(trainer: Trainer) -> None:
    network = Mlp(hidden=(13,), l2=1e-3, dropout=0.1)
    recipe = Recipe(epochs=1, batch_size=32, optimizer=Sgd(learning_rate=0.1, momentum=0.5))
    variants = [
        (network, recipe),
        (replace(network, l2=1e-2), recipe),
        (replace(network, dropout=0.4), recipe),
        (network, replace(recipe, optimizer=Sgd(learning_rate=0.2, momentum=0.5))),
        (network, replace(recipe, optimizer=Sgd(learning_rate=0.1, momentum=0.6))),
    ]
    kernels = {trained(trainer, *variant, [3])[0].weights[0].tobytes() for variant in variants}
    assert len(kernels) == len(variants)


@pytest.mark.parametrize(
    ("network", "optimizer", "schedule"),
    [
        (Mlp(hidden=(14,)), Sgd(), "constant"),
        (Mlp(hidden=(13, 13)), Sgd(), "constant"),
        (Mlp(hidden=(13,), activation="tanh"), Sgd(), "constant"),
        (Mlp(hidden=(13,), dropout=0.1), Sgd(), "constant"),
        (Mlp(hidden=(13,), input_dropout=0.1), Sgd(), "constant"),
        (Mlp(hidden=(13,)), Sgd(momentum=0.1), "constant"),
        (Mlp(hidden=(13,)), Sgd(momentum=0.1, nesterov=True), "constant"),
        (Mlp(hidden=(13,)), Adam(), "constant"),
        (Mlp(hidden=(13,)), Sgd(), "cosine"),
    ],
)
def test_another_structure_has_another_program(
    network: Mlp, optimizer: Optimizer, schedule: str
) -> None:
    plain = program_spec(Mlp(hidden=(13,)), Recipe(epochs=1), CPU)
    other = program_spec(network, Recipe(epochs=1, optimizer=optimizer, schedule=schedule), CPU)  # type: ignore[arg-type]
    assert other != plain


def test_another_batch_size_is_compiled_anew_and_right(trainer: Trainer) -> None:
    network = Mlp(hidden=(15,))
    recipes = [Recipe(epochs=1, batch_size=size) for size in (32, 64)]
    first, second = (trained(trainer, network, recipe, [3])[0] for recipe in recipes)
    assert first.weights[0].tobytes() != second.weights[0].tobytes()
    assert (
        epoch_program(program_spec(network, recipes[0], CPU)).experimental_get_tracing_count() == 2
    )


def test_programs_that_were_dropped_are_made_again(trainer: Trainer) -> None:
    before = trained(trainer, SMALL, Recipe(epochs=1, batch_size=32), [3])
    epoch_program.cache_clear()
    scoring_program.cache_clear()
    after = trained(trainer, SMALL, Recipe(epochs=1, batch_size=32), [3])
    assert bits(before[0]) == bits(after[0])


# --- divergence and learning ---


def test_divergence_names_the_seed_and_the_epoch(trainer: Trainer) -> None:
    network = Mlp(hidden=(24, 16), l2=1e-2)
    recipe = Recipe(epochs=3, batch_size=32, optimizer=Sgd(learning_rate=1e6))
    with pytest.raises(Diverged, match=r"^the loss of seed 11 is no longer finite in epoch 1$"):
        trained(trainer, network, recipe, [11])


def test_divergence_in_the_last_step_is_noticed(train_part: Part, cpu: Device) -> None:
    """Also where no validation images are there to show it, as in a confirmation."""
    network = Mlp(hidden=(24,), l2=1e38)
    recipe = Recipe(epochs=1, batch_size=1_000, optimizer=Sgd(learning_rate=1e3))
    with pytest.raises(Diverged, match="seed 11"):
        trained(Trainer(train_part, None, cpu), network, recipe, [11])


def test_training_learns_real_digits(cpu: Device) -> None:
    images, labels, _, _ = embedded.read_embedded()
    parts = Part(images[:3_000], labels[:3_000]), Part(images[3_000:], labels[3_000:])
    recipe = Recipe(epochs=5, batch_size=32, optimizer=Sgd(learning_rate=0.1))
    (plain,) = trained(Trainer(*parts, cpu), Mlp(hidden=(64, 64)), recipe, [3])
    dropout = Mlp(hidden=(64, 64), dropout=0.2, input_dropout=0.1)
    (masked,) = trained(Trainer(*parts, cpu), dropout, recipe, [3])
    for state in (plain, masked):
        first, last = state.history[0], state.history[-1]
        assert (last.val_accuracy or 0) > 0.88
        assert (last.train_accuracy or 0) > (first.train_accuracy or 1) + 0.15
        assert last.train_loss < first.train_loss / 2
    # Masks make training harder and are off in validation.
    share = masked.history[-1].train_accuracy or 1
    assert share < (plain.history[-1].train_accuracy or 0) - 0.02
    assert share < (masked.history[-1].val_accuracy or 0)


def test_a_start_has_zero_slots_of_the_right_number() -> None:
    for optimizer, sorts in ((Sgd(), 0), (Sgd(momentum=0.9), 1), (Adam(), 2)):
        state = Trainer.start(BUSY, Recipe(epochs=1, optimizer=optimizer), 3)
        assert [slot.shape for slot in state.slots] == [w.shape for w in state.weights] * sorts
        assert not any(slot.any() for slot in state.slots)
        assert (state.epoch, state.history) == (0, ())


def test_a_start_has_the_kernels_of_its_seed_and_no_biases() -> None:
    start = Trainer.start(BUSY, BUSY_RECIPE, 3)
    wanted = forward.initial_weights(BUSY.layers, 3)
    assert all(np.array_equal(a, b) for a, b in itertools.zip_longest(start.weights, wanted))
    assert not any(bias.any() for bias in start.weights[1::2])


def test_scoring_reaches_past_a_block() -> None:
    """The sizes above mean something only while a block holds 1,000 images."""
    assert program._SCORED_AT_ONCE == 1_000  # noqa: SLF001
