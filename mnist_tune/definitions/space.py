"""The search space of a study, found by calling `suggest` with trials that only take notes."""

from __future__ import annotations

import math
import random
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from mnist_tune.errors import DefinitionError
from mnist_tune.networks import network_to_json
from mnist_tune.study import Configuration, Point, Study

_DRAWS = 64  # enough to meet each branch of a conditional space whose rarest has a share of 10 % (0.9^64 = 0.1 %)
_EXAMPLES = 8  # at least; further ones show choices and branches that these do not
_FEW = 16


@dataclass(frozen=True, slots=True)
class Parameter:
    """One searched parameter as `suggest` declares it.

    Attributes:
        kind: float, int or categorical.
        low, high, log, step: of a number; both ends included.
        choices: of a categorical parameter.
    """

    kind: Literal["float", "int", "categorical"]
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    choices: tuple[Any, ...] | None = None

    def holds(self, value: object) -> bool:
        """Whether a trial may have this value."""
        if self.choices is not None:
            return value in self.choices
        if isinstance(value, bool) or not isinstance(
            value, int if self.kind == "int" else int | float
        ):
            return False
        assert self.low is not None and self.high is not None
        return self.low <= value <= self.high and self._on_a_step(value)

    def _on_a_step(self, value: int | float) -> bool:
        if self.step is None:
            return True
        steps = (value - self.low) / self.step  # type: ignore[operator]  # a number has both ends
        return abs(steps - round(steps)) < 1e-8  # as Optuna judges it

    def facet(self, value: Any) -> Any:
        """What of a value may decide about a branch of `suggest`: a choice, one of few integers."""
        if self.choices is not None:
            return value
        assert self.low is not None and self.high is not None
        return value if self.kind == "int" and self.high - self.low < _FEW else None

    def to_json(self) -> dict[str, Any]:
        """The fields that matter for this kind, as JSON values."""
        if self.choices is not None:
            return {"kind": self.kind, "choices": list(self.choices)}
        return {
            "kind": self.kind,
            "low": self.low,
            "high": self.high,
            "log": self.log,
            "step": self.step,
        }


@dataclass(frozen=True, slots=True)
class Space:
    """All parameters that `suggest` may ask for, and a few answers that show what it does with them.

    Attributes:
        parameters: name → parameter, in the order met.
        examples: pairs of parameter values and the JSON description of what they make.
    """

    parameters: dict[str, Parameter]
    examples: tuple[tuple[Point, dict[str, Any]], ...]


class _Notes:
    """A trial that chooses by a function and writes down what it was asked."""

    def __init__(self, choose: Callable[[str, Parameter], Any]) -> None:
        self._choose = choose
        self.asked: dict[str, Parameter] = {}
        self.values: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"a study may use trial.suggest_float, suggest_int and suggest_categorical, not trial.{name}"
        )

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._number(name, Parameter("float", float(low), float(high), log, step)))

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        return int(self._number(name, Parameter("int", int(low), int(high), log, step)))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        if isinstance(choices, str) or not isinstance(choices, Sequence):
            raise DefinitionError(
                f"parameter {name!r} has choices {choices!r}; give a list or a tuple, whose order is fixed"
            )
        if not choices:
            raise DefinitionError(f"parameter {name!r} has no choices; give at least one")
        for choice in choices:
            if not _storable(choice):
                raise DefinitionError(
                    f"parameter {name!r}: choice {choice!r} cannot be stored; "
                    "give names or numbers and look the value up"
                )
        return self._note(name, Parameter("categorical", choices=tuple(choices)))

    @property
    def facets(self) -> set[Any]:
        """Which branches the answer may have taken."""
        return {frozenset(self.asked)} | {
            (name, repr(parameter.facet(self.values[name])))
            for name, parameter in self.asked.items()
        }

    def _number(self, name: str, parameter: Parameter) -> Any:
        low, high, step = parameter.low, parameter.high, parameter.step
        assert low is not None and high is not None
        if not isinstance(parameter.log, bool):
            raise DefinitionError(
                f"parameter {name!r} has log={parameter.log!r}; give True or False"
            )
        if step is not None and type(step) not in (int, float):
            raise DefinitionError(f"parameter {name!r} has step={step!r}; give a number")
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise DefinitionError(
                f"parameter {name!r} runs from {low} to {high}; give finite ends, the lower one first"
            )
        if parameter.log and low <= 0:
            raise DefinitionError(
                f"parameter {name!r} starts at {low} on a log scale; give a lower end above 0"
            )
        if step is not None and step <= 0:
            raise DefinitionError(f"parameter {name!r} has step {step}; give a step above 0")
        if parameter.log and step not in (None, 1 if parameter.kind == "int" else None):
            raise DefinitionError(
                f"parameter {name!r} has a step on a log scale; give the one or the other"
            )
        if step is not None and (rest := _decimal(high) - _decimal(low)) % _decimal(step):
            end = _decimal(low) + rest // _decimal(step) * _decimal(step)
            raise DefinitionError(
                f"parameter {name!r} runs from {low} to {high}, but its steps of {step} end at {end}; give that end"
            )
        return self._note(name, parameter)

    def _note(self, name: str, parameter: Parameter) -> Any:
        if not (_is_text(name) and name.isprintable()):
            raise DefinitionError(f"parameter {name!r}: its name is no printable text; give it one")
        if self.asked.setdefault(name, parameter) != parameter:
            raise DefinitionError(
                f"parameter {name!r} is asked for twice with different ranges; use two names"
            )
        if name not in self.values:
            self.values[name] = self._choose(name, parameter)
        return self.values[name]


def probe(study: Study) -> Space:
    """Call `suggest` with the ends of all ranges and with fixed random draws.

    Raises:
        DefinitionError: `suggest` fails, or declares a range that cannot be searched.
    """
    parameters: dict[str, Parameter] = {}
    examples: list[tuple[Point, dict[str, Any]]] = []
    shown: set[Any] = set()
    choosers = [_lowest, _highest, *(_drawn(random.Random(i)) for i in range(_DRAWS))]
    for choose in choosers:
        notes, configuration = _called(study, choose)
        for name, parameter in notes.asked.items():
            if parameters.setdefault(name, parameter) != parameter:
                raise DefinitionError(
                    f"parameter {name!r} has different ranges in different trials; use two names"
                )
        made = describe(configuration)
        if len(examples) < _EXAMPLES or not notes.facets <= shown:
            _check_repeatable(study, notes, made)
            examples.append((notes.values, made))
            shown |= notes.facets
    return Space(parameters, tuple(examples))


def _check_repeatable(study: Study, notes: _Notes, made: dict[str, Any]) -> None:
    again, configuration = _called(
        study, lambda name, parameter: notes.values.get(name, _lowest(name, parameter))
    )
    if (again.values, describe(configuration)) != (notes.values, made):
        raise DefinitionError(
            f"suggest(trial) answered twice to {notes.values}, each time differently; "
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
        if not space.parameters[name].holds(value):
            raise DefinitionError(
                f"planned point {dict(point)}: {name}={value!r} is outside {space.parameters[name].to_json()}"
            )

    def given(name: str, _parameter: Parameter) -> Any:
        if name not in point:
            raise DefinitionError(
                f"planned point {dict(point)}: it says nothing of {name!r}; give each parameter that it needs"
            )
        return point[name]

    notes, _ = _called(study, given)
    for name in point:
        if name not in notes.values:
            raise DefinitionError(
                f"planned point {dict(point)}: {name!r} is not used with the other values; leave it out"
            )


def describe(configuration: Configuration) -> dict[str, Any]:
    """What a configuration is, as JSON: the network, and what it changes in the recipe."""
    changes = {
        name: value
        for name in ("learning_rate", "batch_size")
        if (value := getattr(configuration, name)) is not None
    }
    return {"network": network_to_json(configuration.network), **changes}


def _called(study: Study, choose: Callable[[str, Parameter], Any]) -> tuple[_Notes, Configuration]:
    notes = _Notes(choose)
    try:
        configuration = study.configuration(notes)
        configuration.recipe(study.recipe)  # raises here, not in the middle of a search
        return notes, configuration
    except (DefinitionError, KeyboardInterrupt):
        raise
    except BaseException as error:  # the user's own code: a fault of the study file
        message = " ".join(str(error).split()) or "no message"
        raise DefinitionError(
            f"suggest(trial) raised {type(error).__name__}: {message}{_line(error, study)} "
            f"with {notes.values or 'no parameter yet'}"
        ) from error


def _line(error: BaseException, study: Study) -> str:
    """The last line of the study file that the error passed through, in words."""
    path = getattr(getattr(study.suggest, "__code__", None), "co_filename", None)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == path]
    return f", in line {lines[-1]}," if lines else ""


def _lowest(_name: str, parameter: Parameter) -> Any:
    return parameter.choices[0] if parameter.choices is not None else parameter.low


def _highest(_name: str, parameter: Parameter) -> Any:
    return parameter.choices[-1] if parameter.choices is not None else parameter.high


def _drawn(source: random.Random) -> Callable[[str, Parameter], Any]:
    def choose(_name: str, parameter: Parameter) -> Any:
        if parameter.choices is not None:
            return source.choice(parameter.choices)
        assert parameter.low is not None and parameter.high is not None
        if parameter.log:
            drawn = math.exp(source.uniform(math.log(parameter.low), math.log(parameter.high)))
        else:
            drawn = source.uniform(parameter.low, parameter.high)
        # Six digits, so that the last bit of this machine's exp and log is not in the fingerprint.
        value = min(max(float(f"{drawn:.6g}"), parameter.low), parameter.high)
        return _on_step(parameter, round(value) if parameter.kind == "int" else value)

    return choose


def _on_step(parameter: Parameter, value: Any) -> Any:
    if parameter.step is None or parameter.log:
        return value
    low, high, step = parameter.low, parameter.high, parameter.step
    return min(low + round((value - low) / step) * step, high)


def _storable(choice: object) -> bool:
    """Whether JSON holds a choice as it is."""
    if isinstance(choice, float):
        return math.isfinite(choice)
    return choice is None or isinstance(choice, bool | int) or _is_text(choice)


def _is_text(value: object) -> bool:
    """Whether a value is text that UTF-8 holds, unlike half of a character in UTF-16."""
    return isinstance(value, str) and value.encode(errors="replace").decode() == value


def _decimal(number: float) -> Decimal:
    """A number as it is written, since 0.3 is not a multiple of 0.1 in binary."""
    return Decimal(str(number))


def _listed(space: Space) -> str:
    return ", ".join(space.parameters) or "no parameter at all"
