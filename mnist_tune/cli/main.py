"""Entry point of `mnist-tune`.

Exit codes: 0 done, 1 our fault, 2 usage or bad input, 3 incomplete, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from mnist_tune.cli import environment, results, studies
from mnist_tune.errors import Incomplete, InputError, Interrupted

COMMAND_VARIABLE = "MNIST_TUNE_COMMAND"

app = typer.Typer(
    name="mnist-tune",
    help="Hyperparameter studies on MNIST that resume exactly and report honestly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_COMMANDS: dict[str, Callable[..., None]] = {
    "run": studies.run,
    "resume": studies.resume,
    "confirm": studies.confirm,
    "list": studies.list_studies,
    "status": studies.status,
    "report": results.report,
    "export": results.export,
    "best": results.best,
    "new": studies.new,
    "data": environment.data,
    "doctor": environment.doctor,
}
for name, command in _COMMANDS.items():
    app.command(name)(command)


def main() -> None:
    """Run a command and end the process with its exit code."""
    try:
        app()
    except InputError as error:
        _fail(f"error: {error}", 2)
    except Incomplete as error:
        _fail(f"incomplete: {error}", 3)
    except Interrupted as error:
        _fail(f"stopped: {error}", 130)
    except KeyboardInterrupt:
        _fail("stopped", 130)
    except BrokenPipeError:  # the reader of stdout has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None


def _fail(line: str, code: int) -> None:
    """Print one line, with commands written the way this program was called."""
    called = os.environ.get(COMMAND_VARIABLE, "mnist-tune")
    one_line = " ".join(line.split())
    print(one_line.replace("`mnist-tune ", f"`{called} "), file=sys.stderr)
    raise SystemExit(code) from None
