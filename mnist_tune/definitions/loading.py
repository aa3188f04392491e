"""Finds and loads study files: built-in ones by name, others by path."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import inspect
import re
import shlex
import sys
import traceback
from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from mnist_tune import networks, recipes, study
from mnist_tune.checks import check_study_name, shown
from mnist_tune.errors import DefinitionError

_PACKAGE = Path(__file__).resolve().parents[1]
# What study files import: name → class, by module.
_CLASSES = {
    module.__name__: {
        name: found
        for name, found in vars(module).items()
        if inspect.isclass(found) and found.__module__ == module.__name__ and name[0] != "_"
    }
    for module in (networks, recipes, study)
}


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
    hint = _nearest(reference.replace("-", "_"), known, ", or give the path of a study file")
    raise DefinitionError(f"there is no study {_one_line(reference)!r}; {hint}")


def _path(reference: str) -> Path | None:
    """The path that may be meant, or None if no file can have it.

    Raises:
        DefinitionError: it lies in a folder that is closed to us.
    """
    if not reference:
        return None
    try:
        path = Path(reference).expanduser()
        path.is_file(), path.is_dir()
    except PermissionError as error:
        raise DefinitionError(
            f"study file {_one_line(reference)} cannot be read: {error.strerror}; make its folder readable"
        ) from error
    except (OSError, RuntimeError, ValueError):  # a name too long, ~nobody
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
        raise DefinitionError(f"{file.path}:{line}: {reason_of(error)}") from error
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
    check_study_name(path.stem, "give the file another name")
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
    except OSError as error:
        raise DefinitionError(
            f"study file {file.path} cannot be read: {error.strerror}; make it readable"
        ) from error
    except ValueError as error:
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


def reason_of(error: BaseException) -> str:
    """What is wrong in a study file that raised an error, and what to write instead."""
    text = cause_of(error)
    if isinstance(error, DefinitionError):
        return text
    if isinstance(error, NameError):
        return f"{text}; {_where_from(error.name)}"
    words = None
    if isinstance(error, TypeError):
        words = _about_call(text)
    elif isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("mnist_tune."):
        words = f"there is no module {error.name}; {_nearest(str(error.name), _CLASSES)}"
    elif isinstance(error, ImportError | AttributeError):
        words = _about_name(text)
    return words or f"{type(error).__name__}: {text}"


def _about_call(text: str) -> str | None:
    """What Python says of wrong arguments of a class or method of ours, in words of a study file."""
    called = re.match(r"(\w+)\.(\w+)\(\) (.*)", text)
    if called is None:
        return None
    owner, method, problem = called.groups()
    classes = {name: kind for kinds in _CLASSES.values() for name, kind in kinds.items()}
    if method == "__init__" and owner in classes:
        what, takes = owner, inspect.signature(classes[owner]).parameters
    elif method in vars(study.Trial):
        what, takes = f"trial.{method}", inspect.signature(getattr(study.Trial, method)).parameters
    else:
        return None
    names = [name for name in takes if name != "self"]
    quoted = re.findall(r"'(\w+)'", problem)
    if "unexpected keyword argument" in problem:
        return f"{what} has no argument {quoted[0]!r}; {_nearest(quoted[0], names)}"
    if "missing" in problem:
        return f"{what} needs {', '.join(f'{name}=…' for name in quoted)}"
    return f"{what} takes its arguments by name: {', '.join(f'{name}=…' for name in names)}"


def _about_name(text: str) -> str | None:
    """What Python says of a name that one of our modules lacks."""
    found = re.match(
        r"cannot import name '(?P<name>\w+)' from '(?P<module>[.\w]+)'", text
    ) or re.match(r"module '(?P<module>[.\w]+)' has no attribute '(?P<name>\w+)'", text)
    if found is None or found["module"] not in _CLASSES:
        return None
    for module, kinds in _CLASSES.items():
        if found["name"] in kinds:
            return f"{found['name']} is in {module}: `from {module} import {found['name']}`"
    near = _nearest(found["name"], _CLASSES[found["module"]])
    return f"{found['module']} has no {found['name']!r}; {near}"


def _where_from(name: str | None) -> str:
    """How to import a name that a study file uses without having it."""
    for module, kinds in _CLASSES.items():
        if name in kinds:
            return f"add `from {module} import {name}`"
    return "define or import it above that line"


def _nearest(name: str, known: Collection[str], otherwise: str = "") -> str:
    """The known name that may be meant, else all of them."""
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return (
        f"did you mean {by_lower[near[0]]}?" if near else f"there is {', '.join(known)}{otherwise}"
    )


def _one_line(text: str) -> str:
    return text if text.isprintable() else ascii(text)
