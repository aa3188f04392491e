"""Makes text safe for cells of a CSV file, where spreadsheets run formulas."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t")


def inert(value: object) -> object:
    """A cell as it is, but text that a spreadsheet would run with an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
