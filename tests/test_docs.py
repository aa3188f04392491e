"""README and docs say what the program does: commands, studies, options, links and modules are compared."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

from mnist_tune.cli.main import app
from mnist_tune.definitions.loading import builtin_files, question

CHECKOUT = Path(__file__).parent.parent
README = CHECKOUT / "README.md"
PAGES = [
    README,
    *(CHECKOUT / name for name in ("CONTRIBUTING.md", "storage/README.md")),
    *sorted((CHECKOUT / "docs").glob("*.md")),
]
COMMANDS = dict(app.commands)


def commands_of(page: Path) -> list[str]:
    """Command lines in code blocks and inline code of a page, without the program's name."""
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```\n(.*?)```", text, re.DOTALL))
    lines = re.findall(r"^(?:scripts/)?mnist-tune (\w.*?)(?: +[#&].*)?$", blocks, re.MULTILINE)
    return lines + re.findall(r"`mnist-tune ([^`]+)`", text)


def links_of(page: Path) -> list[str]:
    """Targets of a page's links and pictures that lie in the checkout, with their anchors."""
    return re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8"))


def anchors_of(page: Path) -> set[str]:
    """Anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_can_be_read_in_three_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_is_in_the_table(name: str) -> None:
    assert re.search(rf"^\| `{name}\b", README.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_each_command_and_option_has_help(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    for option in command.params:
        assert not isinstance(option, click.Option) or option.help, option.name


@pytest.mark.parametrize(
    ("page", "line"),
    [(page.name, line) for page in PAGES for line in commands_of(page)],
)
def test_each_command_line_would_be_understood(page: str, line: str) -> None:
    name, *arguments = line.split()
    known = {option for parameter in COMMANDS[name].params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--")} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_has_a_target(page: Path) -> None:
    for link in links_of(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


@pytest.mark.parametrize("file", builtin_files(), ids=lambda file: file.name)
def test_each_study_is_in_the_table_with_its_question(file) -> None:
    assert f"| `{file.name}` | {question(file)} |" in README.read_text(encoding="utf-8")


def test_each_script_is_named_and_can_be_run() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for path in (CHECKOUT / "scripts").iterdir():
        if path.name != "bootstrap":
            assert path.stat().st_mode & 0o100, f"{path} cannot be executed"
            assert re.search(rf"`scripts/{path.name}\b|^scripts/{path.name}\b", text, re.MULTILINE)


def test_each_page_is_linked_from_the_readme() -> None:
    linked = {link.partition("#")[0] for link in links_of(README)}
    assert {f"docs/{page.name}" for page in PAGES if page.parent.name == "docs"} <= linked


def test_architecture_has_the_first_sentence_of_each_module() -> None:
    text = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([\w/]+\.py)` \| (.*) \|$", text, re.MULTILINE))
    package = CHECKOUT / "mnist_tune"
    modules = {str(path.relative_to(package)): path for path in package.rglob("*.py")}
    assert listed == {
        name: first_paragraph(path) for name, path in modules.items() if "__" not in name
    }


def first_paragraph(module: Path) -> str:
    """Of a module's docstring, on one line."""
    whole = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return whole.split("\n\n")[0].replace("\n", " ")


def test_every_file_that_architecture_names_exists() -> None:
    text = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for name in re.findall(r"`((?:mnist_tune|studies|tests|docs|scripts)/[\w/.]*)`", text):
        assert (CHECKOUT / name).exists(), name
