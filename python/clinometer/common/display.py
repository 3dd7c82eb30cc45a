"""Results as text and HTML: what is in them, in a few lines; names from a dump never reach a terminal raw."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from .tabular import Dims, cells, labels_of, scalars, sizes_of, variables
from .visible import markup, visible

if TYPE_CHECKING:
    from .results import Result

SHOWN_ROWS, SHOWN_COLUMNS, SHOWN_TEXT, LINE = 20, 12, 80, 110


def summary(result: Result) -> str:
    """A few lines: the axes with their labels, which arrays there are, and the numbers beside them."""
    arrays, who = variables(result), type(result).__name__
    rest = ", ".join(f"{k}: {_short(v)}" for k, v in scalars(result).items())
    if not arrays:
        return f"{who}({_cut(rest, 600)})"
    sizes, labels = sizes_of(arrays), labels_of(result, arrays)
    lines = [f"{who}: " + ", ".join(f"{d} {n}" for d, n in sizes.items() if d not in ("bound", "value_2"))]
    for dim in sizes:
        if dim in labels and labels[dim][1] and not dim.endswith("_2"):
            lines.append(f"{dim}: {_listed(labels[dim][0])}")
    lead = next((f for f in next(iter(result.axes.values())).split() if f in arrays), None)
    spent = {field for _, field in labels.values()}
    groups: dict[Dims, list[str]] = {}
    for name, (dims, a) in arrays.items():
        if name not in spent:
            shown = name
            if a.size <= 4 and a.ndim <= 1:
                shown += f" {_listed(np.atleast_1d(a))}"
            elif name == lead and a.dtype.kind == "f" and np.isfinite(a).any():
                shown += f" {np.nanmin(a):.3g} to {np.nanmax(a):.3g}"
            groups.setdefault(dims, []).append(shown)
    lines += [f"({', '.join(dims)}) " + ", ".join(names) for dims, names in groups.items()]
    return "\n  ".join(_cut(line, LINE) for line in [*lines, *([rest] if rest else [])][:14])


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return _cut(visible(", ".join(map(str, value)) if isinstance(value, list) else value), 40)


def _listed(values: Iterable[Any]) -> str:
    held = list(values)
    return ", ".join(_short(v.item() if isinstance(v, np.generic) else v) for v in held[:6]) + (
        f", .. {len(held)} in all" if len(held) > 6 else ""
    )


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 2] + ".."


def page(result: Result) -> str:
    """A small HTML table of the first cells, everything escaped."""
    columns = cells(result)
    names = list(columns)[:SHOWN_COLUMNS]
    count = max((len(c) for c in columns.values()), default=0)
    head = "".join(f"<th>{markup(n)}</th>" for n in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(columns[n][i]))}</td>" for n in names) + "</tr>"
        for i in range(min(count, SHOWN_ROWS))
    )
    more = f"{count} row{'s' * (count != 1)}, {len(columns)} column{'s' * (len(columns) != 1)}"
    if count > SHOWN_ROWS or len(columns) > SHOWN_COLUMNS:
        more += "; to_frame() has them all"
    return (
        f"<table><caption>{type(result).__name__}: {more}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cell(value: Any) -> str:
    plain = value.item() if isinstance(value, np.generic) else value
    return f"{plain:.4g}" if isinstance(plain, float) else _cut(visible(plain), SHOWN_TEXT)
