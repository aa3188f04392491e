"""Data frames as bytes."""

from __future__ import annotations

import io

import pandas as pd

from mnist_tune.cli.options import Format, print_rows
from mnist_tune.reports.table_formats import csv_bytes

FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "plain"]


def test_text_in_csv_is_no_formula_and_numbers_are_numbers() -> None:
    frame = pd.DataFrame(
        {
            "=name": FORMULAS,
            "mixed": [-1, "-1", None, -0.5, "plain", "a=1"],
            "whole": [-1, 2, -3, 4, -5, 6],
            "number": [-0.5, 1.5, -2.5, float("nan"), -1e-9, 0.0],
        }
    )
    written = csv_bytes(frame)
    found = pd.read_csv(io.BytesIO(written), dtype=str, keep_default_na=False)
    assert list(found.columns) == ["'=name", "mixed", "whole", "number"]
    assert list(found["'=name"]) == [*(f"'{text}" for text in FORMULAS[:-1]), "plain"]
    assert list(found["mixed"]) == ["-1", "'-1", "", "-0.5", "plain", "a=1"]
    assert list(found["whole"]) == ["-1", "2", "-3", "4", "-5", "6"]
    assert list(found["number"]) == ["-0.5", "1.5", "-2.5", "", "-1e-09", "0.0"]
    assert frame["=name"][0] == "=1+1"  # the frame itself is left alone


def test_a_listing_as_csv_holds_no_formula(capsys) -> None:
    print_rows([{"study": "=1+1", "best": -0.5}], Format.CSV, ("study", "best"))
    assert capsys.readouterr().out == "study,best\n'=1+1,-0.5\n"
