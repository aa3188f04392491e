"""Tables as CSV, JSON, LaTeX and Markdown."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest

from mnist_tune.cli.options import print_rows
from mnist_tune.reports import table_formats
from mnist_tune.reports.columns import TextColumn, TextTable
from mnist_tune.reports.table_formats import csv_bytes, latex_table, markdown_table

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
    print_rows([{"study": "=1+1", "best": -0.5}], "csv", ("study", "best"))
    assert capsys.readouterr().out == "study,best\n'=1+1,-0.5\n"


def test_json_part_by_part_is_that_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_formats, "_BLOCK", 2)
    frame = pd.DataFrame(
        {
            "100 %s": [0.1, 1e-6, float("nan"), -2.0, 3e22],
            "whole": pd.array([1, None, 3, 4, 5], dtype="Int64"),
            "yes": pd.array([True, None, False, True, True], dtype="boolean"),
            "int": [1, 2, 3, 4, 5],
            "text": ['a, "b"', None, "ä\n", "x", "%d"],
            "mixed": [1, "1, 2", None, 0.5, True],
        }
    )
    records = [
        {name: None if pd.isna(value) else value for name, value in record.items()}
        for record in frame.astype(object).to_dict("records")
    ]
    for rows in range(6):
        wanted = json.dumps(records[:rows], indent=1, ensure_ascii=False) + "\n"
        assert table_formats.json_bytes(frame.iloc[:rows]).decode() == wanted
    with pytest.raises(ValueError, match="JSON"):
        table_formats.json_bytes(pd.DataFrame({"endless": [float("inf")]}))


def test_latex_is_what_pandas_writes() -> None:
    table = TextTable(
        (TextColumn("a_b", ("1 %", "–")), TextColumn("±", ("{x}", "$"), align="left"))
    )
    frame = pd.DataFrame([["1 \\%", "\\{x\\}"], ["--", "\\$"]], columns=["a\\_b", "$\\pm$"])
    packages, *lines = latex_table(table).splitlines(keepends=True)
    assert packages == "% \\usepackage{booktabs,siunitx}\n"
    pandas = frame.to_latex(index=False, escape=False, column_format="@{}rl@{}")
    assert "".join(lines) == pandas


def test_pipes_do_not_break_markdown() -> None:
    table = markdown_table(TextTable((TextColumn("a", ("x|y",)), TextColumn("b", ("1.50",)))))
    assert table.splitlines()[-1].replace(" ", "") == r"|x\|y|1.50|"


def test_an_empty_table_is_a_table() -> None:
    empty = TextTable((TextColumn("a"), TextColumn("b")))
    assert markdown_table(empty).splitlines()[0].replace(" ", "") == "|a|b|"
    assert latex_table(empty).splitlines()[1] == r"\begin{tabular}{@{}rr@{}}"


def test_latex_numbers_are_for_siunitx() -> None:
    columns = (
        TextColumn("λ", ("1e-6", "2.5075e-4", "–")),
        TextColumn("n", ("545,810", "7", "")),
        TextColumn("Δ", ("+0.18", "−1.20", "0.00")),
        TextColumn("7", ("<0.001", "0.5", "1")),
    )
    _, head, _, titles, _, *rows = latex_table(TextTable(columns)).splitlines()
    types = "S[table-format=1.4e-1]S[table-format=6]S[table-format=+1.2, retain-explicit-plus]"
    assert head == rf"\begin{{tabular}}{{@{{}}{types}S[table-format=1.1]@{{}}}}"
    assert titles == r"{λ} & {n} & {$\Delta$} & {7} \\"
    assert rows[:3] == [
        r"1e-6 & 545810 & +0.18 & {$<$0.001} \\",
        r"2.5075e-4 & 7 & -1.20 & 0.5 \\",
        r"{--} &  & 0.00 & 1 \\",
    ]


def test_latex_headings_wider_than_their_columns_are_stacked() -> None:
    columns = (
        TextColumn("median filter, % right", ("98.27 ± 0.10",)),
        TextColumn("test images of seed", ("1",)),
        TextColumn("≥", ("x",)),
    )
    head = latex_table(TextTable(columns)).splitlines()[3]
    assert head == (
        r"\shortstack[r]{median\\filter, \%\\right} & {\shortstack{test images\\of seed}} & $\geq$ \\"
    )


def test_latex_tables_longer_than_a_page_break() -> None:
    def made(rows: int) -> str:
        return latex_table(TextTable((TextColumn("a", ("x",) * rows),)))

    assert r"\begin{tabular}" in made(40)
    assert made(41).splitlines()[0] == r"% \usepackage{booktabs,siunitx,longtable}"
    assert made(41).splitlines()[4:6] == [r"\midrule", r"\endhead"]


def escaped(text: str) -> str:
    table = TextTable((TextColumn("x", (text,), "left"),))
    return latex_table(table).splitlines()[5].removesuffix(r" \\")


def test_latex_escapes_what_would_break_a_document() -> None:
    assert escaped("width_1 & 5 % of {x} ~ #$^\\") == (
        r"width\_1 \& 5 \% of \{x\} \textasciitilde{} \#\$\textasciicircum{}\textbackslash{}"
    )
    assert escaped("−0.16 ± 0.1, ≈ best, Δ <0.001, 1–2") == (
        r"$-$0.16 $\pm$ 0.1, $\approx$ best, $\Delta$ $<$0.001, 1--2"
    )
