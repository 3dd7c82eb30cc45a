"""What else the theory predicts, beside what was measured: each function gives a title and the lines of a table."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from typing import Any

import numpy as np
from scipy.stats import spearmanr

import clinometer as cm
from clinometer.models import LanguageModel

from .costs import markdown
from .rows import VALUES, constitutions, dump_of, rows
from .settings import Settings, timed
from .table import arm

# which value each constitution speaks of, by its words
INTENDED = {
    "kind": "courtesy", "unsure": "hedges", "cheerful": "cheer", "curious": "questions", "personal": "I",
    "thankful": "courtesy", "lively": "exclaims",
}  # fmt: skip
KL = 0.1
Part = tuple[str, list[str]]


def judgment_gap(s: Settings) -> Part:
    """Proposition 5: a constitution's direction is nearer to its value than the generation direction is."""
    dump, r = dump_of(s, "train"), rows(s, "train")
    pairs = [(f"text/{c}", v) for c, v in INTENDED.items() if c in constitutions(s)]
    at = [r.judges.index(j) for j, _ in pairs], [VALUES.index(v) for _, v in pairs]
    judges, values = cm.fit_value_direction(dump, r.scores[:, at[0]]), cm.fit_value_direction(dump, r.values[:, at[1]])
    found = cm.theory.generation_judgment_gap(values, judges, _generation(dump), dump)
    body = [
        [*pair, found.judgment[i, i], found.generation[i], found.gap[i, i], *found.ci[i, i]]
        for i, pair in enumerate(pairs)
    ]
    return "Judgment gap", markdown(["judge", "value", "of u_C", "of u_gen", "gap", "from", "to"], body)


def _generation(dump: Any) -> Any:
    return cm.fit_generation_direction(dump, covariates="n_tokens")


def turned(s: Settings, found: list[dict[str, Any]]) -> Part:
    """Where training moves the generation direction: by the theory along u_C, whatever u_gen is.

    The direction of a policy's log-ratios on held-out rows, cross-fitted; medians over the policies of an arm.
    """
    dump, r = dump_of(s, "held"), rows(s, "held")
    before, of_arm = _generation(dump), defaultdict(list)
    for p in found:
        k = r.judges.index(p["spec"]["judge"])
        ratio = np.load(s.folder / "policies" / f"{p['spec']['name']}.npy").ravel()
        moved, judge = cm.fit_value_direction(dump, ratio), cm.fit_value_direction(dump, r.scores[:, [k]])
        gap = cm.theory.generation_judgment_gap(moved, judge, before, dump)
        of_arm[arm(p["spec"])].append([moved.encoding_quality.r[0], gap.judgment[0, 0], gap.generation[0]])
    head = ["arm", "policies", "log-ratio linear in phi, r", "with u_C", "with u_gen"]
    body = [[a, len(x), *np.nanmedian(np.array(x, np.float64), axis=0)] for a, x in of_arm.items()]
    return "Shift of the generation direction (correlations of scores)", markdown(head, body)


def shift_ranks(found: list[dict[str, Any]]) -> Part:
    """Section 8.2: training moves the states of given responses in few dimensions; medians over an arm."""
    names, of_arm = ("participation", "about its mean", "mean share", "length"), defaultdict(list)
    for p in found:
        of_arm[arm(p["spec"])].append([p["shift"][n] for n in names])
    body = [[a, *np.nanmedian(np.array(x, np.float64), axis=0)] for a, x in of_arm.items()]
    return "Effective dimensions of the shift of the last states", markdown(["arm", *names], body)


def concentration(s: Settings) -> Part:
    """Conjecture 9: value directions lie among the components of largest spread, beyond what chance gives."""
    dump, r = dump_of(s, "train"), rows(s, "train")
    fit = cm.fit_value_direction(dump, r.values, method="least_squares")
    found = cm.theory.value_concentration(fit, cm.moments(dump))
    columns = [found.share, found.p_value, found.variance_share, found.variance_p_value]
    body = [[v, *(c[j] for c in columns)] for j, v in enumerate(VALUES)]
    nulls = f"{found.null_mean:.3g} and {found.variance_null_mean:.3g}"
    title = f"Concentration in the {found.m} largest components (by chance {nulls})"
    return title, markdown(["value", "share", "p", "share of variance", "p"], body)


def adversarial(s: Settings, held: dict[str, Any]) -> Part:
    """Theorem 10: the most harmful mixture of the constitutions' directions in closed form, then tilted on other rows.

    From the train split; beside it the most harmful one of the judges by the forecast.
    """
    train, other = rows(s, "train"), rows(s, "held")
    judges = [k for k, j in enumerate(train.judges) if j.startswith("text/")]
    sigma = cm.moments(dump_of(s, "train"))
    basis = cm.fit_value_direction(dump_of(s, "train"), train.scores[:, judges]).vectors
    values = cm.fit_value_direction(dump_of(s, "train"), train.values).vectors
    worst = [cm.theory.worst_direction(u, sigma, basis, metric="kl", radius=np.sqrt(2 * KL)) for u in values]
    mixed = _tilted(s, np.stack([np.nan_to_num(w.direction) for w in worst]), other)
    listed, b = _tilted(s, cm.Scores(other.scores), other), int(np.argmin(abs(np.array(held["curve"]["kl"]) - KL)))
    said = np.array(held["curve"]["estimate"], np.float64)[:, b, : len(VALUES)]
    body: list[list[Any]] = []
    for j, value in enumerate(VALUES):
        k = int(np.nanargmin(said[:, j]))
        own = [held["judges"][k], said[k, j], listed.estimate[k, 0, j], listed.estimate_se[k, 0, j]]
        body.append([value, *own, worst[j].value, mixed.estimate[j, 0, j], mixed.estimate_se[j, 0, j]])
    head = ["value", "worst judge", "forecast", "held-out", "error", "worst mixture, first order", "held-out", "error"]
    return f"Adversarial constitutions at KL {KL:g}", markdown(head, body)


def _tilted(s: Settings, judges: Any, r: Any) -> Any:
    return cm.inference.gain_intervals(dump_of(s, "held"), judges, values=r.values, kl=[KL])


def read_layers(s: Settings, lm: LanguageModel) -> None:
    """States of the train split's responses at several layers, in one pass."""
    texts, n = list(dump_of(s, "train").texts), s.responses["train"]
    asked = [t["prompt"] for t in texts[::n]]
    given = [[t["tokens"] for t in texts[at : at + n]] for at in range(0, len(texts), n)]
    with timed(s, "layers, rows") as units:
        cm.capture(
            lm, None, asked, responses=given, layers=list(s.layers), out=s.folder / "layers", dtype="float32",
            token_budget=s.token_budget, policy="on_policy",
        )  # fmt: skip
        units.append(len(texts))


def by_layer(s: Settings) -> Part:
    """Corollary 7: what a judge that reads a layer gains of a value, over what the value itself gains, grows with r.

    r is the out-of-fold correlation of the layer's direction with the value, by the theory that very share.
    """
    r, made = rows(s, "train"), {k: cm.open_dump(s.folder / "layers", layer=k) for k in s.layers}
    found = cm.theory.ceiling_by_layer(made, r.values, kl=[KL])
    own = _own_gains(dump_of(s, "train"), cm.Scores(r.values), r)
    share = np.array([_own_gains(d, cm.fit_value_direction(d, r.values), r) / own for d in made.values()])
    both = [
        [f"{x:.2f} / {y:.2f}" for x, y in zip(*of, strict=True)] for of in zip(found.correlation, share, strict=True)
    ]
    body = [[str(k), *cells] for k, cells in zip(s.layers, both, strict=True)]
    known = np.isfinite(share) & np.isfinite(found.correlation)
    rank = spearmanr(found.correlation[known], share[known]).statistic if known.sum() > 2 else np.nan
    return f"By layer: r / share of the ceiling (rank correlation {rank:.2f})", markdown(["layer", *VALUES], body)


def _own_gains(dump: Any, judges: Any, r: Any) -> Any:
    found = cm.inference.gain_intervals(dump, judges, values=r.values, kl=[KL])
    return np.array([found.estimate[j, 0, j] for j in range(len(VALUES))])


def second_round(s: Settings) -> Part:
    """Section 9.4: u_C read again in the policy's own responses, scored by the judge as it was and by the policy."""
    name, n = s.second[0], s.second[1] * s.responses["train"]
    if not (s.folder / "second").exists():  # of a run on another machine, whose responses were not kept
        return f"Second round of {name}", (s.folder / "second.txt").read_text().splitlines()
    judge = next(p["judge"] for p in s.policies if p["name"] == name)
    r, phi = rows(s, "train"), dump_of(s, "train").read(0, s.prompts["train"] * s.responses["train"])
    columns = {"score": r.scores[:n, r.judges.index(judge)]} | dict(zip(VALUES, r.values[:n].T, strict=True))
    first, then, lines = cm.open_dump(phi[:n], prompt_ids=r.ids[:n], columns=columns), s.folder / "second", []
    kept = [v for v in VALUES if np.ptp(columns[v]) > 0 and np.ptp(cm.open_dump(then).column(v)) > 0]
    for by in ("as it was", "itself"):
        found = cm.theory.judge_drift([first, then], ["score", by], kept, kl=KL, fits={"method": "ridge", "alpha": 0.1})
        lines += [f"Judged by the model {by}:", "", "```text", str(found), "```", ""]
    text = "\n".join(lines[:-1])
    (s.folder / "second.txt").write_text(text + "\n")
    return f"Second round of {name}", text.splitlines()


def show_predictions(
    s: Settings, held: dict[str, Any], found: list[dict[str, Any]]
) -> list[tuple[str, list[str], str]]:
    """Of everything there are results for: title, lines, and what it was asked of."""
    made: list[tuple[Any, tuple[Any, ...]]] = [(judgment_gap, (s,)), (concentration, (s,)), (adversarial, (s, held))]
    made += [(turned, (s, found)), (shift_ranks, (found,))] if found else []
    made += [(by_layer, (s,))] if (s.folder / "layers").exists() else []
    made += [(second_round, (s,))] if any((s.folder / n).exists() for n in ("second", "second.txt")) else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [(*of(*given), re.split(r"\n\n", of.__doc__)[0].strip()) for of, given in made]
