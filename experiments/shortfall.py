"""What takes the rest of a forecast: each cause beside an arm that has it, or has it not.

At small KL a policy's KL is half the variance of its log-ratios, and the gain of a score their covariance with it: the
share of a forecast that arrives is the correlation of log-ratio and score. What is missing has gone elsewhere.
"""

from __future__ import annotations

import textwrap
import warnings
from collections import defaultdict
from typing import Any

import numpy as np

from .costs import markdown
from .rows import VALUES, rows
from .settings import Settings
from .table import arm

Policy = dict[str, Any]
Part = tuple[str, str, list[str]]


def by_arm(found: list[Policy]) -> Part:
    """Medians over the policies of an arm."""
    head = ["arm", "policies", "efficiency", "correlation", "on trained rows", "mean ratio there", "slope, of the aim",
            "KL afresh, of weights", "gains afresh near"]  # fmt: skip
    of_arm: dict[str, list[list[float]]] = defaultdict(list)
    for p in found:
        held, seen = p["held"], p["seen"]
        share = np.nan if held["efficiency"] is None else held["efficiency"]
        trained = [seen.get(name, np.nan) for name in ("correlation", "mean_ratio")]
        slope = held["slope"] / p["tries"][-1]["strength"]
        of_arm[arm(p["spec"])].append([share, held["correlation"], *trained, slope, *_afresh(p)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # arms without any fresh responses
        body = [[a, len(x), *np.nanmedian(np.array(x, np.float64), axis=0)] for a, x in of_arm.items()]
    why = (
        "Correlation of log-ratio and score inside held-out prompts, and the same on rows that were trained on, "
        "where blocks that cannot hold the tilt would show (capacity). A mean ratio above 1 there is probability "
        "that went to the very responses that were trained on. Slope of the log-ratio in the score, over the "
        "1/beta that was trained with. Of responses drawn from the policy itself, their KL over that by weights, "
        "and the share of their gains within two errors of those by weights: near 1 where held-out rows speak for "
        "the policy (distribution shift)."
    )
    return "By arm", why, markdown(head, body)


def _afresh(p: Policy) -> list[float]:
    held, fresh = p["held"], p.get("fresh")
    if not fresh:
        return [np.nan, np.nan]
    a, b = (np.array([x[n][: len(VALUES)] for n in ("gain", "gain_se")], np.float64) for x in (held, fresh))
    near = abs(a[0] - b[0]) <= 2 * np.hypot(a[1], b[1])
    return [fresh["kl"] / max(held["kl"], 1e-9), float(near.mean())]


def by_data(s: Settings, found: list[Policy]) -> Part:
    """Policies of one judge and KL by how many prompts they were trained on."""
    groups: dict[Any, list[Policy]] = defaultdict(list)
    for p in found:
        if p["spec"]["arm"] == "dpo":
            groups[p["spec"]["judge"], p["spec"]["kl"]].append(p)
    body: list[list[Any]] = []
    for (judge, kl), group in groups.items():
        sizes = [(p["spec"]["prompts"] or s.prompts["train"], p["spec"]["passes"]) for p in group]
        for size in sorted(set(sizes)) if len(set(sizes)) > 1 else ():
            some = [p["held"] for p, own in zip(group, sizes, strict=True) if own == size]
            shares = [h["efficiency"] for h in some]
            errors = [h["matched_se"][h["own"]] / h["forecast_gain"][h["own"]] for h in some]
            body.append([judge, f"{kl:g}", *size, len(some), np.mean(shares), np.sqrt(np.mean(np.square(errors)))])
    why = (
        "The same judge from fewer prompts, and from the same responses several times: a share that grows with "
        "prompts is short of data, one that does not grow with repeats has learned what these responses say. The "
        "error is one policy's, over held-out prompts."
    )
    head = ["judge", "KL asked", "prompts", "passes", "policies", "efficiency", "error"]
    return "By data", why, markdown(head, body) if body else ["No judge has policies of several sizes yet."]


def by_seed(s: Settings, found: list[Policy]) -> Part:
    """What policies of one judge that differ in the order of their prompts have in common."""
    r, groups = rows(s, "held"), defaultdict(list)
    for p in found:
        groups[tuple(p["spec"][name] for name in ("judge", "kl", "arm", "prompts", "passes"))].append(p)
    body = []
    for (judge, kl, *_), group in groups.items():
        if len(group) > 1:
            ratios = [_centred(np.load(s.folder / "policies" / f"{p['spec']['name']}.npy")) for p in group]
            score = _centred(r.scores[:, r.judges.index(judge)].reshape(ratios[0].shape))
            body.append([judge, f"{kl:g}", len(group), *_shares([x.ravel() for x in ratios], score.ravel())])
    why = (
        "Shares of the variance of log-ratios inside held-out prompts, which are shares of the KL: along the "
        "score; off it but alike in all seeds, which is what these responses taught beside the score; and of one "
        "seed, which is the optimiser's (a seed changes the order of prompts). At the end the efficiency that the "
        "mean of many seeds would come to."
    )
    head = ["judge", "KL asked", "seeds", "along the score", "off it, alike", "of one seed", "without the seeds' part"]
    return "By seed", why, markdown(head, body) if body else ["No policy has a second seed yet."]


def _shares(ratios: list[Any], score: Any) -> list[float]:
    alike = np.corrcoef(ratios)[np.triu_indices(len(ratios), 1)].mean()
    along = np.mean([np.corrcoef(x, score)[0, 1] for x in ratios])
    return [along**2, alike - along**2, 1 - alike, along / np.sqrt(alike) if alike > 0 else np.nan]


def _centred(x: Any) -> Any:
    return x - x.mean(axis=1, keepdims=True)


def show_shortfall(s: Settings, found: list[Policy]) -> list[str]:
    """The three tables, each under what it isolates."""
    lines: list[str] = []
    for title, why, body in (by_arm(found), by_data(s, found), by_seed(s, found)):
        lines += [f"### {title}", "", *textwrap.wrap(why, 120, break_on_hyphens=False), "", *body, ""]
    return lines[:-1]
