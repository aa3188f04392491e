"""What people see when their database was made by an older mnist_tune."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mnist_tune.storage import notices
from tests.cli.conftest import Call

DATABASES = Path(__file__).parents[1] / "storage" / "databases"
STUDY = "l2_factor-quick"


@pytest.fixture
def old(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a storage of schema 1."""
    monkeypatch.setattr(notices, "_said", set())
    (folder / "storage").mkdir()
    shutil.copyfile(DATABASES / "schema-1.db", folder / "storage" / "mnist_tune.db")
    return folder / "storage"


def test_reports_upgrade_it_and_say_so_in_one_line_once(call: Call, old: Path) -> None:
    said = call("report", STUDY)
    assert said.code == 0
    assert "89.62" in said.out
    assert "86.73" in said.out  # of the confirmation
    (line,) = said.err.splitlines()
    assert line.startswith("storage/mnist_tune.db was made by an older mnist_tune: upgraded")
    assert line.endswith(str(old / "mnist_tune.db.schema-1.backup"))
    again = call("report", STUDY)
    assert again == type(again)(0, said.out, "")


@pytest.mark.parametrize("upgraded", [False, True])
def test_list_and_status_work_before_and_after(call: Call, old: Path, upgraded: bool) -> None:
    if upgraded:
        call("report", STUDY)
    for command in ("list", "status"):
        said = call(command)
        assert (said.code, said.err) == (0, "")
        (line,) = [line for line in said.out.splitlines() if line.startswith(STUDY)]
        assert "finished" in line
        assert "89.62 %" in line


def test_the_best_and_the_tables_come_out(call: Call, old: Path) -> None:
    assert call("best", STUDY).code == 0
    assert call("export", STUDY, "--out", "out").code == 0
    assert call("compare", f"{STUDY}:0", f"{STUDY}:4").code == 0


def test_the_copy_opens_as_a_storage_of_its_own(call: Call, old: Path) -> None:
    call("report", STUDY)
    said = call("status", "--storage", old / "mnist_tune.db.schema-1.backup")
    assert said.code == 0
    assert STUDY in said.out
