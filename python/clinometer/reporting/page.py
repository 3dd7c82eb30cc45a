"""The report as one HTML page: no script, nothing fetched, everything from the dump escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from .frontier import frontier
from .safe import markup
from .text import number

if TYPE_CHECKING:
    from .result import Report

__all__ = ["page"]

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --line: #d0d7de; --dim: #57606a;
  --c0: #0b62c4; --c1: #b3400e; --c2: #1a7f37; --c3: #8250df; --c4: #9a6700; --c5: #bf3989; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --line: #30363d; --dim: #9198a1;
  --c0: #6cb2ff; --c1: #ff9a66; --c2: #56d364; --c3: #c3a1ff; --c4: #e3b341; --c5: #ff8fc7; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.25; overflow-wrap: anywhere; } h2 { margin-top: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 1rem; }
.wide { overflow-x: auto; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; overflow-wrap: anywhere; }
caption { text-align: left; color: var(--dim); padding: .3rem 0; }
.verdict { border-left: 4px solid var(--c0); padding: .5rem 1rem; }
.dim { color: var(--dim); }
.plots { display: flex; flex-wrap: wrap; gap: 1.5rem; } figure { margin: 0; max-width: 100%; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--dim); font: 11px system-ui, sans-serif; }
.axis { stroke: var(--line); } .zero { stroke: var(--dim); stroke-dasharray: 2 3; }
""" + "".join(
    f".s{i} {{ stroke: var(--c{i}); }} .f{i} {{ fill: var(--c{i}); }} .k{i} {{ color: var(--c{i}); }}\n"
    for i in range(6)
)


def page(report: Report) -> str:
    """The whole page."""
    # the one style block is named by its hash, so nothing that slips in can style or run
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    d = report.dump
    title = f"clinometer: {markup(d.name)}"
    low, middle, high = d.responses
    site = "" if d.site is None else f", site {markup(d.site)}"
    parts = [
        "<!doctype html>", '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{title}</title><style>{STYLE}</style></head><body>", f"<h1>{title}</h1>",
        f"<p>{d.n_rows} rows, {d.dim} dimensions, {markup(d.dtype)}{site}; {d.n_prompts} prompts with "
        f"{low:g} / {middle:g} / {high:g} responses (min / median / max).<br>{markup(d.kind)}.</p>",
        f'<p class="verdict">{markup(report.verdict())}</p>', "<h2>Gain against KL</h2>", _legend(report),
        '<div class="plots">', *[frontier(report, j) for j in range(len(report.values))], "</div>",
        "<h2>Gains</h2>", *[_constitution(report, k) for k in range(len(report.constitutions))],
        "<h2>Values</h2>", _values(report), _cone(report), _examples(report), _list("Notes", report.notes),
        _list("Not covered", report.not_covered), "</body></html>",
    ]  # fmt: skip
    return "\n".join(part for part in parts if part) + "\n"


def _table(caption: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Cells are escaped here and nowhere else."""
    first = "".join(f'<th scope="col">{markup(c)}</th>' for c in head)
    body = "".join("<tr>" + "".join(f"<td>{markup(c)}</td>" for c in row) + "</tr>\n" for row in rows)
    text = f"<caption>{markup(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{text}<thead><tr>{first}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _legend(report: Report) -> str:
    items = [f'<span class="k{k % 6}">&#9632;</span> {markup(name)}' for k, name in enumerate(report.constitutions)]
    return (
        f'<p>{" &nbsp; ".join(items)}<br><span class="dim">bars: 95 % intervals; hollow: past the KL horizon</span></p>'
    )


def _constitution(report: Report, k: int) -> str:
    t = report.tilt
    what = "value as judge" if report.self_judged else "constitution"
    head = ["value", "gain", "+-se", "first order", "in sd", "win rate", "net of length"]
    tables = [f"<h3>{what} {markup(report.constitutions[k])}</h3>"]
    for b in np.argsort(report.kl, kind="stable"):
        reached = "" if report.reached[k, b] else f" (rows reach {t.kl[k, b]:.3g})"
        past = "; past the KL horizon" if report.past_horizon[k, b] else ""
        caption = (
            f"kl {report.kl[b]:g}{reached}: {report.classes[k, b]}; beta {t.betas[k, b]:.3g}, "
            f"ESS {number(t.ess[k, b], sign=False, digits=3)}, "
            f"Pareto k {number(t.pareto_k[k, b], sign=False, digits=2)}, "
            f"horizon {number(t.kl_horizon[k], sign=False, digits=3)} nats{past}"
        )
        rows = [_cells(report, k, int(b), j) for j in range(len(report.values))]
        tables.append(_table(caption, head, rows))
    return "\n".join(tables)


def _cells(report: Report, k: int, b: int, j: int) -> list[str]:
    t = report.tilt
    return [
        report.values[j] + ("" if j < report.n_requested else " (length)"), number(t.gain[k, b, j]),
        number(t.gain_se[k, b, j], sign=False), number(t.first_order[k, b, j]),
        number(report.gain_sd[k, b, j], digits=2), number(t.win_rate[k, b, j], sign=False, digits=3),
        "-" if report.net is None else number(report.net.gain[k, b, j]),
    ]  # fmt: skip


def _values(report: Report) -> str:
    q, rows = report.encoding_quality, []
    judges = list(report.constitutions)
    extra = [] if report.generation_correlation is None else ["r with u_gen"]
    for j, name in enumerate(report.values):
        fitted = ["-"] * 4
        if q is not None and j < report.n_requested:
            between = f"{number(q.ci[j, 0], digits=3)} to {number(q.ci[j, 1], digits=3)}"
            fitted = [
                number(q.value[j], digits=3),
                between,
                number(q.r[j], digits=2),
                number(q.auc[j], sign=False, digits=3),
            ]
        related = [number(x, digits=2) for x in report.correlation[:, j]]
        if report.generation_correlation is not None:
            related.append(number(report.generation_correlation[j], digits=2))
        spread = [number(report.tilt.baseline[j], sign=False), number(report.value_sd[j], sign=False)]
        rows.append([name, *spread, *fitted, *related])
    head = [
        "value",
        "baseline",
        "within sd",
        "R2 out of fold",
        "95 %",
        "r",
        "AUC",
        *(f"r with {n}" for n in judges),
        *extra,
    ]
    return _table("encoding quality of a ridge direction, within prompts, out of fold; r with each score", head, rows)


def _cone(report: Report) -> str:
    c = report.cone
    if c is None:
        return ""
    state = {True: "open", False: "empty", None: "undecided"}[c.feasible]
    names = report.values[: report.n_requested]
    weights = ", ".join(f"{v} {w:.2f}" for v, w in zip(names, c.weights, strict=True))
    text = (
        f"Directions that improve every value: {state}, margin {c.margin:.3f} sd per sqrt(2 KL) "
        f"of the worst value, half-angle {np.degrees(c.half_angle):.1f} degrees; weights {weights}."
    )
    return f"<h2>Cone</h2>\n<p>{markup(text)}</p>"


def _examples(report: Report) -> str:
    if not report.examples:
        return ""
    rows = [[str(e["text"])[:400], str(e["prompt_id"]), str(e["row"]), f"{e['ratio']:.2f}"] for e in report.examples]
    head = ["response", "prompt", "row", "probability ratio"]
    return "<h2>Responses that move most</h2>\n" + _table("", head, rows)


def _list(title: str, sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{markup(s)}</li>\n" for s in sentences)
    return f"<h2>{title}</h2>\n<ul>{items}</ul>" if items else ""
