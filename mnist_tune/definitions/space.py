"""The search space of a study, found by calling `suggest` with recording trials."""

from __future__ import annotations

import json
import math
import random
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna import TrialPruned, create_trial
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)

from mnist_tune.checks import is_integer, is_number
from mnist_tune.definitions.loading import cause_of, lines_of, reason_of
from mnist_tune.errors import DefinitionError
from mnist_tune.networks import network_to_json
from mnist_tune.study import OWN_ATTRIBUTES, Configuration, Point, Study

_DRAWS = 64  # enough to meet each branch of a conditional space whose rarest has a share of 10 % (0.9^64 = 0.1 %)
_EXAMPLES = 8  # at least; further ones show choices and branches that these do not
_FEW = 16
PRUNED = {"pruned": True}  # what `suggest` makes of values that it does not want to be trained


@dataclass(frozen=True, slots=True)
class Space:
    """All parameters that `suggest` may ask for, and a few answers that show what it does with them.

    Attributes:
        parameters: name → Optuna's distribution, in the order met.
        examples: pairs of parameter values and the JSON description of what they make.
    """

    parameters: dict[str, BaseDistribution]
    examples: tuple[tuple[Point, dict[str, Any]], ...]

    @property
    def common_numbers(self) -> tuple[str, ...]:
        """Parameters that are numbers and that no condition keeps from any trial."""
        return tuple(
            name
            for name, found in self.parameters.items()
            if not isinstance(found, CategoricalDistribution)
            and all(name in values for values, made in self.examples if made != PRUNED)
        )


def space_to_json(parameters: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """The parameters by name, as Optuna writes distributions."""
    return {name: json.loads(distribution_to_json(found)) for name, found in parameters.items()}


class _Probe:
    """A trial that chooses by a function and records which parameters it was asked for."""

    def __init__(self, choose: Callable[[str, BaseDistribution], Any]) -> None:
        self._choose = choose
        self.asked: dict[str, BaseDistribution] = {}
        self.values: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            "a study may use trial.suggest_float, suggest_int, suggest_categorical and set_user_attr, "
            f"not trial.{name}"
        )

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        _check_types(name, step, log)
        low, high = float(low), float(high)
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DefinitionError(
                f"parameter {name!r} runs from {low} to {high}; give finite ends, the lower one first"
            )
        return float(self._ask(name, lambda: FloatDistribution(low, high, log=log, step=step)))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        _check_types(name, step, log)
        low, high = int(low), int(high)
        return int(self._ask(name, lambda: IntDistribution(low, high, log=log, step=step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        if isinstance(choices, str) or not isinstance(choices, Sequence):
            raise DefinitionError(
                f"parameter {name!r} has choices {choices!r}; give a list or a tuple, whose order is fixed"
            )
        for choice in choices:
            if not _storable(choice):
                raise DefinitionError(
                    f"parameter {name!r}: choice {choice!r} cannot be stored; "
                    "give names or numbers and look the value up"
                )
        return self._ask(name, lambda: CategoricalDistribution(choices))

    def set_user_attr(self, key: str, value: Any) -> None:
        if not (_is_text(key) and key.isprintable()) or key in OWN_ATTRIBUTES:
            raise DefinitionError(
                f"user attribute {key!r}: give another name; mnist_tune sets {', '.join(OWN_ATTRIBUTES)}"
            )
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise DefinitionError(f"user attribute {key!r}: {error}; give JSON values") from error

    @property
    def facets(self) -> set[Any]:
        """Which branches the answer may have taken."""
        return {frozenset(self.asked)} | {
            (name, repr(_facet(found, self.values[name]))) for name, found in self.asked.items()
        }

    def _ask(self, name: str, make: Callable[[], BaseDistribution]) -> Any:
        if not (_is_text(name) and name.isprintable()):
            raise DefinitionError(f"parameter {name!r}: its name is no printable text; give it one")
        distribution = _made(name, make)
        if self.asked.setdefault(name, distribution) != distribution:
            raise DefinitionError(
                f"parameter {name!r} is asked for twice with different ranges; use two names"
            )
        if name not in self.values:
            self.values[name] = self._choose(name, distribution)
        return self.values[name]


def _check_types(name: str, step: object, log: object) -> None:
    """Raise where Optuna would take a value that it cannot store."""
    if not isinstance(log, bool):
        raise DefinitionError(f"parameter {name!r} has log={log!r}; give True or False")
    if step is not None and not is_number(step):
        raise DefinitionError(f"parameter {name!r} has step={step!r}; give a number")


def _made(name: str, make: Callable[[], BaseDistribution]) -> BaseDistribution:
    """A distribution, or Optuna's reason why there is none; what it would change is refused too."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            return make()
        except (TypeError, ValueError, UserWarning) as error:
            cause = cause_of(error).rstrip(".")
            raise DefinitionError(f"parameter {name!r}: {cause}; mend its range") from error


def probe(study: Study) -> Space:
    """Call `suggest` with the ends of all ranges and with fixed random draws.

    Raises:
        DefinitionError: `suggest` fails, or declares a range that cannot be searched.
    """
    parameters: dict[str, BaseDistribution] = {}
    examples: list[tuple[Point, dict[str, Any]]] = []
    shown: set[Any] = set()
    choosers = [_lowest, _highest, *(_drawn(random.Random(i)) for i in range(_DRAWS))]
    for choose in choosers:
        probed, configuration = _called(study, choose)
        for name, distribution in probed.asked.items():
            if parameters.setdefault(name, distribution) != distribution:
                raise DefinitionError(
                    f"parameter {name!r} has different ranges in different trials; use two names"
                )
        made = describe(configuration)
        if len(examples) < _EXAMPLES or not probed.facets <= shown:
            _check_repeatable(study, probed, made)
            examples.append((probed.values, made))
            shown |= probed.facets
    return Space(parameters, tuple(examples))


def _check_repeatable(study: Study, probed: _Probe, made: dict[str, Any]) -> None:
    again, configuration = _called(
        study, lambda name, found: probed.values.get(name, _lowest(name, found))
    )
    if (again.values, describe(configuration)) != (probed.values, made):
        raise DefinitionError(
            f"suggest(trial) answered twice to {probed.values}, each time differently; "
            "let its answer depend on the trial alone"
        )


def check_point(study: Study, space: Space, point: Point) -> None:
    """Raise unless a planned point is inside the space and its trial would ask for all of it.

    Raises:
        DefinitionError: an unknown name, a value out of range, or a value that is not used.
    """
    for name, value in point.items():
        if name not in space.parameters:
            raise DefinitionError(
                f"planned point {dict(point)}: there is no parameter {name!r}; there is {_listed(space)}"
            )
        if not holds(space.parameters[name], value):
            raise DefinitionError(
                f"planned point {dict(point)}: {name}={value!r} is outside {space.parameters[name]}"
            )

    def given(name: str, _found: BaseDistribution) -> Any:
        if name not in point:
            raise DefinitionError(
                f"planned point {dict(point)}: it says nothing of {name!r}; give each parameter that it needs"
            )
        return point[name]

    probed, configuration = _called(study, given)
    for name in point:
        if name not in probed.values and configuration is not None:
            raise DefinitionError(
                f"planned point {dict(point)}: {name!r} is not used with the other values; leave it out"
            )


def describe(configuration: Configuration | None) -> dict[str, Any]:
    """What a configuration is, as JSON: the network, and what it changes in the recipe."""
    if configuration is None:
        return PRUNED
    changes = {
        name: value
        for name in ("learning_rate", "batch_size")
        if (value := getattr(configuration, name)) is not None
    }
    return {"network": network_to_json(configuration.network), **changes}


def _called(
    study: Study, choose: Callable[[str, BaseDistribution], Any]
) -> tuple[_Probe, Configuration | None]:
    """Call `suggest`; its configuration is None if it raises `optuna.TrialPruned`."""
    probed = _Probe(choose)
    try:
        configuration = study.configuration(probed)
        configuration.recipe(study.recipe)  # raises here, not in the middle of a search
        return probed, configuration
    except TrialPruned:
        return probed, None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the user's own code: a fault of the study file
        path = getattr(getattr(study.suggest, "__code__", None), "co_filename", None)
        line = f", in line {lines[-1]}" if (lines := lines_of(error, path)) else ""
        reason = reason_of(error)
        ours = traceback.extract_tb(error.__traceback__)[-1].filename == __file__
        if isinstance(error, DefinitionError) and (ours or not line):
            raise  # it names the parameter or the point, or is about what was returned
        if reason.startswith(type(error).__name__):
            values = probed.values or "no parameter yet"
            comma = "," if line else ""
            reason = f"suggest(trial) raised {reason}{line}{comma} with {values}"
        else:
            reason = f"suggest(trial){line}: {reason}"
        raise DefinitionError(reason) from error


def holds(distribution: BaseDistribution, value: object) -> bool:
    """Whether a trial may have this value, as Optuna judges it; True is no number."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    if not (is_integer(value) if isinstance(distribution, IntDistribution) else is_number(value)):
        return False
    try:
        create_trial(value=0.0, params={"x": value}, distributions={"x": distribution})
    except ValueError:
        return False
    return True


def _facet(distribution: BaseDistribution, value: Any) -> Any:
    """What of a value may decide about a branch of `suggest`: a choice, one of few integers."""
    if isinstance(distribution, CategoricalDistribution):
        return value
    few = isinstance(distribution, IntDistribution) and distribution.high - distribution.low < _FEW
    return value if few else None


def _lowest(_name: str, found: Any) -> Any:
    return found.choices[0] if isinstance(found, CategoricalDistribution) else found.low


def _highest(_name: str, found: Any) -> Any:
    return found.choices[-1] if isinstance(found, CategoricalDistribution) else found.high


def _drawn(source: random.Random) -> Callable[[str, BaseDistribution], Any]:
    def choose(_name: str, found: Any) -> Any:
        if isinstance(found, CategoricalDistribution):
            return source.choice(found.choices)
        if found.log:
            drawn = math.exp(source.uniform(math.log(found.low), math.log(found.high)))
        else:
            drawn = source.uniform(found.low, found.high)
        # Six digits, so that the last bit of this machine's exp and log is not in the fingerprint.
        value = min(max(float(f"{drawn:.6g}"), found.low), found.high)
        value = round(value) if isinstance(found, IntDistribution) else value
        if found.step is None or found.log:
            return value
        steps = round((value - found.low) / found.step)
        return min(found.low + steps * found.step, found.high)

    return choose


def _storable(choice: object) -> bool:
    """Whether JSON holds a choice as it is."""
    if isinstance(choice, float):
        return math.isfinite(choice)
    return choice is None or isinstance(choice, bool | int) or _is_text(choice)


def _is_text(value: object) -> bool:
    """Whether a value is text that UTF-8 holds, unlike half of a character in UTF-16."""
    return isinstance(value, str) and value.encode(errors="replace").decode() == value


def _listed(space: Space) -> str:
    return ", ".join(space.parameters) or "no parameter at all"
