"""Tables for people as LaTeX."""

from __future__ import annotations

import pandas as pd

from mnist_tune.reports.views import View

_ESCAPES = {
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


def latex_table(view: View) -> str:
    """A `tabular` for a document that loads `booktabs`; nothing else is needed."""
    columns = [escaped(column.title) for column in view.columns]
    rows = [[escaped(cell) for cell in row] for row in view.rows]
    layout = "".join(column.align[0] for column in view.columns)
    frame = pd.DataFrame(rows, columns=columns)
    return frame.to_latex(index=False, escape=False, column_format=layout)


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(_ESCAPES.get(character, character) for character in text)
