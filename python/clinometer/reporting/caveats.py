"""What a person who trains on the recommended cell should have been told, a sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from clinometer.common.visible import visible
from clinometer.inference.tails import OUTWEIGHED, in_words, reach

if TYPE_CHECKING:
    from .result import Report
    from .verdict import Choice

HARM = 0.02  # share of prompts below which harm is not a story
MOSTLY = 0.5  # share of a gain or of a judge below which it is not mostly what it seems


def caveats(report: Report, best: Choice) -> list[str]:
    """Sentences about the recommended cell, the gravest doubts first."""
    parts = (_policy, _size, _extremes, _length, _hurt, _shared, _null, _choosing, _flat, _linear, _signs)
    return [sentence for part in parts for sentence in part(report, best)]


def open_by_labels(report: Report, best: Choice) -> tuple[str, ...]:
    """Values settled given the judge's direction, but not once the error of the labels it was fitted to is in."""
    wide, known = report.gain_interval_labels, report.labels_known
    k, b = best.index
    if wide is None or known is None or not known[k]:
        return ()
    out = []
    for j, name in enumerate(best.values):
        half = _widened(report, k, b, j) * float(reach(wide[k, b, j], report.gain[k, b, j]))
        settled = best.lower[j] > 0 or best.upper[j] < 0
        if settled and report.value_sd[j] > 0 and abs(best.gain[j]) <= half:
            out.append(name)
    return tuple(out)


def _widened(report: Report, k: int, b: int, j: int) -> float:
    """How much wider bounds are that pay for the choice."""
    gain = report.gain[k, b, j]
    plain, paid = (float(reach(x[k, b, j], gain)) for x in (report.gain_interval, report.chosen_bounds))
    return paid / plain if plain > 0 else 1.0


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
    n, kind = report.dump.responses[1], str(report.policy.kind[k, b])
    if kind == "first order":
        return [
            f"With a median of {n:g} responses per prompt only the first order can be estimated: these gains are those "
            "of a small tilt, taken to this KL as for a Gaussian score."
        ]
    if not best.past_horizon or report.idle[k]:
        return []
    return [
        f"This KL is beyond the horizon of these rows, {report.horizon[k]:.2g} nats "
        f"(median {n:g} responses per prompt)."
    ]


def _extremes(report: Report, best: Choice) -> list[str]:
    """Values that are settled by the one bound there is."""
    ends = np.stack([best.lower, best.upper], axis=-1)
    one = [j for j in _settled(best) if np.isinf(ends[j]).any()]
    if not one:
        return []
    names, n = ", ".join(visible(best.values[j]) for j in one), report.dump.n_prompts
    gains = ", ".join(f"{visible(best.values[j])} gains {in_words(ends[j])}" for j in one)
    if report.policy.outweighing[best.index] > OUTWEIGHED:
        judge = visible(best.constitution)
        what = "The rows' own weights and the scores" if report.dump.base == "reweight" else "The scores"
        return [f"{what} of {judge} have so heavy a tail that gains fall short at this KL, with one bound: {gains}."]
    return [f"Extremes of {names} are too rare in {n} prompts for a second bound: {gains}."]


def _hurt(report: Report, best: Choice) -> list[str]:
    """Values whose mean rises while some prompts lose beyond their noise, and subgroups that lose."""
    k, b = best.index
    share, se = report.policy.harmed[k, b], report.policy.harmed_se[k, b]
    hurt = [
        f"{visible(best.values[j])} falls in at least {100 * share[j]:.0f} % of the prompts"
        for j in range(len(best.values))
        if best.gain[j] > 0 and share[j] > HARM and share[j] > 2 * se[j]
    ]
    out = [f"The mean hides losses: {', '.join(hurt)}."] if hurt else []
    for g in report.groups:
        low = [
            f"{visible(best.values[j])} in {visible(g.groups[m])} ({g.gain[m, k, b, j]:+.3g})"
            for m in range(len(g.groups))
            for j in range(len(best.values))
            if g.paid[m, k, b, j, 1] < 0 <= best.upper[j]
        ]
        if low:
            out.append(f"By {visible(g.column)}, it lowers {', '.join(low)}.")
    return out


def _shared(report: Report, best: Choice) -> list[str]:
    """Gains that the judge and the labels owe to errors they share, by gold labels."""
    g = report.gold
    if g is None:
        return []
    k, b = best.index
    owed = [
        f"{visible(v)} {g.shared[k, b, j]:+.3g} of {g.gain_values[k, b, j]:+.3g}"
        for j, v in enumerate(best.values)
        if g.shared_interval[k, b, j, 0] > 0 or g.shared_interval[k, b, j, 1] < 0
    ]
    return [f"Judge and values share errors: by gold labels that is {', '.join(owed)}."] if owed else []


def _length(report: Report, best: Choice) -> list[str]:
    """Where a settled gain goes, or most of it, once length is partialled out."""
    if report.net is None:
        return []
    k, b = best.index
    lost, less = [], []
    for j in _settled(best):
        gain, full = float(report.net.gain[k, b, j]), float(best.gain[j])
        half = float(reach(report.net.interval[k, b, j], report.net.gain[k, b, j])) * _widened(report, k, b, j)
        up = best.lower[j] > 0
        name = visible(best.values[j])
        if not ((gain - half > 0) if up else (gain + half < 0)):
            lost.append(f"{name} {gain:+.3g}" if np.isfinite(gain) else f"{name} (no variance of the judge remains)")
        elif abs(gain) < MOSTLY * abs(full):
            less.append(f"{name} {gain:+.3g} of {full:+.3g}")
    out = []
    if lost:
        share = "all of it" if len(lost) == len(_settled(best)) else "a part of it"
        out.append(f"Length may explain {share}: net of length this is no longer settled for {', '.join(lost)}.")
    if less:
        out.append(f"Length explains most of it: net of length {', '.join(less)} remains.")
    return out


def _null(report: Report, best: Choice) -> list[str]:
    """Values whose gain a random direction at the same KL reaches."""
    if report.null_band is None:
        return []
    b = best.index[1]
    low, high = report.null_band[b, : len(best.values)].T
    of_rows = report.gain_rows if report.gold is None else report.gold.gain_rows_values
    assert of_rows is not None
    rows = of_rows[best.index]  # as the band's are
    inside = [j for j in range(len(best.values)) if low[j] <= rows[j] <= high[j] and report.value_sd[j] > 0]
    if not inside:
        return []
    named = ", ".join(
        f"{visible(best.values[j])} ({rows[j]:+.3g} on these rows, they {low[j]:+.3g} to {high[j]:+.3g})"
        for j in inside
    )
    return [f"Random directions at this KL gain as much for {named}."]


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
        f"{visible(v)} {g:+.3g} where {g + o:+.3g} was expected"
        for v, g, o, low in zip(best.values, found.gain[:J], found.optimism[:J], found.interval[:J, 0], strict=True)
        if g + o > 0 and g < MOSTLY * (g + o) and not low > 0
    ]
    if gone:
        out.append(f"What half of the prompts chooses among {n} does not hold on the other half: {', '.join(gone)}.")
    return out


def _flat(report: Report, best: Choice) -> list[str]:
    flat = [visible(v) for v, sd in zip(best.values, report.value_sd, strict=False) if sd == 0]
    if not flat:
        return []
    return [f"{', '.join(flat)} does not vary inside any prompt: no constitution can change it on these rows."]


def _linear(report: Report, best: Choice) -> list[str]:
    if report.linear_share is None:
        return []
    share = float(report.linear_share[best.index[0]])
    if not share < MOSTLY:  # also where it is unknown
        return []
    return [
        f"Only {100 * max(share, 0.0):.0f} % of the variance of {visible(best.constitution)} inside prompts is linear "
        "in the rows: a direction fitted to it keeps no more, and these gains are those of "
        f"{'the score itself' if report.tilt.fit_status[best.index[0]] == 'score' else 'that direction alone'}."
    ]


def _signs(report: Report, best: Choice) -> list[str]:
    """Values whose gain has the opposite sign of their covariance with the score."""
    k, b = best.index
    t = report.tilt
    against = []
    for j, name in enumerate(best.values):
        gain, first = best.gain[j], t.first_order[k, b, j]
        low, high = report.gain_interval[k, b, j]
        if gain * first < 0 and (low > 0 or high < 0):
            against.append(f"{visible(name)} {gain:+.3g} against {first:+.3g}")
    if not against:
        return []
    return [f"Exact and first order disagree in sign for {', '.join(against)}: the effect changes sign with the tilt."]
