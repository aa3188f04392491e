"""compare and baselines from the command line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from mnist_tune.baselines import BASELINES
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
    with opened(folder / "trials.db", samples.l2_confirmed()):
        pass
    return "--storage", str(folder / "trials.db")


def test_the_sentence_comes_first(call: Call, place: tuple[str, str]) -> None:
    said = call("compare", "l2_factor", "simard-800", *place)
    assert (said.code, said.err) == (0, "")
    words = " ".join(said.out.split())
    assert words.startswith("l2_factor:1 against simard-800 Verdict l2_factor:1 is not")
    assert "−0.09 points" in words


def test_formats_hold_the_same_pair(call: Call, place: tuple[str, str]) -> None:
    things = ("l2_factor:1", "l2_factor:4")
    read = {
        form: call("compare", *things, *place, "--format", form).out
        for form in ("markdown", "json", "csv", "latex")
    }
    (row,) = csv.DictReader(io.StringIO(read["csv"]))
    made = json.loads(read["json"])
    (record,) = made["pairs"]
    assert float(row["difference"]) == record["difference"] == pytest.approx(0.0027)
    assert (row["first"], row["measured_on"]) == ("l2_factor:1", "validation")
    assert "| l2_factor:1 | l2_factor:4 | +0.27 |" in " ".join(read["markdown"].split())
    assert r"\begin{tabular}" in read["latex"]
    assert r"l2\_factor:1" in read["latex"]


def test_out_writes_what_would_be_printed(call: Call, place: tuple[str, str], folder: Path) -> None:
    options = ("compare", "l2_factor", "Mine=98.6", *place, "--format", "markdown")
    printed = call(*options).out
    said = call(*options, "--out", "it.md")
    assert (said.code, said.out) == (0, "it.md\n")
    assert (folder / "it.md").read_text(encoding="utf-8") == printed


@pytest.mark.parametrize(
    ("things", "words"),
    [
        (("l2_factor",), "at least two"),
        (("l2_factor", "nothing"), "'nothing'"),
        (("l2_factor", "l2_factor:77"), "0–4"),
        (("l2_factor", "Mine=101"), "between 0 and 100 %"),
    ],
)
def test_what_cannot_be_compared_is_one_line(
    call: Call, place: tuple[str, str], things: tuple[str, ...], words: str
) -> None:
    said = call("compare", *things, *place)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert words in said.err


def test_baselines_are_listed_with_source_class_and_caveats(call: Call) -> None:
    rows = json.loads(call("baselines", "--format", "json").out)
    assert [row["key"] for row in rows] == list(BASELINES)
    assert all(row["source"] and row["caveats"] and row["test_size"] for row in rows)
    table = call("baselines").out
    assert "98.47 %" in table
    assert "convolutional + distortions" in table
