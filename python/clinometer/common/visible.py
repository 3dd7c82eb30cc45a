"""Text from outside made harmless for terminals, logs and messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

__all__ = ["few", "quote", "visible", "without_secrets"]

_USER = re.compile(r"""([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'"?#]*@""")
_QUERY = re.compile(r"""([A-Za-z][A-Za-z0-9+.-]*://[^\s'"?#]*\?)([^\s'"#]*)""")

# Controls, format marks (bidi, zero width, tags), surrogates, private, unassigned, line and paragraph ends.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: object) -> str:
    """The text with every character that is not plainly visible written as an escape.

    >>> visible("a" + chr(27) + "[31m" + chr(0x202E))
    'a\\\\x1b[31m\\\\u202e'
    """
    return "".join(_escape(c) if unicodedata.category(c) in _HIDDEN else c for c in str(text))


def without_secrets(text: str) -> str:
    """The text with users, passwords and the values of queries in its web addresses shown as ***.

    >>> without_secrets("https://me:word@host/x.npy?X-Signature=abc: gone")
    'https://***@host/x.npy?X-Signature=*** gone'
    """
    if "://" not in text:
        return text
    return _QUERY.sub(lambda found: found[1] + _PARAMETER.sub(_hidden, found[2]), _USER.sub(r"\1***@", text))


_PARAMETER = re.compile(r"[^&]+")


def _hidden(parameter: re.Match[str]) -> str:
    name, is_, _ = parameter[0].partition("=")
    return f"{name}=***" if is_ else "***"


def few(names: Sequence[str], most: int = 4) -> str:
    """The first names, shortened, and how many more there are: for messages, whatever there is."""
    shown = [visible(n if len(n) <= 80 else n[:80] + "...") for n in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quote(text: object, limit: int = 80) -> str:
    """Show a name or path from outside: control and direction marks escaped, long ones cut."""
    shown = str(text)
    return repr(shown if len(shown) <= limit else shown[:limit] + "...")
