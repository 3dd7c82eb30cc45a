"""Text from outside made harmless: what a dump calls its columns must not steer a terminal or a page."""

from __future__ import annotations

import html
import unicodedata

__all__ = ["fit", "markup", "markup_lines", "visible", "width"]

# Controls, format marks (bidi, zero width, tags), surrogates, private, unassigned, line and paragraph ends.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: object) -> str:
    """The text with every character that is not plainly visible written as an escape."""
    return "".join(_escape(c) if unicodedata.category(c) in _HIDDEN else c for c in str(text))


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


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
