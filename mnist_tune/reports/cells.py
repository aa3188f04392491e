"""Text in the cells of a CSV file, which spreadsheets must not take for a formula."""

from __future__ import annotations

_FORMULA = ("=", "+", "-", "@", "\t")


def inert(value: object) -> object:
    """A cell as it is, but text that a spreadsheet would run with an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
