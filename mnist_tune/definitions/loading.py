"""Finds and loads study files: built-in ones by name, others by path."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import shlex
import sys
import traceback
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mnist_tune import networks, recipes, study
from mnist_tune.checks import shown
from mnist_tune.errors import DefinitionError

_PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class StudyFile:
    """A study file that exists.

    Attributes:
        source: the built-in name, or the absolute path: what `resume` finds it by.
        name: of the study, unless the command line gives another: the file's stem.
        path: of the file.
    """

    source: str
    name: str
    path: Path


def builtin_folder() -> Path:
    """Where the study files lie: inside an installed package, or beside it in a checkout."""
    installed = _PACKAGE / "builtin_studies"
    return installed if installed.is_dir() else _PACKAGE.parent / "studies"


def builtin_files() -> tuple[StudyFile, ...]:
    """The studies that come with mnist_tune, by name."""
    return tuple(
        StudyFile(path.stem, path.stem, path) for path in sorted(builtin_folder().glob("*.py"))
    )


def find_study(reference: str) -> StudyFile:
    """Find a study file by built-in name or by path.

    Raises:
        DefinitionError: there is no such study; the message names the nearest.
    """
    known = {file.name: file for file in builtin_files()}
    if reference in known:
        return known[reference]
    path = _path(reference)
    if path is not None and path.is_file():
        return StudyFile(str(path.resolve()), path.stem, path.resolve())
    if path is not None and path.is_dir():
        raise DefinitionError(
            f"{_one_line(reference)} is a folder, not a study file; give a file in it"
        )
    if path is not None and (path.suffix == ".py" or len(path.parts) > 1):
        new = shlex.quote(_one_line(str(Path(reference).with_suffix(".py"))))
        raise DefinitionError(
            f"study file {_one_line(reference)} does not exist; `mnist-tune new {new}` writes one to start from"
        )
    near = difflib.get_close_matches(reference.lower().replace("-", "_"), known, n=1)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else f"there is {', '.join(known)}, or give the path of a study file"
    )
    raise DefinitionError(f"there is no study {_one_line(reference)!r}; {hint}")


def _path(reference: str) -> Path | None:
    """The path that may be meant, or None if no file can have it or nobody may look there."""
    if not reference:
        return None
    try:
        path = Path(reference).expanduser()
        path.is_file(), path.is_dir()
    except (OSError, RuntimeError, ValueError):  # a name too long, ~nobody, a folder closed to us
        return None
    return path


def question(file: StudyFile) -> str:
    """The first paragraph of the file's docstring, on one line; empty if there is none."""
    try:
        text = ast.get_docstring(ast.parse(_text(file))) or ""
    except (SyntaxError, ValueError):
        return ""
    line = " ".join(text.split("\n\n")[0].split())
    return line.encode(errors="replace").decode()  # half a character can be written as an escape


def load_study_file(file: StudyFile) -> study.Study:
    """Run a study file and return its `study`.

    Raises:
        DefinitionError: one line with the file, the line and what is wrong there.
    """
    text = _text(file)
    spec = importlib.util.spec_from_loader(f"_mnist_tune_study_{file.name}", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(file.path)
    sys.modules[spec.name] = module  # so that dataclasses defined in the file find their module
    try:
        # Compiled here rather than imported, so that no __pycache__ appears beside the user's file.
        exec(compile(text, str(file.path), "exec", dont_inherit=True), module.__dict__)
    except SyntaxError as error:
        raise DefinitionError(f"{file.path}:{error.lineno}: {error.msg}; mend that line") from error
    except KeyboardInterrupt:
        raise
    # The user's own code: whatever it raises, `exit()` included, is a fault of the study file.
    except BaseException as error:
        line = next(reversed(lines_of(error, str(file.path))), "?")
        raise DefinitionError(f"{file.path}:{line}: {_reason(error)}") from error
    found = getattr(module, "study", None)
    if isinstance(found, study.Study):
        return found
    what = "has no variable `study`" if found is None else f"has study = {shown(found, 80)}"
    raise DefinitionError(f"{file.path} {what}; it must hold one `study = Study(…)`")


def write_template(path: Path) -> None:
    """Write a commented study file to start from.

    Raises:
        DefinitionError: the file exists, does not end in .py, or cannot be written.
    """
    if path.suffix != ".py":
        named = path.with_suffix(".py") if path.name else path / "my_study.py"
        raise DefinitionError(
            f"{path}: a study file ends in .py; try `mnist-tune new {shlex.quote(str(named))}`"
        )
    template = files(__package__).joinpath("template.txt").read_text("utf-8")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(template)
    except FileExistsError as error:
        raise DefinitionError(f"{path} exists already; give another name") from error
    except OSError as error:
        raise DefinitionError(
            f"{path} cannot be written: {error.strerror}; give another place"
        ) from error


def _text(file: StudyFile) -> str:
    try:
        return file.path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise DefinitionError(
            f"study file {file.path} cannot be read: {error}; give a Python file in UTF-8"
        ) from error


def lines_of(error: BaseException, path: str | None) -> list[int]:
    """The lines of a file that an error passed through, outermost first."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame.lineno for frame in frames if frame.filename == path and frame.lineno is not None]


def cause_of(error: BaseException) -> str:
    """The message of an error, on one line."""
    return " ".join(str(error).split()) or "no message"


def _reason(error: BaseException) -> str:
    if isinstance(error, DefinitionError):
        return cause_of(error)
    if isinstance(error, NameError):
        return f"{cause_of(error)}; {_where_from(error.name)}"
    return f"{type(error).__name__}: {cause_of(error)}"


def _where_from(name: str | None) -> str:
    """How to import a name that a study file uses without having it."""
    for module in (networks, recipes, study):
        if name is not None and getattr(module, name, None) is not None:
            return f"add `from {module.__name__} import {name}`"
    return "define or import it above that line"


def _one_line(text: str) -> str:
    return text if text.isprintable() else ascii(text)
