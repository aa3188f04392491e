"""Tables as bytes and text: CSV, JSON and Parquet of data frames, Markdown and LaTeX for readers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from mnist_tune.reports.columns import Table, TextTable

if TYPE_CHECKING:  # pandas costs half a second, which a report for readers does not have
    import pandas as pd

_FORMULA = ("=", "+", "-", "@", "\t")  # how a cell begins that spreadsheets run
_BLOCK = 10_000  # records that are text at once
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode

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
        "Δ": r"$\Delta$",
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
    """A `tabular` for a document that loads `booktabs`; nothing else is needed."""
    lines = (
        rf"\begin{{tabular}}{{{''.join(column.align[0] for column in table.columns)}}}",
        r"\toprule",
        _latex_row(column.heading for column in table.columns),
        r"\midrule",
        *map(_latex_row, table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    )
    return "\n".join(lines) + "\n"


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cell.translate(_LATEX_ESCAPES) for cell in cells) + r" \\"


def _json_values(column: pd.Series[Any]) -> list[str]:
    """Each value as JSON."""
    from pandas.api.types import is_numeric_dtype

    known = column.astype(object).where(column.notna(), None)
    if not is_numeric_dtype(column):
        return [_encode(v.item() if hasattr(v, "item") else v) for v in known]
    return _encode(known.tolist())[1:-1].split(", ")  # no text, hence no comma in a value
