"""The report in thirty lines: the verdict, the table at its KL with the words explained, and where the rest is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinometer.common.visible import fit, visible

from .text import COLUMNS, MOVES_NOTHING, NAME, heading, legend, row, wrapped

if TYPE_CHECKING:
    from .result import Report

LINES, OF_VERDICT = 30, 10


def brief(report: Report) -> str:
    """At most LINES lines of at most 110 columns."""
    best = report.best()
    assert best is not None  # None only under a floor
    k, b = best.index
    asked = ", ".join(f"{x:g}" for x in sorted(report.kl))
    lines = _cut(wrapped(report.verdict(), f"verdict, at {best.kl:g} nats of KL (asked for: {asked}): ", "  "))
    meaning, end = legend(report, [b]), _rest(report)
    room = LINES - len(lines) - len(meaning) - len(end) - 3
    order = [k, *(i for i in range(len(report.constitutions)) if i != k)]
    lines += ["", _title(report, best.kl), *_table(report, order, b, room), *meaning]
    for note in report.notes:
        said = wrapped(note, "note: ", "  ")
        if len(lines) + len(said) + 1 + len(end) > LINES:
            break
        lines += said
    return "\n".join(line.rstrip() for line in [*lines, "", *end])


def _cut(lines: list[str]) -> list[str]:
    more = " ... (all of it: verdict())"
    if len(lines) <= OF_VERDICT:
        return lines
    return [*lines[: OF_VERDICT - 1], fit(lines[OF_VERDICT - 1], COLUMNS - len(more)).rstrip() + more]


def _title(report: Report, kl: float) -> str:
    d = report.dump
    low, middle, high = d.responses
    each = f"{middle:g}" if low == high else f"{low:g} to {high:g}"
    name = visible(d.name) + ("" if d.site is None else f", {visible(d.site)}")
    return fit(f"gains at {kl:g} nats; {d.prompts} of {each} responses, base {d.base}; {name}", COLUMNS)


def _table(report: Report, order: list[int], b: int, room: int) -> list[str]:
    """Constitutions while there is room, at least the first; a last line counts what is left out."""
    known = report.labels_known is not None and bool(report.labels_known.any())
    out, room = [heading(known)], room - 1
    for at, k in enumerate(order):
        block = [_about(report, k, b), *(row(report, k, b, j, known) for j in range(len(report.values)))]
        later = len(order) - at - 1
        if len(block) + (later > 0) > room:
            held = block[: room - 1] if at == 0 else []
            more = [f"{len(block) - len(held)} more values"] if at == 0 else []
            later += at > 0
            more += [f"{later} more constitution{'s' * (later > 1)}"] if later else []
            return [*out, *held, f"  .. and {', '.join(more)}"]
        out += block
        room -= len(block)
    return out


def _about(report: Report, k: int, b: int) -> str:
    t, kind = report.tilt, "value as judge " if report.self_judged else ""
    mark = ">" if report.past_horizon[k, b] else " "
    ess, tail, horizon = (_two(x) for x in (t.ess[k, b], t.pareto_k[k, b], report.horizon[k]))
    said = f"{report.classes[k, b]}; {t.fit_status[k]}; ESS {ess}, Pareto k {tail}, horizon {horizon} nats"
    if report.idle[k]:
        said = f"{t.fit_status[k]}; {MOVES_NOTHING}"
    name = f"{mark}{kind}{fit(report.constitutions[k], NAME)}"
    return fit(f" {name} beta {report.policy.betas[k, b]:.3g}; {said}", COLUMNS)


def _two(x: float) -> str:
    return "-" if np.isnan(x) else f"{x:.2f}"


def _rest(report: Report) -> list[str]:
    held = {
        "every KL": len(report.kl) > 1, "values": True, "cone": report.cone is not None,
        "mixtures": report.pareto is not None, "halves": report.selection is not None, "layers": bool(report.layers),
        "spectrum": report.spectrum is not None, "rounds": report.iterated is not None,
        "groups": bool(report.groups), "gold": report.gold is not None, "responses": bool(report.examples),
        f"{len(report.notes)} note{'s' * (len(report.notes) > 1)}": bool(report.notes), "what is not covered": True,
    }  # fmt: skip
    return wrapped(f"to_text(full=True): {', '.join(name for name, there in held.items() if there)}", "", "  ")
