"""Commands that messages, reports and notes suggest, written as people can type them here."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

PROGRAM_VARIABLE = "MNIST_TUNE_COMMAND"  # set by scripts/mnist-tune
STORAGE_VARIABLE = "MNIST_TUNE_SUGGESTED_STORAGE"  # for this process and those that it starts

GLUE = "\ue000"  # stands for a space at which no line may break
_WITHOUT_STORAGE = {"baselines", "completion", "data", "new", "worker"}
_IN_BACKTICKS = re.compile(r"`mnist-tune ((?:'[^']*'|[^`'])*)`")


def program() -> str:
    """What people type to call this program."""
    name = os.environ.get(PROGRAM_VARIABLE) or "mnist-tune"
    return shlex.quote(name) if Path(name).is_file() else name


def suggest_storage(given: str | None) -> None:
    """Add --storage to the commands that are suggested, as it was given for this one."""
    if given is None:
        os.environ.pop(STORAGE_VARIABLE, None)
    else:
        os.environ[STORAGE_VARIABLE] = given


def command_line(arguments: str) -> str:
    """A command as it works here: with the name by which the program was called, and --storage.

    Args:
        arguments: what follows the name, such as `report l2_factor`.
    """
    storage = os.environ.get(STORAGE_VARIABLE)
    command = arguments.partition(" ")[0]
    if storage and command not in _WITHOUT_STORAGE and "--storage" not in arguments:
        arguments += f" --storage {shlex.quote(storage)}"
    return f"{program()} {arguments}"


def as_called(text: str) -> str:
    """Write the commands in backticks, `mnist-tune …`, as they work here."""
    return _IN_BACKTICKS.sub(lambda found: f"`{command_line(found[1])}`", text)


def unbroken(text: str) -> str:
    """Put GLUE where no line may break: in commands, which are copied, and before the unit of a number."""
    return re.sub("`[^`]*`| [±%]|± ", lambda whole: whole[0].replace(" ", GLUE), text)
