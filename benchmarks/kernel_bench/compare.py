"""Two runs compared. Their seconds come from different moments, so shares of the limit decide, not seconds."""

from __future__ import annotations

from typing import Any

from clinometer.bench.pairs import interval, median

from .table import WIDTH
from .targets import judge, of_limit, raised

__all__ = ["compare"]

Json = dict[str, Any]


def compare(before: Json, after: Json) -> str:
    """Text: seconds, share of the limit with its interval, and verdicts that changed.

    A cell is called faster or slower where the intervals of its share do not overlap.
    """
    old, new = ({r["name"]: r for r in run["cells"]} for run in (before, after))
    out = [f"A: {_title(before)}", f"B: {_title(after)}"]
    different = [k for k in ("cpu", "threads", "isa", "setting") if before["about"].get(k) != after["about"].get(k)]
    if different:
        out.append(f"warning: the runs differ in {', '.join(different)}")
    out += ["", f"{'kernel':{WIDTH}}{'A median':>10}{'B median':>10}{'A / B':>7}{'share A':>21}{'share B':>21}"]
    factors = [raised(list(run.values())) for run in (old, new)]
    for name in (n for n in old if n in new):
        pair = (old[name], new[name])
        if all("seconds" in r for r in pair):
            out.append(_line(name, pair, factors))
    out += [f"only in {which}: {n}" for which, a, b in (("A", old, new), ("B", new, old)) for n in a if n not in b]
    return "\n".join([*out, *_changed(old, new)])


def _title(run: Json) -> str:
    a = run["about"]
    return f"{a.get('date')}, commit {a.get('commit')}, {a.get('cpu')}, {a.get('threads')} threads, {a.get('setting')}"


def _line(name: str, pair: tuple[Json, Json], factors: list[dict[str, float]]) -> str:
    a, b = (median(r["seconds"]) for r in pair)
    text = f"{name:{WIDTH}}{a:10.5f}{b:10.5f}{a / b:7.2f}"
    if not all("limit" in r for r in pair):
        return text
    shares = [of_limit(r, f) for r, f in zip(pair, factors, strict=True)]
    spans = [interval(s) for s in shares]
    for share, span in zip(shares, spans, strict=True):
        around = f" [{span[0]:.2f}, {span[1]:.2f}]" if span else ""
        text += f"{median(share):.2f}{around}".rjust(21)
    if spans[0] is None or spans[1] is None:
        return text
    return text + ("  faster" if spans[1][0] > spans[0][1] else "  slower" if spans[1][1] < spans[0][0] else "")


def _changed(old: dict[str, Json], new: dict[str, Json]) -> list[str]:
    was, now = ({(j.target, j.cell): j.verdict for j in judge(list(run.values()))} for run in (old, new))
    lines = [
        f"{target.row}: {cell}, {target.measure}: {was[target, cell]} -> {verdict}"
        for (target, cell), verdict in now.items()
        if (target, cell) in was and was[target, cell] != verdict
    ]
    return ["", "verdicts that changed", *lines] if lines else []
