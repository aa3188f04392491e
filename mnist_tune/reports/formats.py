"""Data frames as bytes with full precision: CSV, JSON and Parquet."""

from __future__ import annotations

import json as _json
from io import BytesIO
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from mnist_tune.reports.cells import inert

_BLOCK = 10_000  # records that are text at once
_encode = _json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def csv(frame: pd.DataFrame) -> bytes:
    """Comma-separated values with a head; the unknown is an empty field, text is no formula."""
    safe, file = frame.rename(columns=inert), BytesIO()
    for name, column in safe.select_dtypes(["object", "str"]).items():
        safe[name] = pd.Series(map(inert, column), column.index, column.dtype)
    safe.to_csv(file, index=False, lineterminator="\n", mode="wb", encoding="utf-8")
    return file.getvalue()


def json(frame: pd.DataFrame) -> bytes:
    """A list of records; the unknown is null, and every float comes back bit by bit.

    The bytes are those of `json.dumps` with an indent of 1, which takes a minute and gigabytes for
    a million records.
    """
    fields = ",\n".join(f"  {_encode(str(name))}: ".replace("%", "%%") + "%s" for name in frame)
    record = f" {{\n{fields}\n }}"
    file = BytesIO()
    for first in range(0, len(frame), _BLOCK):
        block = frame.iloc[first : first + _BLOCK]
        columns = [_texts(block.iloc[:, place]) for place in range(block.shape[1])]
        records = ",\n".join(record % values for values in zip(*columns, strict=True))
        file.write(f"{',' if first else '['}\n{records}".encode())
    file.write(b"\n]\n" if len(frame) else b"[]\n")
    return file.getvalue()


def parquet(frame: pd.DataFrame) -> bytes:
    """Columns with their types."""
    file = BytesIO()
    frame.to_parquet(file, engine="pyarrow", index=False)
    return file.getvalue()


def _texts(column: pd.Series[Any]) -> list[str]:
    """Each value as JSON."""
    if not is_numeric_dtype(column):
        return [_encode(_plain(value)) for value in column]
    known = column.astype(object).where(column.notna(), None)
    return _encode(known.tolist())[1:-1].split(", ")  # no text, hence no comma in a value


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
