"""Text from outside made harmless: what a dump calls its columns must not steer a terminal or a page."""

from __future__ import annotations

import html
import unicodedata

from .visible import visible

__all__ = ["fit", "markup", "markup_lines", "visible", "width"]


def markup(text: object) -> str:
    """`visible` text for HTML, as content or inside a quoted attribute."""
    return html.escape(visible(text), quote=True)


def markup_lines(text: object) -> str:
    """`markup` that keeps line breaks, for elements that show them."""
    return "\n".join(markup(line) for line in str(text).split("\n"))


def width(text: str) -> int:
    """Terminal columns of visible text: combining marks take none, wide characters two."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fit(text: object, columns: int) -> str:
    """Visible text cut or padded to exactly `columns` terminal columns."""
    shown = visible(text)
    if width(shown) > columns:
        kept = ""
        for c in shown:
            if width(kept + c) > columns - 2:
                break
            kept += c
        shown = kept + ".."
    return shown + " " * (columns - width(shown))
