"""Which search space `suggest` declares, which it may not, and which planned points lie in it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from mnist_tune.definitions.space import Space, check_point, holds, probe
from mnist_tune.errors import DefinitionError
from mnist_tune.networks import Mlp
from mnist_tune.study import Configuration
from tests.definitions.definition_samples import network, study_of

RARE = {"a": (8,), "b": (9,), "c": (10,), "d": (11,), "e": (12,), "f": (13,), "g": (14,)}


def conditional(trial: Any) -> Mlp:
    depth = trial.suggest_int("depth", 0, 3)
    return Mlp(hidden=tuple(trial.suggest_int(f"width_{i}", 8, 64) for i in range(depth)))


def refusal(suggest: Callable[[Any], Any]) -> str:
    with pytest.raises(DefinitionError) as caught:
        probe(study_of(suggest))
    assert str(caught.value).isprintable()
    return str(caught.value)


class TestProbe:
    def test_conditional_parameters_are_found(self) -> None:
        space = probe(study_of(conditional))
        assert list(space.parameters) == ["depth", "width_0", "width_1", "width_2"]
        assert space.parameters["depth"] == IntDistribution(0, 3)
        assert space.parameters["width_2"] == IntDistribution(8, 64)

    def test_rare_branch_is_found_and_shown(self) -> None:
        def suggest(trial: Any) -> Mlp:
            if trial.suggest_float("x", 0, 1) > 0.9:
                return Mlp(hidden=(trial.suggest_int("rare", 5, 9),))
            return network()

        space = probe(study_of(suggest))
        assert list(space.parameters) == ["x", "rare"]
        assert any("rare" in values for values, _ in space.examples)

    def test_each_choice_and_each_of_few_integers_is_shown(self) -> None:
        def suggest(trial: Any) -> Mlp:
            trial.suggest_int("few", 1, 7)
            return Mlp(hidden=RARE[trial.suggest_categorical("size", list(RARE))])

        examples = probe(study_of(suggest)).examples
        assert {values["size"] for values, _ in examples} == set(RARE)
        assert {values["few"] for values, _ in examples} == set(range(1, 8))

    def test_kinds_and_ends(self) -> None:
        def suggest(trial: Any) -> Mlp:
            trial.suggest_float("a", 0, 1)
            trial.suggest_float("b", 1e-6, 1e-3, log=True)
            trial.suggest_float("c", 0.1, 0.9, step=0.2)
            trial.suggest_int("d", 3, 9, step=2)
            trial.suggest_categorical("e", ["relu", None, True, 3, 0.5])
            return network()

        space = probe(study_of(suggest))
        assert space.parameters == {
            "a": FloatDistribution(0, 1),
            "b": FloatDistribution(1e-6, 1e-3, log=True),
            "c": FloatDistribution(0.1, 0.9, step=0.2),
            "d": IntDistribution(3, 9, step=2),
            "e": CategoricalDistribution(("relu", None, True, 3, 0.5)),
        }
        lowest, highest = (values for values, _ in space.examples[:2])
        assert lowest == {"a": 0, "b": 1e-6, "c": 0.1, "d": 3, "e": "relu"}
        assert highest == {"a": 1, "b": 1e-3, "c": 0.9, "d": 9, "e": 0.5}

    def test_examples_lie_in_the_space_and_say_what_they_make(self) -> None:
        def suggest(trial: Any) -> Configuration:
            width = trial.suggest_int("width", 8, 64, step=8)
            return Configuration(
                network=Mlp(hidden=(width,), dropout=trial.suggest_float("p", 0.1, 0.7, step=0.1)),
                learning_rate=trial.suggest_float("rate", 1e-3, 1, log=True),
            )

        study = study_of(suggest)
        space = probe(study)
        assert len(space.examples) >= 8
        for values, made in space.examples:
            check_point(study, space, values)
            assert made["network"]["hidden"] == [values["width"]]
            assert made["learning_rate"] == values["rate"]
            assert "batch_size" not in made

    def test_values_have_the_types_that_optuna_gives(self) -> None:
        def suggest(trial: Any) -> Mlp:
            assert type(trial.suggest_float("a", 0, 1)) is float
            assert type(trial.suggest_float("b", 0, 3, step=1)) is float
            assert type(trial.suggest_int("c", 1, 9, log=True)) is int
            return network()

        probe(study_of(suggest))

    def test_same_question_twice_has_the_same_answer(self) -> None:
        def suggest(trial: Any) -> Mlp:
            assert trial.suggest_int("a", 0, 10**9) == trial.suggest_int("a", 0, 10**9)
            return network()

        assert list(probe(study_of(suggest)).parameters) == ["a"]

    def test_no_parameter_is_a_space_too(self) -> None:
        assert probe(study_of(network)).parameters == {}


REFUSED: list[tuple[Callable[[Any], Any], str]] = [
    (
        lambda t: t.suggest_float("x", 1, 0),
        "parameter 'x': `low <= high` must hold, but got (low=1.0, high=0.0); mend",
    ),
    (
        lambda t: t.suggest_int("x", 9, 8),
        "parameter 'x': `low <= high` must hold, but got (low=9, high=8)",
    ),
    (lambda t: t.suggest_float("x", 0, float("inf")), "parameter 'x' runs from 0.0 to inf"),
    (lambda t: t.suggest_float("x", float("nan"), 1), "parameter 'x' runs from nan to 1.0"),
    (lambda t: t.suggest_float("x", 0, 1, log=True), "'x': `low > 0` must hold for `log=True`"),
    (lambda t: t.suggest_float("x", -1, 1, log=True), "'x': `low > 0` must hold for `log=True`"),
    (lambda t: t.suggest_int("x", 0, 8, log=True), "'x': `low >= 1` must hold for `log=True`"),
    (lambda t: t.suggest_float("x", 0, 1, step=0), "'x': `step > 0` must hold, but got step=0"),
    (lambda t: t.suggest_int("x", 0, 4, step=-1), "'x': `step > 0` must hold"),
    (lambda t: t.suggest_float("x", 1, 2, step=1, log=True), "'x': The parameter `step` is not"),
    (lambda t: t.suggest_int("x", 1, 9, step=2, log=True), "only accept step is 1 when `log`"),
    (lambda t: t.suggest_int("x", 32, 1024, step=100), "It will be replaced with [32, 932]"),
    (lambda t: t.suggest_float("x", 0, 1, step=0.3), "It will be replaced with [0.0, 0.9]"),
    (
        lambda t: t.suggest_categorical("x", []),
        "parameter 'x': The `choices` must contain one or more",
    ),
    (lambda t: t.suggest_categorical("x", {"a", "b"}), "give a list or a tuple"),
    (lambda t: t.suggest_categorical("x", "relu"), "give a list or a tuple"),
    (lambda t: t.suggest_categorical("x", [(64, 64)]), "choice (64, 64) cannot be stored"),
    (lambda t: t.suggest_categorical("x", [float("nan")]), "choice nan cannot be stored"),
    (lambda t: t.suggest_float("x", "a", "b"), "suggest(trial) raised ValueError: "),
    (lambda t: t.suggest_float("x", 0), ": trial.suggest_float needs high=…"),
    (
        lambda t: t.suggest_int("x", 0, hihg=1),
        "trial.suggest_int has no argument 'hihg'; did you mean high?",
    ),
    (lambda t: Mlp(hidden=(8,), activation="gleu"), ": Mlp activation='gleu': give one of relu"),  # type: ignore[arg-type]
    (lambda t: t.suggest_uniform("x", 0, 1), "set_user_attr, not trial.suggest_uniform"),
    (lambda t: 1 / 0, "suggest(trial) raised ZeroDivisionError: division by zero, in line "),
    (lambda t: [][t.suggest_int("x", 3, 9)], "with {'x': 3}"),
    (lambda t: None, "suggest(trial) returned None: return a network"),
    (lambda t: Mlp, "suggest(trial) returned <class"),
    (lambda t: Mlp(hidden=(0,)), "Mlp hidden=(0,): give integers from 1 to 65,536 in brackets"),
    (lambda t: Mlp(hidden=64), "Mlp hidden=64: give integers from 1 to 65,536 in "),  # type: ignore[arg-type]
    (lambda t: Mlp(hiden=(64,)), ": Mlp has no argument 'hiden'; did you mean hidden?"),  # type: ignore[call-arg]
    (lambda t: Mlp(), ": Mlp needs hidden=…"),  # type: ignore[call-arg]
    (lambda t: t.set_user_attr("epochs", 3), "user attribute 'epochs': give another name"),
    (lambda t: t.set_user_attr("a", {1}), "user attribute 'a': Object of type set is not JSON"),
    (lambda t: Configuration(network=network(), batch_size=0), "Recipe batch_size=0"),
    (lambda t: Configuration(network=network(), learning_rate=-1), "Sgd learning_rate=-1"),
    (lambda t: undefined_name, "name 'undefined_name' is not defined; define or import it"),  # type: ignore[name-defined]  # noqa: F821
]


@pytest.mark.parametrize(("suggest", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_one_clear_line(suggest: Callable[[Any], Any], message: str) -> None:
    assert message in refusal(suggest)


class TestContradictions:
    def test_two_ranges_in_one_trial(self) -> None:
        def suggest(trial: Any) -> Mlp:
            return network(trial.suggest_int("x", 1, 2), trial.suggest_int("x", 1, 3))

        assert "'x' is asked for twice with different ranges" in refusal(suggest)

    def test_two_ranges_in_different_trials(self) -> None:
        def suggest(trial: Any) -> Mlp:
            return network(trial.suggest_int("x", 1, 2 + trial.suggest_int("depth", 1, 3)))

        assert "'x' has different ranges in different trials; use two names" in refusal(suggest)

    def test_failure_in_one_branch_only(self) -> None:
        def suggest(trial: Any) -> Mlp:
            if trial.suggest_categorical("kind", ["a", "b", "c"]) == "b":
                raise ValueError("no\nsuch\tkind")
            return network()

        message = refusal(suggest)
        assert "suggest(trial) raised ValueError: no such kind, in line " in message
        assert "with {'kind': 'b'}" in message

    def test_answer_that_depends_on_more_than_the_trial(self) -> None:
        source = random.Random(0)

        def suggest(trial: Any) -> Mlp:
            return Mlp(hidden=(source.randint(1, 10**4),))

        assert "let its answer depend on the trial alone" in refusal(suggest)

    def test_question_that_depends_on_more_than_the_trial(self) -> None:
        calls: list[int] = []

        def suggest(trial: Any) -> Mlp:
            calls.append(0)
            return network(trial.suggest_int("x", 1, 5) if len(calls) % 2 else 0)

        assert "let its answer depend on the trial alone" in refusal(suggest)


class TestPlannedPoints:
    @pytest.fixture
    def space(self) -> Space:
        return probe(study_of(conditional))

    @pytest.mark.parametrize(
        ("point", "message"),
        [
            ({"depth": 0, "l2": 1e-4}, "there is no parameter 'l2'; there is depth, width_0"),
            ({"depth": 4}, "depth=4 is outside"),
            ({"depth": -1}, "depth=-1 is outside"),
            ({"depth": 1.0, "width_0": 8}, "depth=1.0 is outside"),
            ({"depth": True, "width_0": 8}, "depth=True is outside"),
            ({"depth": "1"}, "depth='1' is outside"),
            ({"depth": None}, "depth=None is outside"),
            ({}, "it says nothing of 'depth'; give each parameter"),
            ({"depth": 2, "width_0": 8}, "it says nothing of 'width_1'"),
            ({"depth": 1, "width_0": 8, "width_1": 9}, "'width_1' is not used with the other"),
        ],
    )
    def test_refused_in_one_line(self, space: Space, point: dict[str, Any], message: str) -> None:
        with pytest.raises(DefinitionError) as caught:
            check_point(study_of(conditional), space, point)
        assert str(caught.value).startswith(f"planned point {point}: ")
        assert message in str(caught.value)

    def test_points_in_the_space_are_accepted(self, space: Space) -> None:
        for point in ({"depth": 0}, {"depth": 3, "width_0": 8, "width_1": 64, "width_2": 9}):
            check_point(study_of(conditional), space, point)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e-9, 1 + 1e-9])
    def test_numbers_outside(self, value: float) -> None:
        assert not holds(FloatDistribution(0, 1), value)

    def test_integer_will_do_where_a_number_is_asked_for(self) -> None:
        assert holds(FloatDistribution(0, 1), 1)

    def test_without_any_parameter(self) -> None:
        with pytest.raises(DefinitionError, match="there is no parameter at all"):
            check_point(study_of(network), probe(study_of(network)), {"l2": 1})

    @pytest.mark.parametrize(("value", "inside"), [(0.3, True), (0.1 + 0.2, True), (0.35, False)])
    def test_numbers_lie_on_steps(self, value: float, inside: bool) -> None:
        assert holds(FloatDistribution(0, 1, step=0.1), value) == inside


def test_accepted_spaces_are_accepted_by_optuna_without_a_warning() -> None:
    def suggest(trial: Any) -> Mlp:
        trial.suggest_float("a", 0, 1, step=0.1)
        trial.suggest_float("b", 0.1, 0.7, step=0.2)
        trial.suggest_int("c", 32, 932, step=100)
        trial.suggest_int("d", 1, 9, step=1, log=True)
        return network(trial.suggest_categorical("e", [None, "a", 1.5, False]))

    study = study_of(suggest)
    space = probe(study)
    sampler = optuna.samplers.RandomSampler(seed=0)
    theirs = optuna.create_study(sampler=sampler, storage=optuna.storages.InMemoryStorage())
    for values, _ in space.examples:
        theirs.enqueue_trial(dict(values))
    for values, _ in space.examples:
        trial = theirs.ask()
        study.configuration(trial)
        assert trial.params == values


@pytest.mark.parametrize(
    ("suggest", "words"),
    [
        (lambda trial: trial.suggest_float(3, 0, 1), "parameter 3: its name is no printable text"),
        (lambda trial: trial.suggest_float("\0", 0, 1), "its name is no printable text"),
        (lambda trial: trial.suggest_categorical("x", ["\ud800"]), "cannot be stored"),
        (lambda trial: trial.suggest_float("x", 0.1, 1, log="yes"), "has log='yes'"),
        (lambda trial: trial.suggest_float("x", 0, 1, step="1"), "has step='1'"),
    ],
)
def test_what_cannot_be_stored_is_refused(suggest: Callable[[Any], Any], words: str) -> None:
    assert words in refusal(suggest)


@pytest.mark.parametrize("error", [BaseException, GeneratorExit, SystemExit])
def test_whatever_suggest_raises_is_a_fault_of_the_study_file(error: type[BaseException]) -> None:
    def suggest(trial: Any) -> Mlp:
        raise error("so")

    assert f"suggest(trial) raised {error.__name__}: so" in refusal(suggest)


def test_ctrl_c_in_suggest_is_ctrl_c() -> None:
    def suggest(trial: Any) -> Mlp:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe(study_of(suggest))


def test_a_learning_rate_that_cannot_even_be_shown() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    def suggest(trial: Any) -> Configuration:
        return Configuration(network=network(), learning_rate=Broken())  # type: ignore[arg-type]

    assert "suggest(trial) raised ZeroDivisionError" in refusal(suggest)


class TestPruning:
    """`suggest` may raise `optuna.TrialPruned` where a configuration is not worth its time."""

    @staticmethod
    def small_ones(trial: Any) -> Mlp:
        width = trial.suggest_int("width", 8, 64)
        if width > 32:
            raise optuna.TrialPruned
        return Mlp(hidden=(width,), dropout=trial.suggest_float("rate", 0, 0.5))

    def test_it_is_part_of_the_space(self) -> None:
        space = probe(study_of(self.small_ones))
        assert list(space.parameters) == ["width", "rate"]
        assert space.examples[1] == ({"width": 64}, {"pruned": True})
        assert space.common_numbers == ("width", "rate")

    def test_a_planned_point_may_be_pruned(self) -> None:
        study = study_of(self.small_ones)
        check_point(study, probe(study), {"width": 64, "rate": 0.1})

    def test_user_attributes_are_no_parameters(self) -> None:
        def suggest(trial: Any) -> Mlp:
            trial.set_user_attr("family", {"depth": 2})
            return network()

        assert probe(study_of(suggest)).parameters == {}


def test_numbers_that_every_trial_has() -> None:
    def suggest(trial: Any) -> Mlp:
        trial.suggest_categorical("kind", ["a", "b"])
        return conditional(trial)

    assert probe(study_of(suggest)).common_numbers == ("depth",)
