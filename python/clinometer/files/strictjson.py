"""JSON without guesses: duplicate keys, NaN, endless numbers, bad UTF-8, half characters, deep nesting are refused."""

from __future__ import annotations

import json
import re
from typing import Any

from clinometer.common.visible import quote
from clinometer.errors import DumpError, bad

_LONGEST_NUMBER = 40
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {quote(key)} occurs twice")
            seen.add(key)
    return out


def _integer(text: str) -> int:
    # int() is quadratic in the digits, and no size or count of a dump needs more than 20.
    if len(text) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def loads(data: bytes, path: str, start: int, field: str, *, halves: bool = False) -> Any:
    """Parse `data`, which begins at byte `start` of `path`; every failure is a DumpError with the offset.

    `halves` lets halves of surrogate pairs through, which models do write in their texts.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise bad(path, "is not UTF-8", field, start + exc.start) from exc
    try:
        value = json.loads(text, object_pairs_hook=_pairs, parse_int=_integer, parse_constant=_constant)
        if not halves and (escape := _SURROGATE.search(text)) is not None:
            _check_unicode(value, path, start + len(text[: escape.start()].encode("utf-8")), field)
        return value
    except json.JSONDecodeError as exc:
        offset = start + len(text[: exc.pos].encode("utf-8"))
        raise bad(path, f"is not JSON ({exc.msg})", field, offset) from exc
    except RecursionError:
        raise bad(path, "is nested too deeply", field, start) from None
    except ValueError as exc:
        if isinstance(exc, DumpError):
            raise
        raise bad(path, f"is refused ({exc})", field, start) from exc


def _check_unicode(value: Any, path: str, at: int, field: str) -> None:
    """Escapes may come in pairs; half a pair is no character, and nothing could write it again."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise bad(path, "escapes half a character", field, at) from None
