"""docs/experiment.md with its figures, written from the results alone."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from clinometer.plot.canvas import GREY, MARKERS, PALETTE, canvas, show_key, titled

from .efficiency import show_efficiency
from .forecast import frozen
from .predictions import show_predictions
from .rows import VALUES
from .settings import HERE, Settings
from .shortfall import show_shortfall
from .table import (
    CLOSED_FORM,
    ONCE,
    Cell,
    arm,
    closed_cells,
    every_policy,
    goals,
    lost_by_arm,
    outcome,
    policies,
    summary,
    trained_cells,
)

DOCS = HERE.parent / "docs"
INTRO = """# Does the forecast come true?

A small language model answered prompts, judges scored its answers, and clinometer forecast from the scores what
training on each judge does to each value. The forecast was committed to git before any policy was trained
(`experiments/frozen`; every policy's file names it by its digest). This page is written by
`python -m experiments page`: every number on it comes from the run's files. How the run was made stands in
`experiments/README.md`."""


# of each goal, by how it begins, what follows where it is met and where it is missed
TRUST = {
    "closed form": ("the tilt's forecast holds on other prompts within its errors: a policy does not lack estimation",
                    "errors of the tilt itself have the wrong width: mend them before anything else"),
    "signs": ("which values gain and which lose may be taken from the forecast, where it is sure",
              "even the direction of a change is to be checked after training"),
    "rank": ("judges may be ordered by their forecasts", "the order of judges is not to be taken from forecasts alone"),
    "regret": ("to choose a judge by its forecast loses little, and less than by simpler measures",
               "choosing by the forecast is no better than by a simpler measure, or loses too much"),
    "efficiency": ("a policy gradient comes near to the size of the gain",
                   "the size of a gain is an upper bound: see what may take the rest"),
}  # fmt: skip


def trusted(asked: list[list[str]]) -> list[str]:
    """What a reader may take from a forecast, by the goals that are met."""
    lines = []
    for what, _, number, verdict in asked:
        for begin, (met, missed) in TRUST.items():
            if what.startswith(begin) and verdict in ("met", "missed"):
                lines.append(f"- {what} ({number}, {verdict}): {met if verdict == 'met' else missed}.")
    return lines or ["Nothing yet: no goal has a number."]


def delivered(cells: list[Cell]) -> str:
    """The answer in a sentence."""
    once = summary([c for c in cells if c["arm"] == ONCE])
    if not np.isfinite(once["efficiency"]):
        return "No policy has delivered anything yet."
    return (
        f"**Policies that saw each response once delivered {once['efficiency']:.2f} of the forecast gain of their "
        f"judge's own score at the same KL (median), and {once['slope, others']:.2f} of that of the values; of the "
        f"gains that are sure, {once['signs right']:.0%} have the sign of the forecast.**"
    )


def write_page(s: Settings, docs: Path = DOCS) -> Path:
    """The page and its two pictures."""
    held, found = frozen(s), policies(s)
    cells = closed_cells(s, held) + trained_cells(held, found)
    (docs / "img").mkdir(parents=True, exist_ok=True)
    for name, ax in (("calibration", calibration(held, cells)), ("efficiency", efficiencies(found))):
        ax.figure.savefig(docs / "img" / f"experiment-{name}.png", dpi=150)
    lines = [INTRO, "", *textwrap.wrap(delivered(cells), 120, break_on_hyphens=False), ""]
    lines += ["![Forecast and realised gains, by arm](img/experiment-calibration.png)", ""]
    lines += ["![Share of the forecast that each policy delivered](img/experiment-efficiency.png)", ""]
    lost = lost_by_arm(held, cells)
    lines += ["## What to trust", "", *trusted(goals(found, cells, lost)), ""]
    lines += ["## What was asked, and what came out", "", *outcome(s, found, cells, lost), ""]
    lines += ["## What takes the rest of a forecast", "", *show_shortfall(s, found), ""]
    lines += ["## What predicts the share that is delivered", "", *show_efficiency(s, found), ""]
    lines += ["## The theory's other predictions", ""]
    for title, body, why in show_predictions(s, held, found):
        lines += [f"### {title}", "", why, "", *body, ""]
    lines += ["## Every policy, and what it cost", "", *every_policy(s, held, found), ""]
    path = docs / "experiment.md"
    path.write_text("\n".join([*lines, "## Limits", "", _limits()]) + "\n")
    return path


def _limits() -> str:
    """The section of that name beside the code, which stands in one place only."""
    found = re.search(r"^## Limits\n\n(.*?)\n\n## ", (HERE / "README.md").read_text(), re.S | re.M)
    if found is None:
        raise ValueError("experiments/README.md has no section Limits")
    return found[1]


def calibration(held: dict[str, Any], cells: list[Cell], ax: Any = None) -> Any:
    """Realised gain over its forecast, both in sd of the value inside prompts, with both errors."""
    sd = dict(zip(VALUES, held["sd"]["values"], strict=True))
    arms = list(dict.fromkeys(c["arm"] for c in cells))
    with canvas(ax, (7.2, 4.6)) as ax:
        for k, a in enumerate(arms):
            some = [c for c in cells if c["arm"] == a and (a != CLOSED_FORM or c["asked"] == 0.1)]
            unit = np.array([1 / (sd.get(c["value"], 1.0) or np.nan) for c in some])
            x, y, ex, ey = (unit * [c[n] for c in some] for n in ("forecast", "gain", "forecast_se", "matched_se"))
            ax.errorbar(
                x, y, xerr=1.96 * ex, yerr=1.96 * ey, linestyle="", elinewidth=0.4, markersize=3, zorder=2 + k, label=a,
                color=GREY if a == CLOSED_FORM else PALETTE[(k - 1) % len(PALETTE)], marker=MARKERS[k % len(MARKERS)],
            )  # fmt: skip
        ax.axline((0, 0), slope=1, color=GREY, linewidth=0.8, zorder=1.5)
        ax.axhline(0, color=GREY, linewidth=0.5, zorder=1.4)
        ax.set_xlabel("forecast gain at the KL that came about, sd")
        ax.set_ylabel("realised gain on held-out prompts, sd")
        titled(ax, "Forecast and outcome", "whiskers: 95 %; the line is a forecast that comes true")
        show_key(ax)
    return ax


def efficiencies(found: list[dict[str, Any]], ax: Any = None) -> Any:
    """Of each policy the gain of its judge's own score over the forecast at the same KL, by arm."""
    arms = list(dict.fromkeys(arm(p["spec"]) for p in found))
    with canvas(ax, (7.2, 1.2 + 0.4 * max(len(arms), 2))) as ax:
        for p in found:
            own, k = p["held"]["own"], arms.index(arm(p["spec"]))
            gain, error = (p["held"][n][own] for n in ("forecast_gain", "matched_se"))
            if gain and error is not None and p["held"]["efficiency"] is not None:
                up = ((sum(p["spec"]["name"].encode()) % 9) - 4) / 14  # apart, so that whiskers are seen
                ax.errorbar(p["held"]["efficiency"], k + up, xerr=1.96 * error / abs(gain), marker="o", markersize=3,
                            elinewidth=0.6, color=PALETTE[k % len(PALETTE)])  # fmt: skip
        ax.axvline(1, color=GREY, linewidth=0.8, zorder=1.5)
        ax.set_yticks(range(len(arms)), arms)
        ax.set_ylim(len(arms) - 0.5, -0.5)
        ax.set_xlabel("gain of the judge's own score over its forecast")
        titled(ax, "How much of a forecast arrives", "whiskers: 95 % of what was realised")
    return ax
