"""The README says what the program does: commands, studies, files and options are compared."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from mnist_tune.cli.main import app
from mnist_tune.definitions.loading import builtin_files, question

CHECKOUT = Path(__file__).parent.parent
README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
COMMANDS = dict(app.commands)


def called() -> list[str]:
    """Command lines of the README's code blocks and inline code, without the program's name."""
    blocks = "\n".join(re.findall(r"```\n(.*?)```", README, re.DOTALL))
    lines = re.findall(r"^(?:scripts/)?mnist-tune (.*?)(?: {2,}#.*)?$", blocks, re.MULTILINE)
    return lines + re.findall(r"`mnist-tune ([^`]+)`", README)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_is_in_the_table(name: str) -> None:
    assert re.search(rf"^\| `{name}\b", README, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_and_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, option.name


@pytest.mark.parametrize("line", called())
def test_each_command_line_would_be_understood(line: str) -> None:
    name, *arguments = line.split()
    known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= known


@pytest.mark.parametrize("file", builtin_files(), ids=lambda file: file.name)
def test_each_study_is_in_the_table_with_its_question(file) -> None:
    assert f"| `{file.name}` | {question(file)} |" in README


def test_each_part_of_the_package_is_listed() -> None:
    parts = [
        path for path in (CHECKOUT / "mnist_tune").iterdir() if not path.name.startswith(("_", "."))
    ]
    names = {f"{path.name}/" if path.is_dir() else path.name for path in parts} - {"py.typed"}
    listed = set(re.findall(r"^  (\S+) {2,}\S", README, re.MULTILINE))
    assert listed == names


def test_each_script_is_named_and_can_be_run() -> None:
    for path in (CHECKOUT / "scripts").iterdir():
        if path.name != "bootstrap":
            assert path.stat().st_mode & 0o100, f"{path} cannot be executed"
            assert re.search(rf"\b{path.name}\b", README)
