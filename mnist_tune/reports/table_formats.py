"""Tables as bytes and text: CSV, JSON and Parquet of data frames, Markdown and LaTeX for readers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from io import BytesIO
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from mnist_tune.reports.columns import Table, TextColumn, TextTable, fit

if TYPE_CHECKING:  # pandas costs half a second, which a report for readers does not have
    import pandas as pd

_FORMULA = ("=", "+", "-", "@", "\t")  # how a cell begins that spreadsheets run
_BLOCK = 10_000  # records that are text at once
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

_PAGE_ROWS = 40
# Size of letters, width of the text of `article` at 10 points in points of that size, and between
# two columns.
_SIZES = (
    ("", 345.0, 12.0),
    (r"\small", 375.0, 13.0),
    (r"\footnotesize", 405.0, 14.0),
    (r"\footnotesize\setlength{\tabcolsep}{2pt}", 405.0, 5.0),
)
_HEADING = 13  # characters in a line, at least
_LETTER_WIDTHS = {"0123456789–": 5.0, "ijl.,;: ": 3.4, "frt()-": 4.0, "mwMW%±−≈Δ×+<>=": 8.4}
_NUMBER = re.compile(
    r"(?P<sign>[+−-])?(?P<whole>\d[\d,]*)(\.(?P<decimals>\d+))?(e(?P<exponent>-?\d+))?"
)
_LATEX_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "_": r"\_",
        "%": r"\%",
        "&": r"\&",
        "#": r"\#",
        "$": r"\$",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": "$<$",
        ">": "$>$",
        # What pdfLaTeX does not know as a character.
        "−": "$-$",
        "±": r"$\pm$",
        "≈": r"$\approx$",
        "≥": r"$\geq$",
        "≤": r"$\leq$",
        "Δ": r"$\Delta$",
        "×": r"$\times$",
        "–": "--",
    }
)


def inert(value: object) -> object:
    """A cell as it is, but text that a spreadsheet would run with an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def frame_of(table: Table) -> pd.DataFrame:
    """The data frame of a table, with the types that its columns name."""
    import pandas as pd

    records = list(table.records())
    frame = pd.DataFrame(records, columns=list(table.dtypes), dtype=object)
    return frame.astype(table.dtypes)


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """Comma-separated values with a head; the unknown is an empty field, text is no formula."""
    import pandas as pd

    safe, file = frame.rename(columns=inert), BytesIO()
    for name, column in safe.select_dtypes(["object", "str"]).items():
        safe[name] = pd.Series(map(inert, column), column.index, column.dtype)
    safe.to_csv(file, index=False, lineterminator="\n", mode="wb", encoding="utf-8")
    return file.getvalue()


def json_bytes(frame: pd.DataFrame) -> bytes:
    """A list of records; the unknown is null, and every float comes back bit by bit.

    The bytes are those of `json.dumps` with an indent of 1, which takes a minute and gigabytes for
    a million records.
    """
    fields = ",\n".join(f"  {_encode(str(name))}: ".replace("%", "%%") + "%s" for name in frame)
    record = f" {{\n{fields}\n }}"
    file = BytesIO()
    for first in range(0, len(frame), _BLOCK):
        block = frame.iloc[first : first + _BLOCK]
        columns = [_json_values(block.iloc[:, place]) for place in range(block.shape[1])]
        records = ",\n".join(record % values for values in zip(*columns, strict=True))
        file.write(f"{',' if first else '['}\n{records}".encode())
    file.write(b"\n]\n" if len(frame) else b"[]\n")
    return file.getvalue()


def frame_files(name: str, frame: pd.DataFrame) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files for programs: CSV, JSON and Parquet."""
    yield f"{name}.csv", csv_bytes(frame)
    yield f"{name}.json", json_bytes(frame)
    file = BytesIO()
    frame.to_parquet(file, engine="pyarrow", index=False)
    yield f"{name}.parquet", file.getvalue()


def reader_files(table: Table, alerts: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files for papers: Markdown and LaTeX below what must not be overlooked."""
    text = table.text()
    quoted = "".join(f"> **{alert}**\n\n" for alert in alerts)
    yield f"{table.name}.md", f"{quoted}{markdown_table(text)}\n".encode()
    commented = "".join(f"% {alert}\n" for alert in alerts)
    yield f"{table.name}.tex", f"{commented}{latex_table(text)}".encode()


def markdown_table(table: TextTable) -> str:
    """A table with aligned pipes."""
    return tabulate(
        [[cell.replace("|", "\\|") for cell in row] for row in table.rows],
        headers=[column.heading for column in table.columns],
        tablefmt="pipe",
        colalign=[column.align for column in table.columns] if table.rows else None,
        disable_numparse=True,
    )


def latex_table(table: TextTable) -> str:
    """A table for a document that loads `booktabs` and `siunitx`, as wide as the text of `article`.

    Columns of numbers are of siunitx's type S. What has no room is left out, as in a terminal; a
    table longer than a page breaks over several by `longtable`.
    """
    size, fitting, dropped = _fitted(table)
    columns, long = fitting.columns, len(fitting.rows) > _PAGE_ROWS
    numbers = [_is_numeric(column) for column in columns]
    types = "".join(
        _number_type(column) if number else column.align[0]
        for column, number in zip(columns, numbers, strict=True)
    )
    packages = f"booktabs,siunitx{',longtable' if long else ''}"
    environment = "longtable" if long else "tabular"
    lines = [f"% \\usepackage{{{packages}}}"]
    lines += [f"% left out, to fit the page: {', '.join(dropped)}"] * bool(dropped)
    lines += [f"{{{size}"] * bool(size)
    lines += [
        rf"\begin{{{environment}}}{{@{{}}{types}@{{}}}}",
        r"\toprule",
        _latex_row(map(_heading, columns, numbers)),
        r"\midrule",
        *([r"\endhead"] if long else []),
        *(_latex_row(map(_cell, row, numbers)) for row in fitting.rows),
        r"\bottomrule",
        rf"\end{{{environment}}}",
        *(["}"] * bool(size)),
    ]
    return "\n".join(lines) + "\n"


def _fitted(table: TextTable) -> tuple[str, TextTable, tuple[str, ...]]:
    """The size of letters at which the table fits, the largest that does, and `fit` at that size."""
    found: tuple[str, TextTable, tuple[str, ...]] = ("", table, ())
    for size, room, between in _SIZES:
        width = partial(_latex_width, between=between)
        found = (size, *fit(table, room + between, width))
        if sum(map(width, found[1].columns)) <= room + between:
            break
    return found


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _heading(column: TextColumn, number: bool) -> str:
    """Several lines where it is much wider than its column; in braces it is not taken for a number."""
    lines = [line.translate(_LATEX_ESCAPES) for line in _heading_lines(column)]
    stack = "" if number else f"[{column.align[0]}]"
    found = "".join(lines)
    if len(lines) > 1:
        found = rf"\shortstack{stack}{{" + r"\\".join(lines) + "}"
    return f"{{{found}}}" if number else found


def _heading_lines(column: TextColumn) -> list[str]:
    return wrap(column.heading, max(_HEADING, *map(len, column.cells), 0), break_long_words=False)


def _cell(cell: str, number: bool) -> str:
    """In a column of numbers, what is none stands in braces."""
    if number and _NUMBER.fullmatch(cell):
        return cell.replace("−", "-").replace(",", "")
    escaped = cell.translate(_LATEX_ESCAPES)
    return f"{{{escaped}}}" if number and cell else escaped


def _is_numeric(column: TextColumn) -> bool:
    return column.align == "right" and any(map(_NUMBER.fullmatch, column.cells))


def _number_type(column: TextColumn) -> str:
    """Type S with room for the longest of each part of the numbers."""
    found = [match for match in map(_NUMBER.fullmatch, column.cells) if match]

    def longest(part: str) -> int:
        return max(len((match[part] or "").replace(",", "")) for match in found)

    signed, decimals, exponent = any(match["sign"] for match in found), longest("decimals"), ""
    if digits := longest("exponent"):
        negative = any((match["exponent"] or "").startswith("-") for match in found)
        exponent = f"e-{digits - 1}" if negative else f"e{digits}"
    plus = ", retain-explicit-plus" if any(match["sign"] == "+" for match in found) else ""
    parts = f"{'+' if plus else '-' if signed else ''}{longest('whole')}"
    return f"S[table-format={parts}{f'.{decimals}' if decimals else ''}{exponent}{plus}]"


def _latex_width(column: TextColumn, between: float) -> float:
    """About how many points a column takes in 10-point Computer Modern, rather more than less."""
    return max(map(_text_width, ("", *_heading_lines(column), *column.cells))) + between


def _text_width(cell: str) -> float:
    text, power, _ = cell.partition("e") if _NUMBER.fullmatch(cell) else (cell, "", "")
    return sum(map(_letter_width, text)) + (34 if power else 0)  # × 10⁻⁴


def _letter_width(letter: str) -> float:
    for letters, width in _LETTER_WIDTHS.items():
        if letter in letters:
            return width
    return 7.5 if letter.isupper() else 5.3


def _json_values(column: pd.Series[Any]) -> list[str]:
    """Each value as JSON."""
    from pandas.api.types import is_numeric_dtype

    known = column.astype(object).where(column.notna(), None)
    if not is_numeric_dtype(column):
        return [_encode(v.item() if hasattr(v, "item") else v) for v in known]
    return _encode(known.tolist())[1:-1].split(", ")  # no text, hence no comma in a value
