"""Prose of reports: sentences rendered from the templates in `templates/`."""

from __future__ import annotations

import math
import re
import shlex
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

from mnist_tune.metrics import ACCURACY
from mnist_tune.reports import formatting
from mnist_tune.statistics.means import FEW_SEEDS, SECOND_LOOK_ALPHA


def paragraphs(template: str, **values: Any) -> tuple[str, ...]:
    """Render a template: blank lines separate paragraphs, of which each becomes one line."""
    text = environment().get_template(f"{template}.jinja").render(values)
    # Names that people gave keep their spaces.
    blocks = (re.sub(r"\s*\n\s*", " ", block.strip()) for block in text.split("\n\n"))
    return tuple(block for block in blocks if block)


def caption(kind: str, **values: Any) -> str:
    """What a figure shows."""
    return paragraphs("captions", kind=kind, **values)[0]


@cache
def environment() -> Environment:
    """Templates with the functions that write numbers; a page of HTML is escaped."""
    found = Environment(
        loader=FunctionLoader(_source),
        autoescape=lambda name: ".html" in (name or ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.globals |= {
        name: getattr(formatting, name) for name in vars(formatting) if name[0] != "_"
    }
    found.globals |= {
        "ACCURACY": ACCURACY,
        "few_seeds": FEW_SEEDS,
        "second_look": SECOND_LOOK_ALPHA,
    }
    found.filters |= {
        "quoted": shlex.quote,
        "describe": lambda entry, results: results.describe(entry),
    }
    found.tests["nan"] = math.isnan
    return found


def _source(name: str) -> str:
    return (resources.files("mnist_tune.reports") / "templates" / name).read_text(encoding="utf-8")
