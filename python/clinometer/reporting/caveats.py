"""What a person who trains on the recommended cell should have been told, a sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .safe import visible
from .verdict import Z95, Choice, selection_z

if TYPE_CHECKING:
    from .result import Report

__all__ = ["caveats", "open_by_labels"]

MOSTLY = 0.5  # share of a gain or of a judge below which it is not mostly what it seems


def caveats(report: Report, best: Choice) -> list[str]:
    """Sentences about the recommended cell, the gravest doubts first."""
    parts = (_policy, _size, _length, _null, _choosing, _flat, _linear, _signs)
    return [sentence for part in parts for sentence in part(report, best)]


def open_by_labels(report: Report, best: Choice) -> tuple[str, ...]:
    """Values settled given the judge's direction, but not once the error of the labels it was fitted to is in."""
    wide, known = report.gain_interval_labels, report.labels_known
    k, b = best.index
    if wide is None or known is None or not known[k]:
        return ()
    out = []
    z = selection_z(best.n_cells * report.n_requested) / Z95
    for j, name in enumerate(best.values):
        half = z * (wide[k, b, j, 1] - wide[k, b, j, 0]) / 2
        settled = best.lower[j] > 0 or best.upper[j] < 0
        if settled and report.value_sd[j] > 0 and abs(report.tilt.gain[k, b, j]) <= half:
            out.append(name)
    return tuple(out)


def _settled(best: Choice) -> list[int]:
    return [j for j in range(len(best.values)) if best.lower[j] > 0 or best.upper[j] < 0]


def _policy(report: Report, best: Choice) -> list[str]:
    d = report.dump
    if d.is_forecast:
        return []
    whose = "These rows come from another policy" if d.policy == "off_policy" else "Who wrote these rows is unknown"
    return [f"{whose}: this is a re-weighting of them, not a forecast."]


def _size(report: Report, best: Choice) -> list[str]:
    k, b = best.index
    n = report.dump.responses[1]
    if report.few_responses:
        return [
            f"With a median of {n:g} responses per prompt the tilt itself is no estimate: these gains are the "
            "unbiased first order, taken to this KL as for a Gaussian score."
        ]
    if not best.past_horizon:
        return []
    short = np.nan if report.shortfall is None else report.shortfall[k, b]
    by = f", by about {100 * short:.0f} %" if np.isfinite(short) and short > 0 else ""
    beyond = ""
    if report.extrapolated is not None and np.isfinite(report.extrapolated[k, b, : len(best.values)]).any():
        gains = ", ".join(
            f"{visible(v)} {g:+.3g}" for v, g in zip(best.values, report.extrapolated[k, b], strict=False)
        )
        beyond = f" (a Gaussian score would give {gains})"
    return [
        f"This KL is past the horizon of {report.horizon[k]:.2g} nats up to which these rows (median {n:g} responses "
        f"per prompt) give sizes to a tenth: the gains are biased towards zero{by}{beyond}."
    ]


def _length(report: Report, best: Choice) -> list[str]:
    """Where a settled gain goes, or most of it, once length is partialled out."""
    if report.net is None:
        return []
    k, b = best.index
    z = selection_z(best.n_cells * report.n_requested)
    lost, less = [], []
    for j in _settled(best):
        gain, se, full = report.net.gain[k, b, j], report.net.gain_se[k, b, j], report.tilt.gain[k, b, j]
        up = best.lower[j] > 0
        name = visible(best.values[j])
        if (gain - z * se <= 0) if up else (gain + z * se >= 0):
            lost.append(f"{name} {gain:+.3g}")
        elif abs(gain) < MOSTLY * abs(full):
            less.append(f"{name} {gain:+.3g} of {full:+.3g}")
    out = []
    if lost:
        out.append(f"Length may be all of it: net of length this is no longer settled for {', '.join(lost)}.")
    if less:
        out.append(f"Length is most of it: net of length {', '.join(less)} is left.")
    return out


def _null(report: Report, best: Choice) -> list[str]:
    """Values whose gain a random direction at the same KL reaches."""
    if report.null_band is None:
        return []
    b = best.index[1]
    low, high = report.null_band[b, : len(best.values)].T
    inside = [j for j in range(len(best.values)) if low[j] <= best.gain[j] <= high[j] and report.value_sd[j] > 0]
    if not inside:
        return []
    named = ", ".join(f"{visible(best.values[j])} ({low[j]:+.3g} to {high[j]:+.3g})" for j in inside)
    return [f"Random directions at this KL do as much for {named}."]


def _choosing(report: Report, best: Choice) -> list[str]:
    """What choosing among many did, where halves of the prompts disagree or the gain does not survive."""
    found = report.selection
    if found is None or len(report.constitutions) < 2:
        return []
    k, n = best.index[0], len(report.constitutions)
    out = []
    again = float(found.share[k].sum())
    if again < MOSTLY:
        name = visible(best.constitution)
        out.append(f"Halves of the prompts choose {name} out of {n} only {100 * again:.0f} % of the time.")
    J = len(best.values)
    gone = [
        f"{visible(v)} {g:+.3g} where {g + o:+.3g} was promised"
        for v, g, o, s in zip(best.values, found.gain[:J], found.optimism[:J], found.se[:J], strict=True)
        if g + o > 0 and g < MOSTLY * (g + o) and g < Z95 * s
    ]
    if gone:
        out.append(f"What half of the prompts chooses among {n} does not hold on the other half: {', '.join(gone)}.")
    return out


def _flat(report: Report, best: Choice) -> list[str]:
    flat = [visible(v) for v, sd in zip(best.values, report.value_sd, strict=False) if sd == 0]
    if not flat:
        return []
    return [f"{', '.join(flat)} does not vary inside any prompt: no constitution can move it on these rows."]


def _linear(report: Report, best: Choice) -> list[str]:
    if report.linear_share is None:
        return []
    share = float(report.linear_share[best.index[0]])
    if not share < MOSTLY:  # also where it is unknown
        return []
    return [
        f"Only {100 * max(share, 0.0):.0f} % of what {visible(best.constitution)} says inside prompts is linear in the "
        "rows: a direction fitted to it keeps no more, and these gains are those of "
        f"{'the score itself' if report.tilt.fit_status[best.index[0]] == 'score' else 'that direction alone'}."
    ]


def _signs(report: Report, best: Choice) -> list[str]:
    """Values that move against what their covariance with the score promises."""
    k, b = best.index
    t = report.tilt
    against = []
    for j, name in enumerate(best.values):
        gain, first = t.gain[k, b, j], t.first_order[k, b, j]
        sure = abs(gain) > Z95 * t.gain_se[k, b, j] or abs(first) > Z95 * t.first_order_se[k, b, j]
        if t.signs_differ[k, b, j] and sure:
            against.append(f"{visible(name)} {gain:+.3g} against {first:+.3g}")
    return [f"Exact and first order disagree in sign for {', '.join(against)}: the effect turns with the tilt."] * bool(
        against
    )
