"""The sections that decide: verdict, gains, responses, frontiers, conflicts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from clinometer.common.visible import markup, markup_lines
from clinometer.reporting.caveats import caveats
from clinometer.reporting.notes import GOLD
from clinometer.reporting.text import CONE, MIXED, number
from clinometer.reporting.verdict import _asks, _chance

from .tables import between, fixed, frontier_tables, gain_table, percent, table, value_label

if TYPE_CHECKING:
    from clinometer.reporting.result import Report

HEADLINES = {
    "pareto_improving": ("good", "raises every value"),
    "weakly_improving": ("good", "raises some values and changes no other"),
    "pareto_degrading": ("bad", "lowers every value"),
    "weakly_degrading": ("bad", "lowers some values"),
    "tradeoff": ("mixed", "is a trade-off"),
    "neutral": ("open", "changes nothing"),
}


def chart(name: str) -> str:
    """Where the script draws."""
    return f'<div class="charts" data-chart="{name}"></div>'


def verdict(report: Report) -> str:
    """The headline, the sentence, its chance of being right, and what would decide."""
    best = report.best()
    assert best is not None  # None only under a floor
    # what follows the claim stands by itself on a page
    minding = caveats(report, best)
    said = report.verdict().removesuffix(" ".join(["", *minding, *_chance(report), *_asks(report)]))
    tone, does = HEADLINES.get(best.kind, ("open", ""))
    headline = f"{best.constitution} at {best.kl:g} nats {does}"
    if not does or said.startswith("Cannot tell"):
        tone, headline = "open", "Cannot tell"
    parts = [f'<div class="verdict {tone}"><div><p class="headline">{markup(headline)}</p><p>{markup(said)}</p>']
    if report.selection is not None:
        parts.append(f"<p>{_selection(report)}</p>")
    lists = (("What may mislead", minding), ("What would decide", report.needs))
    parts.append('<div class="lists">' + "".join(_titled(*one) for one in lists if one[1]) + "</div>")
    parts.append("</div>")
    if report.chance is not None and np.isfinite(report.chance):
        parts.append(
            f'<p class="chance"><strong>{_bounded(report.chance)}</strong> chance that following these rows raises '
            "every value: half of the prompts choose, the other half judge</p>"
        )
    return "\n".join([*parts, "</div>"])


def _titled(title: str, sentences: Iterable[str]) -> str:
    return f"<div><p>{title}</p><ul>" + "".join(f"<li>{markup(s)}</li>" for s in sentences) + "</ul></div>"


def _bounded(chance: float) -> str:
    """A chance in percent that never claims to be certain."""
    return "&gt;\u00a099\u00a0%" if chance > 0.99 else "&lt;\u00a01\u00a0%" if chance < 0.01 else percent(chance)


def _selection(report: Report) -> str:
    s = report.selection
    assert s is not None
    sd = report.value_sd[: len(s.optimism)]
    worst = np.nanmax(np.maximum(s.optimism, 0.0) / np.where(sd > 0, sd, np.nan))
    by_name = s.share.sum(axis=1)
    k = int(np.argmax(by_name))
    return (
        f"Of {s.splits} random halves of the prompts {percent(float(by_name[k]))} choose {markup(s.constitutions[k])} "
        f"at some KL; the half that chose overstates gains by at most {worst:.3f} sd."
    )


def gains(report: Report) -> str:
    """The controls and the one table; the script fills both."""
    best = report.best()
    assert best is not None
    return (
        '<div id="main-table"></div>\n'
        f'<p class="dim">{markup(report.length_note)}.</p>\n'
        + (f'<p class="dim">{markup(GOLD)}.</p>\n' if report.gold is not None else "")
        + f"<noscript>{gain_table(report, best.index[1])}</noscript>"
    )


def responses(report: Report) -> str:
    """What the recommended tilt changes most."""
    if not report.examples:
        return ""
    best = report.best()
    assert best is not None
    cards = "\n".join(_response(report, e) for e in report.examples)
    return (
        f"<p>What {markup(best.constitution)} at {best.kl:g} nats makes more and less likely.</p>"
        f'<div class="cards">{cards}</div>'
    )


def _response(report: Report, e: dict[str, object]) -> str:
    ratio = float(e["ratio"])  # type: ignore[arg-type]
    prompt, text = str(e.get("prompt", "")), str(e["text"])
    held = zip(range(len(report.values)), e.get("values", ()), strict=False)  # type: ignore[call-overload]
    values = ", ".join(f"{report.values[j]} {float(v):.3g}" for j, v in held)
    return (
        f'<article class="{"up" if ratio >= 1 else "down"}"><h3>&times; {ratio:.3g} '
        f'<span class="dim">prompt {markup(e["prompt_id"])}, row {e["row"]}</span></h3>'
        + (f'<p class="dim">{markup_lines(_cut(prompt, 300))}</p>' if prompt else "")
        + f"<p>{markup_lines(_cut(text, 600))}</p>"
        + (f'<p class="dim">{markup(values)}</p></article>' if values else "</article>")
    )


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + " ..."


def frontiers(report: Report) -> str:
    """Gain against KL, a figure a value."""
    open_ = ", to the edge where there is no bound on that side" if report.policy.skewed.any() else ""
    return (
        f'<p class="dim">Bands are 95 %{open_}. Solid up to the horizon (the KL up to which these rows say what a '
        "policy gains), dashed and hollow beyond it. Hover or use the arrow keys for numbers.</p>"
        f"{chart('frontiers')}<noscript>{frontier_tables(report)}</noscript>"
    )


def conflicts(report: Report) -> str:
    """Where values pull apart, and what can be had in spite of it."""
    charts = [("Constitution by value", "heat")]
    if report.n_requested > 1:
        charts.insert(0, ("Two values against each other", "tradeoff"))
    # without JavaScript there would be headings without their charts
    drawn = "".join(f"<div data-scripted hidden><h3>{title}</h3>{chart(name)}</div>" for title, name in charts)
    parts = [f'<div class="side">{drawn}{_related(report)}</div>', _cone(report), _mixture(report)]
    return "\n".join(part for part in parts if part)


def _given(report: Report, text: str) -> str:
    """With whose numbers they are, where gold labels correct others."""
    return text if report.gold is None else f"{text} ({report.as_given})"


def _related(report: Report) -> str:
    out = ""
    names = [value_label(report, j) for j in range(len(report.values))]
    if report.value_correlation is not None:
        rows = ([n, *(fixed(x) for x in row)] for n, row in zip(names, report.value_correlation, strict=True))
        made = table(_given(report, "correlation inside prompts"), ["", *names], rows)
        out += f'<div data-shade="1"><h3>How the values go together</h3>{made}</div>'
    judges = [*report.constitutions]
    related = report.correlation
    if report.generation_correlation is not None:
        judges, related = [*judges, "generation (u_gen)"], np.vstack([related, report.generation_correlation])
    if len(judges) <= 30:
        rows = ([n, *(fixed(x) for x in row)] for n, row in zip(judges, related, strict=True))
        made = table(_given(report, "correlation of score and value inside prompts"), ["", *names], rows)
        out += f'<div data-shade="1"><h3>What the judges score</h3>{made}</div>'
    return out


def _cone(report: Report) -> str:
    c, p = report.cone, report.pareto
    if c is None:
        return ""
    state = {True: "open", False: "empty", None: "undecided"}[c.feasible]
    names = report.values[: report.n_requested]
    weights = ", ".join(f"{v} {w:.2f}" for v, w in zip(names, c.weights, strict=True))
    interval = ""
    if p is not None:
        interval = (
            f" Of the values' own labels: margin {p.margin:.3f}; directions chosen on other prompts gain "
            f"{between(*p.margin_ci)} (95 %) of their worst value; that all rise is {percent(p.sure)} sure."
        )
    angle = np.degrees(c.half_angle)
    text = f"{state}, margin {c.margin:.3f}, half-angle {angle:.1f} degrees; weights {weights}.{interval}"
    text = _given(report, text)
    return f'<h3>Directions that improve every value</h3>\n<p>{markup(text)}</p><p class="dim">{markup(CONE)}.</p>'


def _mixture(report: Report) -> str:
    p = report.pareto
    if p is None:
        return ""
    order = [int(i) for i in np.argsort(-p.mixture, kind="stable") if p.mixture[i] > 0.005][:10]
    mixed = ", ".join(f"{p.constitutions[i]} {percent(float(p.mixture[i]))}" for i in order)
    text = (
        f"Best mixture of the constitutions, {MIXED}: {mixed or 'none'}; its worst value gains "
        f"{number(p.mixture_value, digits=3)} sd per sqrt(2 KL) of its members on these rows, on prompts that did "
        f"not choose the mixture {between(*p.mixture_ci)} (95 %); that all values rise is "
        f"{percent(p.mixture_sure)} sure; the best alone, {p.constitutions[p.alone]}, "
        f"{number(p.alone_value, digits=3)}."
    )
    head = ["value", "most it can gain", *(f"price of a floor on {v}" for v in p.values)]
    rows = [
        [
            v,
            number(p.best[i], digits=3),
            *("" if i == j else number(p.price[i, j], digits=3) for j in range(len(p.values))),
        ]
        for i, v in enumerate(p.values)
    ]
    text = _given(report, text)
    caption = "sd per sqrt(2 KL) of the members if no other value may fall, and what a floor raised by one costs it"
    return f"<h3>Best mixture and the price of floors</h3>\n<p>{markup(text)}</p>\n{table(caption, head, rows)}"
