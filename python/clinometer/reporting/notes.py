"""What a reader must know beside the numbers: diagnostics, what a report does not cover, and what would settle what it
leaves open."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from clinometer.common.visible import visible
from clinometer.inference.matched import REACH
from clinometer.inference.tails import OUTWEIGHED, SCARCE, WINS_OUTWEIGHED, reach

from .verdict import Choice, choose

if TYPE_CHECKING:
    from .result import Report

UNSEEN = {
    "rare": f"fewer than {SCARCE} responses, or prompts, differ from the rest of their prompt, too few for an interval "
    "of its gain or win rate",
    "alone": "no prompt has two labels of it, so that no gain of it is known",
}
GOLD = (
    "gold labels correct the gains: of the policy, on rows, net of length, of groups and of halves, with first orders "
    "and win rates; null band, cone, mixtures, rounds, correlations, sd, encoding and simpler measures are of the "
    "values as given"
)
SKEWED = (
    "so skewed that {} need not hold the extremes that make its gain{}: that has one bound instead of two; its "
    "win rate has both"
)
OVERSHOOT = 0.01  # share by which gains may be too high, from which it is said
FEW = 4  # constitutions that get a line each


def pareto_limit(n_rows: int) -> float:
    """Largest tail index at which the ratios are reliable (theory 2.7): min(1 - 1 / log10 S, 0.7)."""
    return min(1 - 1 / np.log10(n_rows), 0.7) if n_rows > 10 else 0.0


def diagnostics(r: Report, said: list[str]) -> tuple[str, ...]:
    """Sentences about these rows, warnings of the passes included, each once."""
    out = [r.length_note, *_rows(r), *_tilts(r)]
    if r.gold is not None:
        out.insert(0, GOLD)
    if r.self_judged:
        out.insert(0, "no constitutions were given: the values themselves act as judges")
    return tuple(dict.fromkeys([*out, *said]))


def _rows(r: Report) -> list[str]:
    d, out = r.dump, []
    if d.n_singletons:
        out.append(f"{d.n_singletons} of {d.n_prompts} prompts have a single response, which no tilt changes")
    if d.n_dropped:
        out.append(f"{d.n_dropped} prompts were dropped for NaN or Inf")
    for name, n in zip(r.values, r.tilt.n_unlabelled, strict=True):
        if n:
            out.append(f"{name}: {d.n_rows - int(n)} of {d.n_rows} rows have a label, and it rests on these")
    for j, (name, sd, unseen) in enumerate(zip(r.values, r.value_sd, r.policy.unseen, strict=True)):
        if sd == 0:
            out.append(f"{name} does not vary inside any prompt: no tilt can change it")
        elif unseen:
            out.append(f"{name}: {UNSEEN[str(unseen)]}")
        elif (one := (r.policy.skewed[..., j] != 0) & ~(r.policy.outweighing > OUTWEIGHED)).any():
            some = "" if one.all() else f" from KL {r.policy.kl[one].min():g} on"
            out.append(f"{name}: {SKEWED.format(f'{d.n_prompts} prompts' if one.all() else 'these responses', some)}")
    if d.n_prompts < 2:
        out.append("fewer than two prompts: there are no standard errors")
    if 1 < d.responses[1] <= 4 and d.base != "logprob":
        out.append(f"{d.responses[1]:g} responses per prompt: too few to estimate gains except at small KL")
    return out


def _tilts(r: Report) -> list[str]:
    t, out = r.tilt, []
    alike = _past_alike(r)
    if alike:
        out.append(alike)
    for k, name in enumerate(r.constitutions):
        if r.idle[k]:
            out.append(f"{name} moves nothing: its scores are equal inside every prompt")
        elif r.past_horizon[k].any() and not alike:
            past = ", ".join(f"{x:g}" for x in r.kl[r.past_horizon[k]])
            out.append(f"{name}: kl {past} beyond the horizon of {r.horizon[k]:.2g} nats")
        over = r.policy.overshoot[k]
        if over.max() > OVERSHOOT:
            out.append(
                f"{name}: prompts differ in the spread of its scores, so that gains are up to {100 * over.max():.0f} % "
                f"too high at kl {r.kl[over.argmax()]:g}; bounds allow for it"
            )
        by_score = [v for v, hit in zip(r.values, r.policy.labelled_by_score[k], strict=True) if hit]
        if by_score:
            out.append(
                f"{name}: labels of {', '.join(by_score)} are missing by its score, so that no gain of it is known"
            )
        wins, heavy = (r.policy.outweighing[k] > most for most in (WINS_OUTWEIGHED, OUTWEIGHED))
        if wins.any():
            at, short = (", ".join(f"{x:g}" for x in r.kl[some]) for some in (wins, heavy))
            less = f"; gains fall short at kl {short} and have one bound there" if short else ""
            what = "rows' weights and scores" if r.dump.base == "reweight" else "scores"
            out.append(f"{name}: {what} so heavy-tailed that win rates are left out at kl {at}{less}")
        limit = pareto_limit(r.dump.n_rows)
        bad = t.pareto_k[k] > limit
        if bad.any():
            at = ", ".join(f"{x:g}" for x in r.kl[bad])
            out.append(f"{name}: heavy-tailed ratios (Pareto k above {limit:.2g}, what so many rows bear) at kl {at}")
        for j, value in enumerate(r.values):
            flip = t.signs_differ[k, :, j]
            sure = (r.gain_interval[k, :, j, 0] > 0) | (r.gain_interval[k, :, j, 1] < 0)
            if (flip & sure).any():
                where = ", ".join(f"{x:g}" for x in r.kl[flip & sure])
                out.append(f"{name}: {value} has the opposite sign of its first order at kl {where}")
    if "in-sample" in t.fit_status:
        out.append("some directions were fitted on these very rows and are optimistic")
    return out


def _past_alike(r: Report) -> str:
    """One sentence for more constitutions than a reader would go through, where all are past at the same levels."""
    past = r.past_horizon
    if len(past) <= FEW or r.idle.any() or not past.any() or (past != past[0]).any():
        return ""
    at = ", ".join(f"{x:g}" for x in r.kl[past[0]])
    low, high = (f"{x:.2g}" for x in (r.horizon.min(), r.horizon.max()))
    span = low if low == high else f"{low} to {high}"
    return f"all {len(past)} constitutions: kl {at} beyond the horizon of {span} nats"


def coverage(r: Report) -> tuple[str, ...]:
    """What the numbers leave out."""
    known = r.labels_known is not None and r.labels_known.all()
    judges = "" if known else "in the judges that are not fits of this dump and "
    out = [
        f"noise {judges}in the values: intervals are over new prompts, with both held fixed. Where two raters labelled "
        "a value, ask for both: their correlation inside prompts is the reliability, and gains in sd and correlations "
        "of either are low by its root",
        "training: the tilt is the KL-optimal policy; at the same KL an optimiser may deliver half of it (measured on "
        "a small model: docs/experiment.md), and may produce other responses",
    ]
    if not r.dump.is_forecast:
        out.append("the model itself: these rows are not known to be its own responses")
    if r.past_horizon[~r.idle].any():
        out.append(
            "KL levels past the horizon, where these rows can no longer tell: more responses per prompt are needed"
        )
    if r.cone is not None and r.dump.dim > r.n_requested:
        out.append(
            "whether a prompt can reach the cone's best direction; with fewer values than dimensions the cone is "
            "almost never empty"
        )
    return tuple(out)


HOPELESS = 1e7
MOST_RESPONSES = 100_000


def needs(report: Report) -> tuple[str, ...]:
    """Sentences about the recommended cell; none where everything is settled."""
    best = choose(report)
    if best is None:
        return ()
    return tuple([*_prompts(report, best), *_labels(report, best), *_responses(report, best)])


def _prompts(report: Report, best: Choice) -> list[str]:
    """How many more prompts make each open interval exclude 0, if the gain stays what it is."""
    d, out = report.dump, []
    n, units = (d.n_prompts, "prompts") if d.n_clusters is None else (d.n_clusters, "clusters of prompts")
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
            out.append(f"{visible(name)}: the gain seen is so close to 0 that no number of {units} would settle it")
        else:
            out.append(
                f"{visible(name)}: about {_round(more)} more {units} (of {n} now) would settle its sign, if the gain "
                f"stays {gain:+.3g}"
            )
    if n < 2:
        out.append("prompt_ids=, if these rows answer several prompts; one prompt gives no error at all")
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
    if wanted > MOST_RESPONSES:
        return [f"a smaller KL: at this one an estimate would take more than {MOST_RESPONSES:,} responses a prompt"]
    return [f"about {_round(wanted)} responses a prompt (median {now:g} now) for any estimate at this KL"]


def _round(x: float) -> str:
    """A number of things to two digits, upwards."""
    if x < 10:
        return str(max(1, math.ceil(x)))
    unit = 10 ** (int(math.log10(x)) - 1)
    return str(int(math.ceil(x / unit) * unit))
