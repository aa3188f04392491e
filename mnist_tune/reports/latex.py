"""Tables for people as LaTeX."""

from __future__ import annotations

from collections.abc import Iterable

from mnist_tune.reports.views import View

_ESCAPES = str.maketrans(
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


def latex_table(view: View) -> str:
    """A `tabular` for a document that loads `booktabs`; nothing else is needed."""
    layout = "".join(column.align[0] for column in view.columns)
    lines = (
        rf"\begin{{tabular}}{{{layout}}}",
        r"\toprule",
        _line(column.title for column in view.columns),
        r"\midrule",
        *map(_line, view.rows),
        r"\bottomrule",
        r"\end{tabular}",
    )
    return "\n".join(lines) + "\n"


def _line(cells: Iterable[str]) -> str:
    return " & ".join(map(escaped, cells)) + r" \\"


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return text.translate(_ESCAPES)
