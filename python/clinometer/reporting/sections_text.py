"""Sections below the table of gains, as text: mixtures, halves, simpler measures, layers, spectrum, rounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clinometer.common.escaping import fit, visible
from clinometer.inference.tails import in_words

from .wrapping import wrapped

if TYPE_CHECKING:
    from .result import Report

__all__ = ["further"]

NAME, CELL = 22, 12
MANY = 12  # rows of a table, or sites, before the rest is left to the JSON


def further(report: Report) -> list[str]:
    """Every section that there is, each with an empty line before it."""
    parts = (_groups, _gold, _mixtures, _halves, _simpler, _layers, _spectrum, _rounds)
    return [line for part in parts for line in part(report)]


def _lines(sentence: str) -> list[str]:
    return wrapped(sentence, "", "  ")


def _given(report: Report, sentence: str) -> str:
    return f"{sentence} ({report.as_given})" if report.gold is not None else sentence


def _table(title: str, head: list[str], rows: list[tuple[str, list[Any]]]) -> list[str]:
    """Names and up to six cells a line; numbers to three digits."""
    per_line, out = 7, ["", title]
    for start in range(0, len(head), per_line):
        out.append("    " + fit("", NAME) + "".join(f" {fit(h, CELL - 1)}" for h in head[start : start + per_line]))
        for name, cells in rows[:MANY]:
            line = "".join(f" {_cell(x):<{CELL - 1}}" for x in cells[start : start + per_line])
            out.append("    " + fit(name, NAME) + line)
    if len(rows) > MANY:
        out.append(f"    and {len(rows) - MANY} more, in to_json()")
    return out


def _cell(x: Any) -> str:
    if isinstance(x, str):
        return fit(x, CELL - 1)
    return "-" if x is None or np.isnan(x) else f"{x:+.3g}"


def _groups(report: Report) -> list[str]:
    """Subgroups under the recommended cell; ** where bounds that pay for all subgroups and values leave out 0."""
    best, out = report.best(), []
    for g in report.groups if best is not None else ():
        k, b = best.index  # type: ignore[union-attr]

        def shown(m: int, j: int, g: Any = g, k: int = k, b: int = b) -> str:
            low, high = g.paid[m, k, b, j]
            return "-" if np.isnan(low) else f"{g.gain[m, k, b, j]:+.3g}{'**' if low > 0 or high < 0 else ''}"

        rows = [(f"{name} ({n})", [shown(m, j) for j in range(len(report.values))])
                for m, (name, n) in enumerate(zip(g.groups, g.n_prompts, strict=True))]  # fmt: skip
        title = (
            f"by {visible(g.column)} (prompts): gains of {visible(report.constitutions[k])} at {report.kl[b]:g} nats"
            + (", by the gold labels of each" if report.gold is not None else "")
        )
        out += _table(fit(title, 106).rstrip(), list(report.values), rows)
    return out


def _gold(report: Report) -> list[str]:
    g, best = report.gold, report.best()
    if g is None or best is None:
        return []
    k, b = best.index
    rows = [(v, [g.gain_values[k, b, j], report.gain[k, b, j], g.shared[k, b, j], float(g.n_gold[j])])
            for j, v in enumerate(report.values[: report.n_requested])]  # fmt: skip
    title = "by gold labels: gain of the values as given, corrected, what judge and value share, prompts with gold"
    return _table(title, ["as given", "corrected", "shared", "gold"], rows)


def _mixtures(report: Report) -> list[str]:
    p = report.pareto
    if p is None:
        return []
    used = np.flatnonzero(p.mixture > 5e-3)
    mixture = ", ".join(f"{visible(p.constitutions[i])} {p.mixture[i]:.2f}" for i in used[:MANY])
    alone, between = visible(p.constitutions[p.alone]), f"{p.mixture_ci[0]:+.3f} to {p.mixture_ci[1]:+.3f}"
    first = (
        f"best mixture of the constitutions' unit-sd scores: {mixture}; worst value {p.mixture_value:+.3f} sd per "
        f"sqrt(2 KL) of its members on these rows, {between} (95 %) on prompts that did not choose it, "
        f"{100 * p.mixture_sure:.0f} % sure that all rise; {alone} alone {p.alone_value:+.3f}; any score at all "
        f"{p.margin:.3f} ({p.margin_ci[0]:.3f} to {p.margin_ci[1]:.3f})"
    )
    out = ["", *_lines(_given(report, first))]
    for i, name in enumerate(p.values):
        prices = [
            f"{visible(p.values[j])} {p.price[i, j]:.2g}"
            for j in range(len(p.values))
            if j != i and np.isfinite(p.price[i, j]) and p.price[i, j] > 5e-4
        ]
        if len(p.values) > 1 and np.isfinite(p.best[i]):
            cost = f"; a unit more of a floor costs it: {', '.join(prices)}" if prices else ""
            out += _lines(f"  most of {visible(name)} while no other value falls: {p.best[i]:+.3f}{cost}")
        elif len(p.values) > 1:
            out += _lines(f"  no mixture raises {visible(name)} while no other value falls")
    return out


def _halves(report: Report) -> list[str]:
    r = report.selection
    if r is None:
        return []
    order = np.argsort(-r.share, axis=None, kind="stable")[:4]
    cells = [divmod(int(i), r.share.shape[1]) for i in order]
    chosen = ", ".join(
        f"{visible(r.constitutions[k])} at {r.levels[b]:g} {100 * r.share[k, b]:.0f} %"
        for k, b in cells
        if r.share[k, b] > 0
    )
    held = ", ".join(
        f"{visible(v)} {g:+.3g} ({in_words(ends)}; optimism {o:+.2g})"
        for v, g, ends, o in zip(r.values[: report.n_requested], r.gain, r.interval, r.optimism, strict=False)
    )
    return ["", *_lines(f"chosen on half of the prompts: {chosen}; on the other half it gains {held}")]


def _simpler(report: Report) -> list[str]:
    base = report.baselines
    if base is None:
        return []
    rows = [
        (f"{name}, {kind}", list(table[k]))
        for k, name in enumerate(report.constitutions)
        for kind, table in (
            ("cosine", base.cosine), ("shift", base.projection_difference), ("pooled r", base.pooled_correlation)
        )
        if not np.isnan(table[k]).all()
    ]  # fmt: skip
    title = "simpler measures, without KL or units: cosine, shift of the top response in sd, pooled correlation"
    if report.gold is not None:
        title = title.replace("measures,", "measures (values as given),").replace("correlation", "r")
    return _table(title, list(report.values), rows) if rows else []


def _layers(report: Report) -> list[str]:
    if not report.layers:
        return []
    head = ["margin", *(f"R2 {v}" for v in report.values[: report.n_requested])]
    rows = [(str(site["site"]), [site["margin"], *site["quality"]]) for site in report.layers]
    return _table("layers and positions of the dump: margin of the cone, R2 of each value out of fold", head, rows)


def _spectrum(report: Report) -> list[str]:
    s = report.spectrum
    if s is None:
        return []
    top = ", ".join(f"{x:.3g}" for x in s["eigenvalues"][:5])
    shares = ", ".join(
        f"{visible(v)} {x:.2f}" for v, x in zip(report.values, s["concentration"], strict=False) if not np.isnan(x)
    )
    within = (
        f"; share of each value's direction{' (as given)' * (report.gold is not None)} in the first {s['m']} (chance "
        f"{s['null']:.2g}): {shares}"
        if shares
        else ""
    )
    return ["", *_lines(
        f"within-prompt spectrum: eigenvalues {top}, participation {s['participation']:.3g} of {report.dump.dim}, "
        f"stable rank {s['stable']:.3g}{within}"
    )]  # fmt: skip


def _rounds(report: Report) -> list[str]:
    found = report.iterated
    if found is None:
        return []
    head = ["KL", "ESS", *report.values]
    rows = [
        (f"round {r}", [kl, ess, *gain])
        for r, kl, ess, gain in zip(found["rounds"], found["kl"], found["ess"], found["gain"], strict=True)
    ]
    title = f"rounds of {visible(found['constitution'])} at beta {found['beta']:.3g}, each from the previous policy"
    if report.gold is not None:
        title += " (values as given)"
    return _table(fit(title, 106).rstrip(), head, rows)
