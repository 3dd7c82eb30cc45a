"""The sections for the reader who doubts: layers, spectrum, rounds, diagnostics, and how to make it again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from clinometer.common.visible import markup, markup_lines
from clinometer.reporting.text import number

from .sections import chart
from .tables import between, sized, table, value_label

if TYPE_CHECKING:
    from clinometer.reporting.result import Report


FIRST_NOTES = 12
RANKS = (("effective rank (entropy)", "effective_rank"), ("participation", "participation"), ("stable rank", "stable"))


def listed(sentences: Iterable[str]) -> str:
    """Sentences as a list; of many, the rest behind a line that opens."""
    items = [f"<li>{markup(s)}</li>\n" for s in sentences]
    if not items:
        return ""
    rest = items[FIRST_NOTES:]
    more = f"<details><summary>and {len(rest)} more</summary><ul>{''.join(rest)}</ul></details>" if rest else ""
    return f"<ul>{''.join(items[:FIRST_NOTES])}</ul>{more}"


def layers(report: Report) -> str:
    """How well each site encodes the values, and what its cone allows."""
    if not report.layers:
        return ""
    names = report.values[: report.n_requested]
    rows = [
        [
            str(s["site"]), "-" if s["layer"] is None else str(s["layer"]), number(_or_nan(s["margin"]), digits=3),
            *(f"{number(q, digits=3)} ({between(*ci)})" for q, ci in zip(s["quality"], s["quality_ci"], strict=True)),
        ]
        for s in report.layers
    ]  # fmt: skip
    head = ["site", "layer", "cone margin", *(f"R2 of {v}" for v in names)]
    caption = "out of fold, inside prompts, with 95 %; margin: what the best direction gives the value that gains least"
    return chart("layers") + table(caption, head, rows)


def _or_nan(x: float | None) -> float:
    return float("nan") if x is None else float(x)


def spectrum(report: Report) -> str:
    """How many directions the responses of a prompt vary in, and where the values lie among them."""
    s = report.spectrum
    if s is None:
        return ""
    facts = [
        [name, number(s[key], sign=False, digits=1)]
        for name, key in RANKS
        if s.get(key) is not None
    ]  # fmt: skip
    shares = np.atleast_1d(s.get("concentration", np.array([])))
    facts += [
        [f"share of {report.values[j]} in the first {s.get('m', 'few')}", number(float(x), sign=False, digits=3)]
        for j, x in enumerate(shares)
    ]
    return f'<div class="side">{chart("spectrum")}{table("inside prompts", ["quantity", "size"], facts)}</div>'


def rounds(report: Report) -> str:
    """What the recommended tilt does when it is applied again and again."""
    made = report.iterated
    if made is None:
        return ""
    gain, kl, ess = (np.asarray(made[key], np.float64) for key in ("gain", "kl", "ess"))
    rows = [
        [
            str(t + 1),
            number(kl[t], sign=False, digits=3),
            number(ess[t], sign=False, digits=3),
            *(sized(x, sign=True, digits=3) for x in gain[t]),
        ]
        for t in range(len(gain))
    ]
    head = ["round", "KL", "ESS share", *(value_label(report, j) for j in range(gain.shape[1]))]
    made_table = table(
        f"gains of {made.get('constitution', 'the recommended constitution')}, rounds accumulated"
        + (f" ({report.as_given})" if report.gold is not None else ""),
        head,
        rows,
    )
    said = (
        "Each round tilts the policy of the one before by the same score and beta. KL and gains are the policy's, from "
        "the base on; none are given past the horizon of these rows."
    )
    return (
        f'<p class="dim">{said}</p><div class="side rounds"><div>{chart("rounds")}</div><div>{made_table}</div></div>'
    )


def diagnostics(report: Report) -> str:
    """Whether the rows can carry the tilts, how well the values are known, and what the passes said."""
    t = report.tilt
    best = report.best()
    assert best is not None  # None only under a floor
    b = best.index[1]
    head = ["constitution", "KL reached", "beta", "ESS share", "least ESS", "Pareto k", "horizon"]
    rows = (
        [
            name, number(t.kl[k, b], sign=False, digits=3),
            number(report.policy.betas[k, b], sign=False, digits=3), number(t.ess[k, b], sign=False, digits=3),
            number(t.ess_min[k, b], sign=False, digits=3), number(t.pareto_k[k, b], digits=2),
            number(report.horizon[k], sign=False, digits=3),
        ]
        for k, name in enumerate(report.constitutions)
    )  # fmt: skip
    static = f"<noscript>{table(f'the tilts at KL {report.kl[b]:g}', head, rows)}</noscript>"
    return f"{chart('diagnostics')}{static}{_values(report)}{listed(report.notes)}"


def _values(report: Report) -> str:
    q = report.encoding_quality
    rows = []
    for j in range(len(report.values)):
        row = [
            value_label(report, j), sized(report.tilt.baseline[j]), sized(report.value_sd[j]),
            str(int(report.tilt.n_unlabelled[j])),
        ]  # fmt: skip
        fitted = q is not None and j < report.n_requested
        if q is not None:
            row += (
                [number(q.value[j], digits=3), between(*q.ci[j]), number(q.r[j], digits=2),
                 number(q.auc[j], sign=False, digits=3)] if fitted else ["-"] * 4
            )  # fmt: skip
        rows.append(row)
    head = ["value", "mean", "sd inside prompts", "unlabelled rows"]
    head += ["R2 out of fold", "95 %", "r", "AUC"] if q is not None else []
    return "<h3>The values</h3>" + table(
        "inside prompts; R2 is of a ridge direction" + (f" ({report.as_given})" if report.gold is not None else ""),
        head, rows,
    )  # fmt: skip


def reproduce(report: Report) -> str:
    """The command, and what is in this file."""
    made = "" if report.command is None else f"<pre><code>{markup_lines(report.command)}</code></pre>"
    return f'{made}<p id="downloads" hidden></p>'
