"""The cone of directions that improve every value, and how near constitutions come to it."""

from __future__ import annotations

from typing import Any

import numpy as np

from clinometer.lp.pareto import ParetoResult
from clinometer.lp.pareto_cone import ConeResult
from clinometer.reporting.result import Report

from .canvas import GREY, INK, PALETTE, canvas, distinct, inks, titled


def cone(result: Any, ax: Any = None, *, values: Any = None, highlight: Any = None) -> Any:
    """Draw a cone's proof, or how near a cone's best direction constitutions come (theory 8.3, 9.1 and 9.2).

    Parameters
    ----------
    result : ConeResult (the weights that prove it, and the cone's width), ParetoResult (worst gain of any score,
        of the best mixture and of each constitution, with intervals) or Report (its cone)
    ax : matplotlib Axes; None makes a figure
    values : names of a ConeResult's values
    highlight : constitutions of a ParetoResult to keep in colour

    Returns
    -------
    Axes

    Errors: TypeError for another result; ValueError for a report without a cone or names of another number.

    >>> import clinometer as cm
    >>> ax = cm.plot.cone(cm.pareto_cone([[1.0, 0.0], [0.0, 1.0]]), values=["kind", "brief"])
    >>> [t.get_text() for t in ax.get_yticklabels()]
    ['kind', 'brief']
    """
    if isinstance(result, ParetoResult):
        if values is not None:
            raise ValueError("values names those of a ConeResult; a ParetoResult has its own names")
        return _pareto(result, ax, highlight)
    if highlight is not None:
        raise ValueError("highlight is for a ParetoResult, which has constitutions")
    if isinstance(result, Report):
        if result.cone is None:
            raise ValueError("this report has no cone; its notes say why")
        values = result.values[: result.n_requested] if values is None else values
        result = result.cone
    if not isinstance(result, ConeResult):
        raise TypeError(f"result is {type(result).__name__}; wanted a ConeResult, ParetoResult or Report")
    return _cone(result, ax, values)


def _cone(c: ConeResult, ax: Any, values: Any) -> Any:
    k = len(c.weights)
    names = [f"value {j}" for j in range(k)] if values is None else list(values)
    if len(names) != k:
        raise ValueError(f"values has {len(names)} names; the cone has {k}")
    shares, colour = (c.weights, PALETTE[2]) if c.certificate is None else (c.certificate, PALETTE[1])
    state = {True: "open", False: "empty", None: "undecided"}[c.feasible]
    with canvas(ax, (6.4, 1.5 + max(1.3, 0.28 * k))) as ax:
        ax.barh(np.arange(k), shares, height=0.6, color=colour, zorder=3)
        ax.set_yticks(np.arange(k), distinct(names), parse_math=False)
        ax.set_ylim(k - 0.4, -0.6)
        ax.set_xlim(0.0, max(1.02 * float(shares.max(initial=0.0)), 1e-9))
        ax.grid(False, axis="y")
        ax.set_xlabel(
            "weight of the value's unit direction in the best one"
            if c.certificate is None
            else "weight in the combination of values that sums to zero, which proves it"
        )
        angle = float(np.degrees(c.half_angle))
        note = f"least gain along the best: {c.margin:.3g} sd per sqrt(2 KL); it may turn by {angle:.1f} degrees"
        note += f"; {c.fraction:.2g} of all directions do" if np.isfinite(c.fraction) else ""
        note = note if c.feasible else "no direction raises every value" if c.feasible is False else ""
        titled(ax, f"Cone: directions that improve every value: {state}", note)
        if c.feasible:
            _wedge(ax, c)
    return ax


def _wedge(ax: Any, c: ConeResult) -> None:
    """The widest round cone, to scale, in a small picture beside the bars."""
    from matplotlib.patches import Circle, Wedge

    small = ax.inset_axes((1.04, 0.0, 0.3, 1.0))
    small.set_aspect("equal")
    small.set_axis_off()
    small.set_xlim(-1.15, 1.15)
    small.set_ylim(-1.15, 1.35)
    small.add_patch(Circle((0, 0), 1.0, fill=False, edgecolor=GREY, linewidth=0.8))
    half = float(np.degrees(c.half_angle))
    small.add_patch(Wedge((0, 0), 1.0, 90 - half, 90 + half, color=PALETTE[2], alpha=0.35, linewidth=0))
    small.annotate("", (0, 1.0), (0, 0), arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.2})
    small.text(0, 1.1, f"{half:.0f} degrees", ha="center", va="bottom", fontsize=7.5)


def _pareto(p: ParetoResult, ax: Any, highlight: Any) -> Any:
    """Worst gain of any score, the best mixture and every constitution; light dots are the single values."""
    m = len(p.constitutions)
    worst = np.concatenate([[p.margin, p.mixture_value], p.gains.min(axis=1)])
    rows = ["any score at all", "best mixture", *distinct(p.constitutions)]
    with canvas(ax, (6.4, 1.5 + max(1.6, 0.24 * (m + 2)))) as ax:
        for y, (value, interval) in enumerate(((p.margin, p.margin_ci), (p.mixture_value, p.mixture_ci))):
            ax.plot(interval, [y, y], color=PALETTE[2], linewidth=1.6, solid_capstyle="butt", zorder=3)
            ax.plot(value, y, marker="D", color=PALETTE[2], markersize=5, zorder=4)
        for k, ink in enumerate(inks(p.constitutions, highlight)):
            colour = PALETTE[0] if ink.loud else GREY
            ax.plot(p.gains[k], np.full(len(p.values), k + 2), linestyle="", marker="|", color=GREY, markersize=7)
            ax.plot(worst[k + 2], k + 2, marker="o", color=colour, markersize=5, zorder=4)
        ax.axvline(0.0, color=GREY, linewidth=0.8, zorder=1.5)
        ax.axhline(1.5, color="#cccccc", linewidth=0.8)
        ax.set_yticks(np.arange(m + 2), rows, parse_math=False)
        ax.set_ylim(m + 1.5, -0.5)
        ax.grid(False, axis="y")
        ax.set_xlabel("gain of the worst value (correlation inside prompts)")
        note = "ticks: single values; lines: 95 % of the worst on prompts that did not choose"
        titled(ax, f"Can every value rise? {p.status}; by a mixture: {p.mixture_status}", note)
    return ax
