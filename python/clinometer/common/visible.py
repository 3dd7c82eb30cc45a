"""Text from outside made harmless for terminals, pages, logs and messages, and the known name nearest to it."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import islice

_USER = re.compile(r"""([A-Za-z][A-Za-z0-9+.-]*://)[^/\s'"?#]*@""")
_QUERY = re.compile(r"""([A-Za-z][A-Za-z0-9+.-]*://[^?\r\n]*\?)([^\s'"#]*)""")  # a path may hold spaces and quotes

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
    shown = [cut(n) for n in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def cut(text: str, most: int = 80) -> str:
    """Visible text of at most so many characters, and whether there were more."""
    return visible(text if len(text) <= most else text[:most] + "...")


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quote(text: object, limit: int = 80) -> str:
    """Show a name or path from outside: control and direction marks escaped, long ones cut."""
    shown = str(text)
    return repr(shown if len(shown) <= limit else shown[:limit] + "...")


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


_LONGEST, _MOST = 200, 5000  # letters of a name and names that are compared: an error must not take minutes


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The most similar known name, None where nothing is similar.

    >>> nearest("helpfol", ["harm", "helpful"])
    'helpful'
    """
    from difflib import get_close_matches

    if len(given) > _LONGEST:
        return None
    found = get_close_matches(given, [name for name in islice(known, _MOST) if len(name) <= _LONGEST], 1, 0.6)
    return found[0] if found else None


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """An end for an error message: "; did you mean 'helpful'?", or nothing."""
    found = nearest(given, known)
    return "" if found is None else f"; did you mean {quote(found)}?"
