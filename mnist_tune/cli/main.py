"""Entry point of `mnist-tune`.

Exit codes: 0 done, 1 our fault, 2 usage or bad input, 3 incomplete, 130 interrupted.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys

import click

from mnist_tune.cli import completion, digits, machine, manage, monitor, results, run
from mnist_tune.cli.options import log
from mnist_tune.commands import program
from mnist_tune.errors import Incomplete, InputError, Interrupted


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="mnist-tune")
def app() -> None:
    """Hyperparameter studies on MNIST that resume exactly and report honestly."""


for module in (run, manage, monitor, results, digits, machine, completion):
    for command in vars(module).values():
        if isinstance(command, click.Command):
            app.add_command(command)


class _StderrHandler(logging.Handler):
    """Writes log records of mnist_tune to stderr, a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        log(record.getMessage())


def main() -> None:
    """Run a command and end the process with its exit code."""
    # Else Python looks through all objects at its end, for half a second.
    atexit.register(gc.freeze)
    guarded(app, program())


def guarded(command: click.Command, name: str) -> None:
    """Run a command of that name and end the process; what is the user's to mend is one line."""
    logger = logging.getLogger("mnist_tune")
    if not any(isinstance(handler, _StderrHandler) for handler in logger.handlers):
        logger.addHandler(_StderrHandler())
    try:
        _refuse_broken_text()
        variable = completion.COMPLETE_VARIABLE
        raise SystemExit(command(prog_name=name, complete_var=variable, standalone_mode=False))
    except click.ClickException as error:
        # Declared final, but click offers no other way to what `show` prints.
        error.message = _printable(error.message)  # type: ignore[misc]
        error.show()
        raise SystemExit(error.exit_code) from None
    except click.Abort:  # Ctrl-C where nothing was running yet
        _fail("stopped", 130)
    except InputError as error:
        _fail(f"error: {error}", 2)
    except Incomplete as error:
        _fail(f"incomplete: {error}", 3)
    except Interrupted as error:
        _fail(f"stopped: {error}", 130)


def _refuse_broken_text() -> None:
    """Refuse what was typed in bytes that are no UTF-8: it can be neither stored nor printed.

    Raises:
        InputError: the line says which.
    """
    settings = {name: os.environ[name] for name in os.environ if name.startswith("MNIST_TUNE_")}
    for text in (*sys.argv[1:], *settings.values()):
        if "\0" in text or (not text.isascii() and text.encode(errors="replace").decode() != text):
            raise InputError(f"{text!a} is no text in UTF-8: give another name")


def _printable(message: str) -> str:
    """A message with what somebody typed in it: no control character reaches the terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in message)


def _fail(line: str, code: int) -> None:
    """Print one line; spaces stay as they are, they may belong to a path."""
    log(_printable(" ".join(line.splitlines())))
    raise SystemExit(code) from None
