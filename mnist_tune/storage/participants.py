"""Which studies an analysis was made with, told by its inputs. Standard library only."""

from __future__ import annotations

from typing import Any


def takes_part(inputs: Any, uid: str, name: str) -> bool:
    """Whether a study is named anywhere in the inputs of an analysis, by its uid or its name."""
    if isinstance(inputs, dict):
        named = inputs.get("uid", uid if inputs.get("study") == name else None)
        return named == uid or any(takes_part(value, uid, name) for value in inputs.values())
    return isinstance(inputs, list) and any(takes_part(value, uid, name) for value in inputs)
