"""What `mnist-tune new` writes is a study that runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.definitions.loading import write_template
from mnist_tune.errors import DefinitionError
from tests.definitions.definition_samples import python


def test_is_a_study(tmp_path: Path) -> None:
    write_template(tmp_path / "mine.py")
    definition = define(str(tmp_path / "mine.py"), Overrides())
    assert definition.name == "mine"
    assert definition.question.endswith("?")
    assert set(definition.space.parameters) == {"width", "learning_rate"}


def test_its_alternative_plan_fits(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    write_template(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    plan = next(line.partition("plan: ")[2] for line in lines if "Or a fixed plan" in line)
    text = [f"    plan={plan}," if line.strip().startswith("plan=") else line for line in lines]
    path.write_text("\n".join(text), encoding="utf-8")
    assert define(str(path), Overrides()).study.trials == 4


def test_imports_all_that_its_comments_offer(tmp_path: Path) -> None:
    write_template(tmp_path / "mine.py")
    code = "import runpy, sys; print(sorted(runpy.run_path(sys.argv[1])))"
    names = python(code, tmp_path / "mine.py")
    assert all(repr(name) in names for name in ("Grid", "Search", "Sgd", "Adam", "AdamW"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("there.py", r"there\.py exists already; give another name$"),
        ("folder.py", r"folder\.py exists already"),
        ("mine", r"mine: a study file ends in \.py; try `mnist-tune new .*mine\.py`$"),
        ("mine.txt", r"try `mnist-tune new .*mine\.py`$"),
        ("no/mine.py", r"mine\.py cannot be written: No such file or directory"),
        ("there.py/mine.py", r"mine\.py cannot be written: Not a directory"),
    ],
)
def test_one_clear_line(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "there.py").write_text("mine", encoding="utf-8")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(DefinitionError, match=message):
        write_template(tmp_path / name)
    assert (tmp_path / "there.py").read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.py", "there.py"]
