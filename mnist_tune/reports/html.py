"""Reports as one HTML file: pictures and style inside it, no script, nothing fetched."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from mnist_tune.reports.document import Document, Section
from mnist_tune.reports.illustrations import Illustration

_COMMAND = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of the page under its own head.

    Attributes:
        document: its text; the section `figures` shows the pictures.
        pictures: drawn; they stand in place of the text of that section.
        outlined: whether the list of contents names its sections too.
    """

    document: Document
    pictures: tuple[Illustration, ...] = ()
    outlined: bool = False


def page(title: str, chapters: Sequence[Chapter]) -> str:
    """One self-contained page; of several chapters each gets its part in the list of contents."""
    text: str = _template().render(title=title, chapters=chapters, single=len(chapters) == 1)
    return text


@cache
def _template() -> Any:
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"anchor": _anchor, "prose": _prose, "data_uri": _data_uri}
    environment.tests["shown"] = _is_shown
    source = resources.files("mnist_tune.reports").joinpath("page.html.jinja")
    return environment.from_string(source.read_text(encoding="utf-8"))


def _anchor(text: str) -> str:
    """Text as the name of a place in the page."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"


def _prose(text: str) -> Markup:
    """Escaped text with commands in backticks as code."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(Markup.escape(text))))


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _is_shown(section: Section, pictures: Sequence[Illustration]) -> bool:
    """Whether there is anything below a section's head."""
    rows = section.view is not None and bool(section.view.rows)
    return bool(section.text or rows or (section.key == "figures" and pictures))
