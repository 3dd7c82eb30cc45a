"""What somebody may have meant: the known name nearest to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from .visible import quote

__all__ = ["did_you_mean", "nearest"]

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
