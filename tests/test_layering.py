"""Imports point one way, TensorFlow stays behind the trainer, Optuna's private API in one file."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent

# What each part of mnist_tune may import of the others. A new part gets a line here.
VALUES = {"checks", "errors", "layers", "metrics", "networks", "recipes", "study"}
MAY_IMPORT: dict[str, set[str]] = {
    "commands": set(),
    "errors": set(),
    "files": set(),
    "checks": {"errors"},
    "layers": set(),
    "metrics": set(),
    "networks": {"checks", "errors", "layers", "metrics"},
    "recipes": {"checks", "errors", "networks"},
    "study": {"checks", "errors", "metrics", "networks", "recipes"},
    "data": {"errors", "files"},
    "noise": {"data"},
    "baselines": {"errors"},
    "statistics": {"errors", "baselines", "metrics"},
    "definitions": {"data"} | VALUES,
    "storage": {"data", "definitions", "files"} | VALUES,  # knows nothing of training
    # Reads the storage only.
    "reports": {
        "baselines",
        "commands",
        "data",
        "errors",
        "files",
        "layers",
        "metrics",
        "networks",
        "statistics",
        "storage",
        "study",
    },
    "trainer": {"errors", "files", "layers", "metrics", "networks", "noise", "recipes", "data"},
    "checkpoints": {"errors", "files", "networks", "recipes", "trainer"},
    "workers": {"data", "checkpoints", "trainer"} | VALUES,
    "search": {"checkpoints", "data", "definitions", "noise", "storage", "trainer", "workers"}
    | VALUES,
    "dashboard": {
        "commands",
        "errors",
        "metrics",
        "networks",
        "reports",
        "search",
        "storage",
        "trainer",
        "workers",
    },
    "denoising": {"data", "files", "noise", "reports", "statistics", "storage"} | VALUES,
    "generation": {"data", "denoising", "noise", "reports", "statistics", "storage"} | VALUES,
}
# The top: they put the parts together and nothing below imports them.
TOP = {"__main__", "candidates", "cli", "doctor", "models", "notebook"}

TENSORFLOW = {"tensorflow", "keras"}
STUDY_FILES_MAY_IMPORT = {"mnist_tune.networks", "mnist_tune.recipes", "mnist_tune.study"}
OPTUNA_ADAPTER = "mnist_tune/storage/optuna_adapter.py"
OPTUNA_OBJECT = re.compile(r"(optuna|study|trial|storage|sampler|pruner)$")


@dataclass(frozen=True)
class Import:
    """One imported module, or one name of a module, with where that stands."""

    name: str
    path: str
    line: int

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def part(self) -> str:
        """Part of mnist_tune that is imported; empty for the package itself."""
        return self.name.split(".")[1] if "." in self.name else ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.name}"


@cache
def tree(path: str) -> ast.Module:
    return ast.parse((CHECKOUT / path).read_text(encoding="utf-8"), path)


def files(folder: str) -> list[str]:
    return sorted(p.relative_to(CHECKOUT).as_posix() for p in (CHECKOUT / folder).rglob("*.py"))


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def part_of(path: str) -> str:
    """`trainer` of mnist_tune/trainer/dense.py, `errors` of mnist_tune/errors.py."""
    return path.split("/")[1].removesuffix(".py")


def imports(path: str, nodes: Iterator[ast.AST] | None = None) -> list[Import]:
    """All imports of a file, also inside functions; `from a import b` counts as `a.b`."""
    found = []
    for node in nodes or ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, path, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [Import(f"{node.module}.{a.name}", path, node.lineno) for a in node.names]
        elif name := imported_by_call(node):
            found.append(Import(name, path, getattr(node, "lineno", 0)))
    return found


def imported_by_call(node: ast.AST) -> str | None:
    """`x` of importlib.import_module("x") and __import__("x")."""
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in {"import_module", "__import__"}:
            return str(node.args[0].value)
    return None


def at_start(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: everything outside functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_start(child)


MODULES = {module_of(path): path for path in files("mnist_tune")}
PARTS = sorted({part_of(path) for path in MODULES.values()} - {"__init__"})


def target(imported: Import) -> str:
    """Module of mnist_tune that an import leads to: `a.b.name` may be module a.b.name or a name of a.b."""
    return imported.name if imported.name in MODULES else imported.name.rpartition(".")[0]


def ours(path: str, found: list[Import]) -> set[str]:
    """Modules of mnist_tune among the given imports of a file."""
    targets = {target(i) for i in found if i.package == "mnist_tune"}
    return targets - {module_of(path), "mnist_tune"}


def test_there_is_something_to_check() -> None:
    assert {"errors", "trainer", "storage"} <= set(PARTS)
    assert files("studies")
    assert imports("mnist_tune/networks.py")


@pytest.mark.parametrize("part", PARTS)
def test_each_part_imports_only_what_lies_below_it(part: str) -> None:
    allowed = set(MAY_IMPORT) | TOP if part in TOP else MAY_IMPORT.get(part)
    assert allowed is not None, f"say in MAY_IMPORT what mnist_tune.{part} may import"
    found = [i for p in MODULES.values() if part_of(p) == part for i in imports(p)]
    upward = [
        i for i in found if i.package == "mnist_tune" and i.part in set(PARTS) - {part} - allowed
    ]
    assert not upward, "\n".join(map(str, upward))


def test_the_table_itself_points_one_way() -> None:
    assert list(TopologicalSorter(MAY_IMPORT).static_order())


def test_no_module_imports_itself_through_others() -> None:
    graph = {module: ours(path, imports(path)) for module, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" ← ".join(error.args[1]))


def public_names(path: str) -> set[str]:
    """Classes, functions and constants that a module defines for others."""
    found: set[str] = set()
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {name for name in found if not name.startswith("_")}


def test_no_public_name_is_defined_in_two_modules() -> None:
    places: dict[str, list[str]] = {}
    for path in MODULES.values():
        for name in public_names(path):
            places.setdefault(name, []).append(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("folder", ["mnist_tune", "studies"])
def test_tensorflow_is_imported_only_by_the_trainer(folder: str) -> None:
    found = [
        imported
        for path in files(folder)
        if not path.startswith("mnist_tune/trainer/")
        for imported in imports(path)
        if imported.package in TENSORFLOW
    ]
    assert not found, "\n".join(map(str, found))


def test_starting_the_command_line_does_not_import_tensorflow() -> None:
    reached: set[str] = set()
    ahead = [module for module in MODULES if module.startswith("mnist_tune.cli")]
    found = []
    while ahead:
        module = ahead.pop()
        if module in reached or module not in MODULES:
            continue
        reached.add(module)
        at_import = imports(MODULES[module], at_start(tree(MODULES[module])))
        found += [i for i in at_import if i.package in TENSORFLOW]
        ahead += ours(MODULES[module], at_import)
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("path", files("studies"))
def test_study_files_need_nothing_but_descriptions(path: str) -> None:
    foreign = [
        imported
        for imported in imports(path)
        if imported.package not in sys.stdlib_module_names
        and target(imported) not in STUDY_FILES_MAY_IMPORT
    ]
    assert not foreign, "\n".join(map(str, foreign))


def private_parts_of_optuna(path: str) -> Iterator[str]:
    for imported in imports(path):
        if imported.package == "optuna" and any(
            s.startswith("_") for s in imported.name.split(".")
        ):
            yield str(imported)
    for node in ast.walk(tree(path)):
        if not isinstance(node, ast.Attribute) or not re.match(r"_[^_]", node.attr):
            continue
        owner = ast.unparse(node.value).rpartition(".")[2]
        if OPTUNA_OBJECT.search(owner):
            yield f"{path}:{node.lineno} uses {ast.unparse(node)}"


def test_private_parts_of_optuna_stay_in_one_file() -> None:
    found = [
        use
        for folder in ("mnist_tune", "studies")
        for path in files(folder)
        if path != OPTUNA_ADAPTER
        for use in private_parts_of_optuna(path)
    ]
    assert not found, "\n".join(found)
