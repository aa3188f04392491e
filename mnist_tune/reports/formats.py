"""Data frames as bytes with full precision: CSV, JSON and Parquet."""

from __future__ import annotations

import json as _json
from io import BytesIO
from typing import Any

import pandas as pd


def csv(frame: pd.DataFrame) -> bytes:
    """Comma-separated values with a head; the unknown is an empty field."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


def json(frame: pd.DataFrame) -> bytes:
    """A list of records; the unknown is null, and every float comes back bit by bit."""
    records = [
        {str(name): _plain(value) for name, value in record.items()}
        for record in frame.to_dict("records")
    ]
    return f"{_json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False)}\n".encode()


def parquet(frame: pd.DataFrame) -> bytes:
    """Columns with their types."""
    file = BytesIO()
    frame.to_parquet(file, engine="pyarrow", index=False)
    return file.getvalue()


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return value.item() if hasattr(value, "item") else value
