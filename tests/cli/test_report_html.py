"""report --format html, --all and --out from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mnist_tune.storage.database import open_database
from mnist_tune.storage.location import Location
from tests.cli.conftest import Call
from tests.reports import report_samples as samples
from tests.reports.report_samples import opened


@pytest.fixture
def place(folder: Path) -> tuple[str, str]:
    """Options for a storage with the confirmed study l2_factor."""
    with open_database(Location.parse(str(folder / "trials.db")), create=True):
        pass
    with opened(folder / "trials.db", samples.l2_confirmed(source="l2_factor")):
        pass
    return "--storage", str(folder / "trials.db")


def test_html_is_one_file_with_its_pictures(
    call: Call, place: tuple[str, str], folder: Path
) -> None:
    said = call("report", "l2_factor", *place, "--format", "html", "--out", "report.html")
    assert (said.code, said.out, said.err) == (0, "report.html\n", "")
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert "data:image/png;base64," in text
    assert {path.name for path in folder.iterdir() if path.suffix != ".db"} <= {
        "report.html", "locks", "trials.db-shm", "trials.db-wal",
    }  # fmt: skip


def test_html_goes_to_stdout_without_a_file(call: Call, place: tuple[str, str]) -> None:
    said = call("report", "l2_factor", *place, "--format", "html")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("<!DOCTYPE html>")
    assert said.out.endswith("</html>\n")


def test_the_same_rows_make_the_same_bytes(call: Call, place: tuple[str, str]) -> None:
    options = ("report", "--all", *place, "--format", "html")
    first = call(*options).out
    assert first.endswith("</html>\n")
    assert call(*options).out == first


@pytest.mark.parametrize("form", ["text", "markdown", "json", "html"])
def test_all_studies_with_their_story(call: Call, place: tuple[str, str], form: str) -> None:
    said = call("report", "--all", *place, "--format", form)
    assert (said.code, said.err) == (0, "")
    assert "55,050" in said.out
    if form == "json":
        assert [made["study"] for made in json.loads(said.out)] == ["All studies", "l2_factor"]
    else:
        assert said.out.index("All studies") < said.out.index("Completeness and provenance")


def test_a_file_keeps_its_old_content_where_the_report_fails(
    call: Call, place: tuple[str, str], folder: Path
) -> None:
    (folder / "report.html").write_text("old")
    said = call("report", "nothing", *place, "--format", "html", "--out", "report.html")
    assert said.code == 2
    assert (folder / "report.html").read_text() == "old"


def test_a_file_that_cannot_be_written_is_one_line(call: Call, place: tuple[str, str]) -> None:
    said = call("report", "l2_factor", *place, "--out", "no/such/folder/report.txt")
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert "no/such/folder/report.txt" in said.err
    assert "another file" in said.err


@pytest.mark.parametrize("given", [(), ("l2_factor", "--all")])
def test_either_one_study_or_all(
    call: Call, place: tuple[str, str], given: tuple[str, ...]
) -> None:
    said = call("report", *given, *place)
    assert (said.code, said.out) == (2, "")
    assert "--all" in said.err


def test_an_unknown_format_names_those_there_are(call: Call, place: tuple[str, str]) -> None:
    said = call("report", "l2_factor", *place, "--format", "pdf")
    assert (said.code, said.out) == (2, "")
    assert "'text', 'markdown', 'json', 'html'" in said.err


def test_an_empty_storage_says_what_to_run(call: Call, folder: Path) -> None:
    with open_database(Location.parse(str(folder / "empty.db")), create=True):
        pass
    said = call("report", "--all", "--storage", folder / "empty.db")
    assert (said.code, said.out) == (3, "")
    assert "`mnist-tune run l2_factor --storage " in said.err
