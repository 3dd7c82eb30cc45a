"""The outcome as tables: size, sign, rank and regret apart, and what every step cost."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from .costs import markdown, show_costs
from .forecast import curve_of, file_digest, frozen, intervals, strength_at
from .measuring import closed_form
from .rows import VALUES, rows
from .settings import Settings

WIDE = 1.96
EXACT = "exact forecasts, by noise"
FAR = 3.0  # KLs that gains are still brought to one another over
CLOSED = ("kl", "kl_se", "ess", "mean_ratio", "mean_ratio_se")
CLOSED_FORM, ONCE, GRADIENT = "closed form", "DPO, each response once", "policy gradient"
Cell = dict[str, Any]


def policies(s: Settings) -> list[dict[str, Any]]:
    """Finished policies, all of this forecast."""
    found = [json.loads(path.read_text()) for path in sorted((s.folder / "policies").glob("*.json"))]
    own = file_digest(s)
    if strangers := [p["spec"]["name"] for p in found if p["forecast"] != own]:
        raise ValueError(f"policies of another forecast: {', '.join(strangers)}")
    return found


def trained_cells(held: dict[str, Any], found: Iterable[dict[str, Any]]) -> list[Cell]:
    """A cell a policy and value: what was forecast at the KL that came about, and what came about."""
    cells = []
    for p in found:
        m = {name: np.array(p["held"][name], np.float64) for name in ("gain", "gain_se", "matched_se")}
        forecast, error = (np.array(p["held"][n], np.float64) for n in ("forecast_gain", "forecast_se"))
        for j in (*range(len(VALUES)), p["held"]["own"]):
            cells.append({
                "arm": arm(p["spec"]), "judge": p["spec"]["judge"], "asked": p["spec"]["kl"], "kl": p["held"]["kl"],
                "value": held["values"][j], "forecast": forecast[j], "forecast_se": error[j], "gain": m["gain"][j],
                "gain_se": m["gain_se"][j], "matched_se": m["matched_se"][j],
            })  # fmt: skip
    return cells


def arm(spec: dict[str, Any]) -> str:
    if spec["arm"] == "gradient":
        return GRADIENT
    if spec["passes"] > 1:
        return "DPO, responses repeated"
    return ONCE if not spec["prompts"] else f"DPO, {spec['prompts']} prompts"


def closed_cells(s: Settings, held: dict[str, Any]) -> list[Cell]:
    """The tilt itself on held-out rows, at the KLs of the forecast: what estimation alone gets wrong."""
    r, c = rows(s, "held"), held["curve"]
    found = intervals(s, r, "held")
    cells = []
    for k, judge in enumerate(held["judges"]):
        for b, kl in enumerate(held["curve"]["kl"]):
            for j in (*range(len(VALUES)), len(VALUES) + k):
                forecast, error = (np.float64(c[n][k][b][j]) for n in ("estimate", "se"))
                gain, se = found.estimate[k, b, j], found.estimate_se[k, b, j]
                cells.append({
                    "arm": CLOSED_FORM, "judge": judge, "asked": kl, "kl": kl, "value": held["values"][j],
                    "forecast": forecast, "forecast_se": error, "gain": gain, "gain_se": se, "matched_se": se,
                })  # fmt: skip
    return [cell for cell in cells if np.isfinite([cell[n] for n in ("forecast", "gain", "gain_se")]).all()]


def closed_forms(s: Settings, held: dict[str, Any], kl: float) -> list[list[Any]]:
    """Of each judge's tilt at the frozen beta of one KL, what it is on held-out rows."""
    r = rows(s, "held")
    scores = r.scores.reshape(s.prompts["held"], -1, r.scores.shape[1])
    out = []
    for k, judge in enumerate(held["judges"]):
        found = closed_form(scores[:, :, k], strength_at(held, judge, kl))
        out.append([judge, *(found[n] for n in CLOSED)])
    return out


def summary(cells: list[Cell]) -> dict[str, float]:
    """Coverage, signs, ranks and efficiency of some cells."""
    gain, se, forecast, f_se, matched = (
        np.array([c[n] for c in cells]) for n in ("gain", "gain_se", "forecast", "forecast_se", "matched_se")
    )
    off, sure = abs(gain - forecast), abs(gain) > 2 * se
    own = np.array([c["value"].startswith("own/") for c in cells])
    known = np.isfinite(forecast)
    bounded = known & np.isfinite(f_se)  # of values too rare for an error nothing is said
    with np.errstate(divide="ignore", invalid="ignore"):
        efficiency = (gain / forecast)[own & known & (abs(forecast) > 2 * f_se)]
    middle = float(np.median(efficiency)) if len(efficiency) else np.nan
    others = ~own & bounded & (matched > 0)
    return {
        "cells": len(cells), "inside forecast": _share(off <= WIDE * f_se, bounded),
        "inside both": _share(off <= WIDE * np.hypot(f_se, matched), bounded),
        "slope, others": _slope(*(x[others] for x in (forecast, f_se, gain, matched))), "significant": int(sure.sum()),
        "signs right": _share(np.sign(gain) == np.sign(forecast), sure & known), "rank": ranks(cells),
        "rank by noise": ranks(cells, middle) if np.isfinite(middle) else np.nan, "efficiency": middle,
    }  # fmt: skip


def _slope(forecast: Any, f_se: Any, gain: Any, se: Any) -> float:
    """Of gains in their forecasts, through 0, by the errors of both; less what noise adds to the forecasts' squares."""
    weight = 1 / (f_se**2 + se**2)
    below = float((weight * (forecast**2 - f_se**2)).sum())
    return float((weight * forecast * gain).sum()) / below if below > 0 else np.nan


def _share(right: Any, of: Any) -> float:
    return float(right[of].mean()) if of.any() else np.nan


def ranks(cells: list[Cell], share: float | None = None) -> float:
    """Mean over values and levels of the rank correlation of forecast and gain over judges.

    share: instead of gains their forecasts times this with errors drawn anew, which is as far as noise lets it come.
    """
    groups: dict[Any, list[Cell]] = defaultdict(list)
    for c in cells:
        if not c["value"].startswith("own/") and np.isfinite([c["forecast"], c["gain_se"]]).all():
            groups[c["value"], c["asked"]].append(c)
    found, rng = [], np.random.default_rng(0)
    for group in groups.values():
        if len({c["judge"] for c in group}) >= 4:
            forecast, gain, se = (np.array([c[n] for c in group]) for n in ("forecast", "gain", "matched_se"))
            drawn = [gain] if share is None else share * forecast + se * rng.normal(size=(100, len(group)))
            found.append(np.mean([spearmanr(forecast, g).statistic for g in drawn]))
    return float(np.nanmean(found)) if np.isfinite(found).any() else np.nan


def regrets(held: dict[str, Any], cells: list[Cell]) -> dict[str, float]:
    """Share of the best realised gain that is lost by choosing the judge of each value by a measure, mean over values.

    Gains are brought to the KL that was asked for along sqrt(KL), where the frozen curve is read, so that nothing of a
    policy is known to any measure. A policy counts whose KL is within a factor FAR of it, a value whose best gain is
    sure. EXACT is what clinometer's choice would lose were gains its forecasts times the efficiency, with their errors.
    """
    lost: dict[str, list[float]] = defaultdict(list)
    middle, rng = summary(cells)["efficiency"], np.random.default_rng(0)
    for j, value in enumerate(VALUES):
        for asked in {c["asked"] for c in cells}:
            near = [c for c in cells if c["asked"] == asked and asked / FAR < c["kl"] < asked * FAR]
            some = [c for c in near if c["value"] == value and np.isfinite(c["forecast"])]
            if len({c["judge"] for c in some}) < 4:
                continue
            scale = np.sqrt([asked / max(c["kl"], 1e-9) for c in some])
            gain = scale * [c["gain"] for c in some]
            best = int(np.argmax(gain))
            if gain[best] <= 2 * scale[best] * some[best]["gain_se"]:
                continue
            at = [held["judges"].index(c["judge"]) for c in some]
            measures = {"clinometer": [curve_of(held, c["judge"]).at(asked)[0][j] for c in some]} | {
                name: np.nan_to_num(np.array(table, np.float64))[at, j] for name, table in held["simpler"].items()
            }
            for name, measure in measures.items():
                lost[name].append(float(1 - gain[int(np.argmax(measure))] / gain[best]))
            said, error = np.array(measures["clinometer"]), scale * [c["matched_se"] for c in some]
            drawn = np.nan_to_num(middle, nan=1.0) * said + error * rng.normal(size=(200, len(some)))
            drawn = drawn[drawn.max(axis=1) > 0]
            lost[EXACT].append(float(np.mean(1 - drawn[:, int(np.argmax(said))] / drawn.max(axis=1))))
    return {name: float(np.mean(x)) for name, x in lost.items()}


def arms_of(cells: list[Cell]) -> dict[str, list[Cell]]:
    return {a: [c for c in cells if c["arm"] == a] for a in dict.fromkeys(c["arm"] for c in cells)}


def lost_by_arm(held: dict[str, Any], cells: list[Cell]) -> dict[str, dict[str, float]]:
    """Regrets of the arms that have any."""
    return {a: regret for a, some in arms_of(cells).items() if (regret := regrets(held, some))}


def goals(found: list[dict[str, Any]], cells: list[Cell], lost: dict[str, dict[str, float]]) -> list[list[str]]:
    """What the experiment was to show, what it showed, and whether that is met; regrets by arm are `lost`."""
    arms = {a: [c for c in cells if c["arm"] == a] for a in (CLOSED_FORM, ONCE, GRADIENT)}
    made = {a: summary(some) for a, some in arms.items() if some}
    trained = summary([c for c in cells if c["arm"] != CLOSED_FORM])

    def of(a: str, name: str) -> float:
        return made[a][name] if a in made else np.nan

    def line(what: str, wanted: str, number: float, met: bool, more: str = "") -> list[str]:
        verdict = "no number yet" if not np.isfinite(number) else "met" if met else "missed"
        return [what, wanted, f"{number:.3g}{more}" if np.isfinite(number) else "-", verdict]

    inside, over = of(CLOSED_FORM, "inside both"), _error_over_judges(arms[CLOSED_FORM])
    out = [
        line("trained policies", ">= 40", len(found), len(found) >= 40),
        line("closed form inside, both errors", "0.93 to 0.97", inside, 0.93 <= inside <= 0.97, f" +- {over:.2g}"),
        line("signs of sure gains right", ">= 0.95", trained["signs right"], trained["signs right"] >= 0.95,
             f" of {trained['significant']}"),
    ]  # fmt: skip
    for a in (ONCE, GRADIENT):
        out.append(line(f"rank over judges, {a}", ">= 0.8", rank := of(a, "rank"), rank >= 0.8))
    for a, regret in lost.items():
        if a != CLOSED_FORM:
            own, other = regret["clinometer"], min(x for name, x in regret.items() if name not in ("clinometer", EXACT))
            wanted = f"<= 0.1 and <= {other / 2:.3g}, half the best other"
            out.append(line(f"regret, {a}", wanted, own, own <= min(0.1, other / 2)))
    share = of(GRADIENT, "efficiency")
    return [*out, line("efficiency, policy gradient", ">= 0.8, or what takes the rest", share, share >= 0.8)]


def _error_over_judges(cells: list[Cell]) -> float:
    """Standard error of the coverage, cells of one judge being one draw."""
    shares = [summary([c for c in cells if c["judge"] == j])["inside both"] for j in {c["judge"] for c in cells}]
    return float(np.nanstd(shares, ddof=1) / np.sqrt(len(shares))) if len(shares) > 1 else np.nan


CELLS = """A cell is a policy (of the closed form a judge and a KL) and a value. Inside: the gain lies within 1.96
errors of the forecast, by the forecast's own and by both. Slope: of the gains of values other than the judge's own
score in their forecasts, 1 where the size comes true. Significant: realised gains beyond 2 errors, and the share of
them whose sign is the forecast's. Rank: of judges by forecast and by gain, mean over values and levels; by noise,
what exact forecasts would reach with these errors. Efficiency: of the judge's own score, realised over forecast at
the KL that came about, the median."""
LOST = """For each value the judge is chosen that promises most by one measure; what its policy gains less than the
best policy does, as a share, mean over the values whose best gain is sure. Correlation is that inside prompts, the
first order of clinometer's forecast: the two differ at large KL and for judges of long tails. The largest of noisy
gains is too large, so even exact forecasts lose what the last line says."""
CELL_COLUMNS = (
    "cells", "inside forecast", "inside both", "slope, others", "significant", "signs right", "rank", "rank by noise",
    "efficiency",
)  # fmt: skip


def outcome(
    s: Settings, found: list[dict[str, Any]], cells: list[Cell], lost: dict[str, dict[str, float]]
) -> list[str]:
    """Goals, cells by arm and regrets, as Markdown."""
    by_arm = arms_of(cells)
    lines = [f"{len(found)} trained policies of {len(s.policies)}; forecast {file_digest(s)[:19]}", ""]
    lines += markdown(["goal", "wanted", "found", ""], [list(row) for row in goals(found, cells, lost)])
    of_arm = {a: summary(some) for a, some in by_arm.items()}
    body = [[a, *(m[name] for name in CELL_COLUMNS)] for a, m in of_arm.items()]
    lines += ["", CELLS, "", *markdown(["arm", *CELL_COLUMNS], body)]
    by = dict.fromkeys(name for regret in lost.values() for name in regret)
    body = [[name, *(regret[name] for regret in lost.values())] for name in by]
    return [*lines, *(["", LOST, "", *markdown(["chosen by", *lost], body)] if lost else [])]


def every_policy(s: Settings, held: dict[str, Any], found: list[dict[str, Any]]) -> list[str]:
    """One by one: the closed form of each judge, each policy, and what each step cost."""
    kl = min(s.kl, key=lambda level: abs(level - 0.1))
    lines = [f"Closed form at KL {kl:g}", "", *markdown(["judge", *CLOSED], closed_forms(s, held, kl)), ""]
    if found:
        columns = ["kl", "kl_se", "mean_ratio", "mean_ratio_se", "ess", "efficiency", "correlation"]
        body = [[p["spec"]["name"], *(p["held"][c] for c in columns)] for p in found]
        lines += [*markdown(["policy", *columns], body), ""]
    return [*lines, show_costs(s)]


def show(s: Settings) -> str:
    """All tables."""
    held, found = frozen(s), policies(s)
    cells = closed_cells(s, held) + trained_cells(held, found)
    return "\n".join([*outcome(s, found, cells, lost_by_arm(held, cells)), "", *every_policy(s, held, found)])
