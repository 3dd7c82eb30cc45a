"""The theory measured: simulate its worlds and compare every claim with what it should be.

`verify()` gives the rows, `clinometer verify` prints them. A claim is a function under `@claim`; its file is the
group of items it belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from clinometer.common.visible import did_you_mean

from .registry import Row, claims, judged

__all__ = ["Row", "heading", "markdown", "table", "verify"]

_WIDE = 104


def verify(only: Sequence[str] | None = None, *, progress: Callable[[int, int], None] | None = None) -> list[Row]:
    """Measure the claims of the theory, or those of some items.

    Parameters
    ----------
    only : items such as "T3" or "11.9"; None takes all
    progress : called with (done, total)

    Returns
    -------
    list of Row
        ``.item .claim .measured .expected .verdict``, the verdict "pass" or "fail". Draws are seeded: the same
        numbers every time on one machine. Cost: well under a minute for all; imports SciPy.

    >>> [row.verdict for row in verify(["P5"])][:2]
    ['pass', 'pass']
    """
    chosen = list(claims())
    if only is not None:
        known = dict.fromkeys(c.item for c in chosen)
        unknown = [item for item in only if item not in known]
        if unknown:
            raise ValueError(f"item {unknown[0]!r} is none of {', '.join(known)}{did_you_mean(unknown[0], known)}")
        chosen = [c for c in chosen if c.item in only]
    rows = []
    for done, one in enumerate(chosen):
        if progress is not None:
            progress(done, len(chosen))
        rows.append(judged(one))
    if progress is not None:
        progress(len(chosen), len(chosen))
    return rows


def table(rows: Iterable[Row]) -> str:
    """The rows as text, with a count at the end."""
    held = list(rows)
    lines = [f"{'item':<8}{'claim':<{_WIDE}}{'measured':>14}  {'expected':<24}verdict"]
    for row in held:
        text = row.claim if len(row.claim) < _WIDE else row.claim[: _WIDE - 2] + "~"
        lines.append(f"{row.item:<8}{text:<{_WIDE}}{row.measured:>14}  {row.expected:<24}{row.verdict}")
    return "\n".join([*lines, "", _count(held)])


def markdown(rows: Iterable[Row], above: str = "") -> str:
    """The rows as a Markdown table, nothing cut."""
    held = list(rows)

    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")

    lines = [above, ""] if above else []
    lines += [_count(held), "", "| item | claim | measured | expected | verdict |", "| --- | --- | ---: | --- | --- |"]
    for row in held:
        cells = (cell(x) for x in (row.item, row.claim, row.measured, row.expected, row.verdict))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def heading() -> str:
    """What a page of the table says above it."""
    import platform

    import numpy
    import scipy

    from clinometer import __version__, _core

    versions = f"clinometer {__version__} ({_core.isa()} kernels), Python {platform.python_version()}"
    libraries = f"NumPy {numpy.__version__}, SciPy {scipy.__version__}"
    return f"# What the theory claims, measured\n\nWritten by `clinometer verify -o FILE`: {versions}, {libraries}."


def _count(rows: list[Row]) -> str:
    failed = [row.item for row in rows if row.verdict != "pass"]
    said = f"{len(rows)} claims, {len(rows) - len(failed)} pass"
    return said + (f", {len(failed)} fail: {', '.join(dict.fromkeys(failed))}" if failed else "")
