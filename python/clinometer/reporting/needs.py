"""What would settle what a report leaves open: prompts, pairs or responses, by the errors that are there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from clinometer.common.visible import visible
from clinometer.inference.matched import REACH
from clinometer.inference.tails import reach

from .verdict import Choice, choose

if TYPE_CHECKING:
    from .result import Report

HOPELESS = 1e7


def needs(report: Report) -> tuple[str, ...]:
    """Sentences about the recommended cell; none where everything is settled."""
    best = choose(report)
    if best is None:
        return ()
    return tuple([*_prompts(report, best), *_labels(report, best), *_responses(report, best)])


def _prompts(report: Report, best: Choice) -> list[str]:
    """How many more prompts make each open interval exclude 0, if the gain stays what it is."""
    n, out = report.dump.n_prompts, []
    halves = reach(np.stack([best.lower, best.upper], axis=-1), best.gain)
    for j, name in enumerate(best.values):
        gain, half = float(best.gain[j]), float(halves[j])
        if report.value_sd[j] == 0 or not np.isfinite(half) or half == 0:
            continue
        if not best.lower[j] <= 0 <= best.upper[j]:
            continue
        times = (half / gain) ** 2 if gain else math.inf
        more = n * (times - 1)
        if more > HOPELESS:
            out.append(f"{visible(name)}: the gain seen is so close to 0 that no number of prompts would settle it")
        else:
            out.append(
                f"{visible(name)}: about {_round(more)} more prompts (of {n} now) would settle its sign, if the gain "
                f"stays {gain:+.3g}"
            )
    if n < 2:
        out.append("more than one prompt, for any error at all")
    return out


def _labels(report: Report, best: Choice) -> list[str]:
    """How many times more labels, where those and not the prompts keep the interval open."""
    k, b = best.index
    wide = report.gain_interval_labels
    if wide is None or report.labels_known is None or not report.labels_known[k]:
        return []
    gains, chosen = best.gain, np.stack([best.lower, best.upper], axis=-1)
    # widened as the verdict's are, or it would ask for nothing where that cannot tell
    out, z = [], np.divide(*(reach(x[k, b], report.gain[k, b]) for x in (report.chosen_bounds, report.gain_interval)))
    for j, name in enumerate(best.values):
        gain, own, both = (float(x[j]) for x in (gains, reach(chosen, gains), z * reach(wide[k, b], report.gain[k, b])))
        if not (abs(gain) > own and abs(gain) <= both):
            continue
        times = (both**2 - own**2) / (gain**2 - own**2)
        out.append(
            f"{visible(name)}: about {times:.1f} times as many labels or pairs for {visible(best.constitution)} would "
            f"make the interval that includes their error exclude 0"
        )
    return out


def _responses(report: Report, best: Choice) -> list[str]:
    """Responses a prompt with which the rows would have an estimate at this KL."""
    k, b = best.index
    now = report.dump.responses[1]
    if not best.past_horizon or best.idle or report.dump.base == "logprob" or not report.tilt.kl[k, b] > 0:
        return []
    wanted = max(math.exp(min(float(report.kl[b]) / REACH, 30.0)), 8.0, now + 1)
    return [f"about {_round(wanted)} responses a prompt (median {now:g} now) for any estimate at this KL"]


def _round(x: float) -> str:
    """A number of things to two digits, upwards."""
    if x < 10:
        return str(max(1, math.ceil(x)))
    unit = 10 ** (int(math.log10(x)) - 1)
    return str(int(math.ceil(x / unit) * unit))
