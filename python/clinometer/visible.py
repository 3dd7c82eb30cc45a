"""Text from outside made harmless for terminals, logs and messages."""

from __future__ import annotations

import unicodedata

__all__ = ["visible"]

# Controls, format marks (bidi, zero width, tags), surrogates, private, unassigned, line and paragraph ends.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: object) -> str:
    """The text with every character that is not plainly visible written as an escape.

    Examples
    --------
    >>> visible("a" + chr(27) + "[31m" + chr(0x202E))
    'a\\\\x1b[31m\\\\u202e'
    """
    return "".join(_escape(c) if unicodedata.category(c) in _HIDDEN else c for c in str(text))


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
