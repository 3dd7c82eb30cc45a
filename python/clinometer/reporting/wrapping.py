"""Sentences in lines of one width."""

from __future__ import annotations

import textwrap

from clinometer.common.visible import visible

__all__ = ["COLUMNS", "wrapped"]


COLUMNS = 110


def wrapped(sentence: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(visible(sentence), COLUMNS, initial_indent=first, subsequent_indent=rest) or [first]
