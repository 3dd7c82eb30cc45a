"""How much of a forecast an optimiser delivers: a model fitted on some judges and tested on the others."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

import clinometer as cm

from .rows import dump_of, rows
from .settings import Settings

FEATURES = ("data", "repeats", "gradient", "KL", "noise", "smooth", "length")
TOKENS = 256  # the most frequent ones, which a sum over tokens is read from
RIDGE = 3.0  # in policies: what a model without any knowledge is worth
FAR = 3.0  # sd beyond which a feature of a judge left out counts as so far only
SURE = 2.0  # errors by which a forecast must differ from 0 for a share of it to mean anything


def of_judges(s: Settings) -> dict[str, tuple[float, float, float]]:
    """Of each judge, from the train split alone: noise, smoothness and length, shares of its variance inside prompts.

    Smooth is what a sum over the response's tokens says of it out of fold, noise what tokens and phi leave unsaid,
    length the squared correlation with the number of characters.
    """
    dump, r = dump_of(s, "train"), rows(s, "train")
    counts = token_counts([entry["tokens"] for entry in dump.texts])
    both = np.concatenate([counts, np.asarray(dump.read(0, dump.n_rows), np.float64)], axis=1)
    smooth, known = (_readable(x, r) for x in (counts, both))
    chars = np.array([[float(len(entry["response"]))] for entry in dump.texts])
    size = cm.inference.baselines(dump, cm.Scores(r.scores), chars).correlation[:, 0] ** 2
    return {j: (1 - known[k], smooth[k], float(np.nan_to_num(size[k]))) for k, j in enumerate(r.judges)}


def token_counts(tokens: list[list[int]]) -> Any:
    """How often each of the most frequent tokens is in each response (N, T)."""
    frequent = [t for t, _ in Counter(t for row in tokens for t in row).most_common(TOKENS)]
    return np.array([[float(c[t]) for t in frequent] for c in map(Counter, tokens)])


def _readable(features: Any, r: Any) -> list[float]:
    found = cm.fit_value_direction(cm.open_dump(features, prompt_ids=r.ids), r.scores).encoding_quality
    return [float(x) for x in np.clip(np.nan_to_num(found.value), 0.0, 1.0)]


def table_of(s: Settings, found: list[dict[str, Any]]) -> tuple[Any, Any, list[str]]:
    """Features (P, F), efficiencies (P,) and judges of the policies whose own forecast is sure."""
    of_judge, x, y, judges = of_judges(s), [], [], []
    for p in found:
        spec, held = p["spec"], p["held"]
        gain, error = (held[name][held["own"]] for name in ("forecast_gain", "forecast_se"))
        if held["efficiency"] is None or error is None or abs(gain) <= SURE * error:
            continue
        gradient = spec["arm"] == "gradient"
        data = s.gradient_steps if gradient else spec["prompts"] or s.prompts["train"]
        x.append([np.log2(data), np.log2(spec["passes"]), gradient, np.log2(held["kl"]), *of_judge[spec["judge"]]])
        y.append(held["efficiency"])
        judges.append(spec["judge"])
    return np.array(x, np.float64).reshape(len(y), len(FEATURES)), np.array(y, np.float64), judges


def left_out(x: Any, y: Any, judges: list[str]) -> tuple[Any, Any]:
    """Of each policy what ridge says that was fitted on the policies of other judges, and their mean."""
    by_model, by_mean, of = np.empty(len(y)), np.empty(len(y)), np.array(judges)
    for judge in dict.fromkeys(judges):
        out = of == judge
        mean, spread = x[~out].mean(0), x[~out].std(0)
        z = np.clip((x - mean) / np.where(spread > 0, spread, 1.0), -FAR, FAR)
        by_mean[out] = y[~out].mean()
        a, b = z[~out], y[~out] - y[~out].mean()
        by_model[out] = by_mean[out] + z[out] @ np.linalg.solve(a.T @ a + RIDGE * np.eye(x.shape[1]), a.T @ b)
    return by_model, by_mean


def predicted(x: Any, y: Any, judges: list[str]) -> dict[str, Any]:
    """Share of the squared error of the mean that each feature alone and all together take away on left-out judges.

    `sure`: all together do, by two errors over judges.
    """
    sets = {name: [f] for f, name in enumerate(FEATURES)} | {"all together": list(range(len(FEATURES)))}
    better = {}
    for name, columns in sets.items():
        by_model, by_mean = left_out(x[:, columns], y, judges)
        fewer = (y - by_mean) ** 2 - (y - by_model) ** 2
        better[name] = float(fewer.sum() / ((y - by_mean) ** 2).sum())
    each = np.array([fewer[np.array(judges) == j].sum() for j in dict.fromkeys(judges)])
    error = np.std(each, ddof=1) * np.sqrt(len(each))
    return {"better": better, "sure": bool(each.sum() > 2 * error), "off": float(np.sqrt(np.mean((y - by_model) ** 2)))}


def show_efficiency(s: Settings, found: list[dict[str, Any]]) -> list[str]:
    """The answer in a sentence, then every feature's part."""
    x, y, judges = table_of(s, found)
    if len(set(judges)) < 4:
        return [f"Policies of {len(set(judges))} judges with a sure forecast: too few for a model of efficiency."]
    made = predicted(x, y, judges)
    middle, spread = float(np.median(y)), float(np.std(y))
    number = f"the median share of {middle:.2f} (sd over policies {spread:.2f})"
    answer = (
        f"Of a judge that it was not fitted on, the model says the share to {made['off']:.2f}; without it {number}"
        if made["sure"] else f"Nothing here predicts the share of a judge that is left out; what is left is {number}"
    )  # fmt: skip
    lines = [f"- {name}: {share:+.2f}" for name, share in made["better"].items()]
    return [f"{answer}. Share of the squared error taken away on judges left out:", "", *lines]
