"""The targets, as data, and the rule that says met, missed or not resolved."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from clinometer.bench.pairs import LEAST, interval, median

__all__ = ["NOT_HERE", "TARGETS", "Judged", "Target", "judge", "of_limit", "raised"]

FLAT = 1 / 1.1  # at most a tenth longer


@dataclass(frozen=True)
class Target:
    """Cells whose name matches, the measure of theirs that counts, and the least it should be."""

    row: str
    cells: str
    measure: str  # "peer", "limit", "against:<peer>" or the name of a ratio in the record
    least: float


@dataclass(frozen=True)
class Judged:
    """One target on one cell: its median, the interval that decided, and the verdict."""

    target: Target
    cell: str
    figure: float | None
    low_high: tuple[float, float] | None
    verdict: str


def _by_k(row: str, kernel: str, dtypes: str, measure: str, least: dict[int, float]) -> list[Target]:
    return [
        Target(row, f"{kernel} {dtype} n=* d=* K={k}", measure, value)
        for k, value in least.items() for dtype in dtypes.split()
    ]  # fmt: skip


HALF = "bf16 f16"
TARGETS = [
    Target("W1 score, half", "score b*", "peer", 1.15),
    Target("W1 score, half", "score f16 *", "peer", 1.15),
    Target("W1 score, f32", "score f32 *", "peer", 1.0),
    *_by_k("W2 tilt, groups of 16", "tilt", "f32", "against:torch", {16: 6, 128: 6}),
    *_by_k("W2 tilt, groups of 16", "tilt", "f32", "against:numba", {16: 3, 128: 3}),
    Target("W2 tilt from rows, default kl", "whole tilt *", "whole", 1 / 3),
    Target("W2 fused with W1", "parts fused *", "parts", 1.0),
    Target("W2 further moments", "extras tilt *", "extras", 1 / 1.3),
    Target("W3 tilted mean", "tilted_mean *", "peer", 2),
    *_by_k("W4 Sigma U", "covariance_projection", "bf16 f16 f32", "peer", {1: 2, 16: 1.6, 128: 1.3}),
    Target("W4 covariance", "covariance *", "peer", 1.3),
    *_by_k("W5 Bradley-Terry", "bradley_terry", HALF, "peer", {1: 2.5}),
    *_by_k("W5 Bradley-Terry", "bradley_terry", "f32", "peer", {1: 1.1}),
    Target("odd sizes", "odd *", "odd", FLAT),
    Target("threads 1 to 2", "threads score *", "threads", 1.85),
    Target("threads 1 to 2", "threads covariance*", "threads", 1.7),
    Target("threads 1 to 2", "threads tilt *", "threads", 1.8),
    Target("growth in rows, K beyond 16", "growth *", "growth", FLAT),
    Target("import and first answer", "import", "allowed", 1.0),
    Target("import and first answer", "first answer *", "allowed", 1.0),
    Target("report", "report *", "parts", 1.0),
    Target("memory", "memory of *", "allowed", 1.0),
    Target("accuracy, shifted columns", "accuracy *", "accuracy", 1.0),
]
NOT_HERE = ("Pareto LPs",)  # rows of the targets that this command does not measure


def raised(records: list[dict[str, Any]]) -> dict[str, float]:
    """By what factor any timed call, ours or a peer's, beat the best probe of a limit; only factors above 1."""
    best: dict[str, float] = {}
    probed: dict[str, float] = {}
    for r in (r for r in records if "limit_key" in r):
        resource, key = r["limit_by"], r["limit_key"]
        spent = r["work"][{"read": "n_bytes", "fma": "n_flops", "exp": "n_exps"}[resource]]
        calls = [min(r["seconds"]), *(min(p.get("rounds", [p["seconds"]])) for p in r.get("peers", []) if p["checked"])]
        best[key] = max(best.get(key, 0.0), spent / min(calls))
        probed[key] = max(probed.get(key, 0.0), *r["rates"][resource])
    return {key: best[key] / probed[key] for key in best if best[key] > probed[key]}


def of_limit(record: dict[str, Any], factors: dict[str, float]) -> list[float]:
    """Share of the limit in each round, after a weak probe has been corrected."""
    by = factors.get(record["limit_key"], 1.0)
    return [x / by for x in record["limit"]]


def _measured(record: dict[str, Any], measure: str, factors: dict[str, float]) -> Any:
    if measure == "limit":
        return of_limit(record, factors) if "limit" in record else None
    if measure.startswith("against:"):
        return record.get("against", {}).get(measure.removeprefix("against:"))
    return record.get(measure)


def judge(records: list[dict[str, Any]], targets: list[Target] = TARGETS) -> list[Judged]:
    """Every target on every cell it names.

    met: the interval lies at or above the target; missed: below it; else, and with fewer than nine pairs, not
    resolved. Figures without rounds, such as memory, are compared as they are. A result that fails its check
    meets nothing.
    """
    factors, out = raised(records), []
    for target in targets:
        for record in records:
            if not fnmatchcase(record["name"], target.cells):
                continue
            if "skipped" in record:
                out.append(Judged(target, record["name"], None, None, record["skipped"]))
                continue
            out.append(_judged(target, record, _measured(record, target.measure, factors)))
    return out


def _judged(target: Target, record: dict[str, Any], found: Any) -> Judged:
    name = record["name"]
    if found is None or found == []:
        return Judged(target, name, None, None, "no such peer")
    if isinstance(found, float):
        verdict = "met" if found >= target.least else "missed"
        return Judged(target, name, found, None, verdict)
    low_high, verdict = interval(found), "not resolved"
    if low_high is not None and len(found) >= LEAST:
        verdict = "met" if low_high[0] >= target.least else "missed" if low_high[1] < target.least else verdict
    if not record.get("checked", True):
        verdict = "WRONG"
    return Judged(target, name, median(found), low_high, verdict)
