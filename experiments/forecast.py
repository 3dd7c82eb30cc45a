"""The forecast: gains of every judge on every value over KL, and what simpler measures say; frozen before training."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import clinometer as cm

from .rows import VALUES, Rows, constitutions, dump_of, rows
from .settings import Settings, digest, timed, write_json


class NotFrozen(SystemExit):
    """Training was asked for and its forecast is not there, or is not what was frozen."""


def write_forecast(s: Settings) -> dict[str, Any]:
    """Estimates of the policy with intervals, as a report gives them, from the train split alone."""
    if s.forecast.exists():
        return frozen(s)
    with timed(s, "forecast, cells") as units:
        train = rows(s, "train")
        found = intervals(s, train, "train")
        curve = {
            "kl": list(s.kl), "estimate": found.estimate, "se": found.estimate_se, "interval": found.estimate_interval,
            "kind": found.estimate_kind, "rows_beta": found.betas, "beta": _policy_betas(s, train),
        }  # fmt: skip
        made = {
            "judges": train.judges, "values": [*VALUES, *(f"own/{j}" for j in train.judges)], "curve": curve,
            "simpler": simpler(s, train), "sd": _within_sd(train), "constitutions": constitutions(s),
            "pairwise": json.loads((s.folder / "pairwise.json").read_text()), "digests": digests(s),
            "sizes": {"prompts": s.prompts, "responses": s.responses, "max_new_tokens": s.max_new_tokens},
            "policies": list(s.policies),
        }  # fmt: skip
        units.append(found.estimate.size)
    write_json(s.forecast, made)
    return frozen(s)


def intervals(s: Settings, r: Rows, split: str) -> Any:
    """Gains of (K) judges at (B) KLs on (J + K) values: the values, and every judge's own score."""
    return cm.inference.gain_intervals(
        dump_of(s, split), cm.Scores(r.scores), values=np.concatenate([r.values, r.scores], axis=1), kl=list(s.kl)
    )  # fmt: skip


def _policy_betas(s: Settings, r: Rows) -> Any:
    """Betas (K, B) at which the policy, not the rows, has each KL."""
    found = cm.report(
        dump_of(s, "train"), constitutions=cm.Scores(r.scores), values=r.values[:, :1], kl=list(s.kl), sections=[]
    )
    return found.policy.betas


def simpler(s: Settings, r: Rows) -> dict[str, Any]:
    """What people look at without a forecast, (K, J) each."""
    dump, best = dump_of(s, "train"), _best_of_n(r)
    plain = cm.inference.baselines(dump, cm.Scores(r.scores), r.values)
    judges = cm.fit_value_direction(dump, r.scores).vectors
    values = cm.fit_value_direction(dump, r.values).vectors
    with np.errstate(invalid="ignore"):
        cosine = _unit(judges) @ _unit(values).T
    return {
        "cosine": np.nan_to_num(cosine), "correlation": plain.correlation, "projection": plain.projection_difference,
        "best of n": best, "agreement": _agreement(r),
    }  # fmt: skip


def _unit(vectors: Any) -> Any:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _grouped(r: Rows) -> tuple[Any, Any]:
    """Scores (G, n, K) and values (G, n, J)."""
    n_prompts = int(r.ids.max()) + 1
    return r.scores.reshape(n_prompts, -1, r.scores.shape[1]), r.values.reshape(n_prompts, -1, r.values.shape[1])


def _best_of_n(r: Rows) -> Any:
    """The value of each prompt's best response by the judge, less the mean of its responses."""
    scores, values = _grouped(r)
    best = np.take_along_axis(values[:, :, None], scores.argmax(1)[:, None, :, None], axis=1)[:, 0]
    return (best - values.mean(1)[:, None]).mean(0)


def _agreement(r: Rows) -> Any:
    """Share of pairs inside prompts that the value orders which the judge orders alike, ties half, less one half."""
    scores, values = _grouped(r)
    i, j = np.triu_indices(scores.shape[1], 1)
    judged, truth = np.sign(scores[:, i] - scores[:, j]), np.sign(values[:, i] - values[:, j])
    return np.einsum("gpk,gpj->kj", judged, truth) / np.maximum((truth != 0).sum((0, 1)), 1) / 2


def _within_sd(r: Rows) -> Any:
    _, values = _grouped(r)
    return {
        "values": np.sqrt(values.var(1).mean(0)), "moving prompts": (np.ptp(values, axis=1) > 0).mean(0)
    }  # fmt: skip


def digests(s: Settings) -> dict[str, str]:
    """Of the responses and of the judgments of every split; numbers of another machine have others."""
    out = {f"scores {split}": rows(s, split).digest() for split in s.prompts}
    for split in s.prompts:
        texts = list(dump_of(s, split).texts)
        tokens = [t for entry in texts for t in (-1, *entry["tokens"])]
        out[f"responses {split}"] = digest(np.array(tokens))
    return out


def frozen(s: Settings) -> dict[str, Any]:
    """The forecast, if it is frozen and of these very rows; NotFrozen says what is wrong."""
    if not s.forecast.exists():
        raise NotFrozen(f"{s.forecast} is not there: forecast first")
    held: dict[str, Any] = json.loads(s.forecast.read_text())
    other = [name for name, found in digests(s).items() if held["digests"].get(name) != found]
    if other:
        raise NotFrozen(f"{s.forecast} is of other rows than {s.folder} has: {', '.join(other)}")
    return held


def frozen_for_training(s: Settings) -> dict[str, Any]:
    """`frozen`, and in git without a change where the run wants that, and the one that finished policies had."""
    held = frozen(s)
    if s.committed and not _committed(s.forecast):
        raise NotFrozen(f"{s.forecast} is not in git as it stands: commit it before the first policy is trained")
    if [dict(p) for p in s.policies] != held["policies"]:
        raise NotFrozen(f"{s.forecast} was frozen with other policies than are asked for now")
    own = file_digest(s)
    for path in sorted((s.folder / "policies").glob("*.json")):
        if json.loads(path.read_text())["forecast"] != own:
            raise NotFrozen(f"{path} was trained under another forecast than {s.forecast}")
    return held


def file_digest(s: Settings) -> str:
    return digest(np.frombuffer(s.forecast.read_bytes(), np.uint8))


def _committed(path: Path) -> bool:
    """Whether git has the file, and has it so."""

    def git(*words: str) -> int:
        return subprocess.run(["git", *words, path.name], cwd=path.parent, capture_output=True, check=False).returncode

    return git("ls-files", "--error-unmatch") == 0 and git("diff", "--quiet", "HEAD", "--") == 0


@dataclass(frozen=True)
class Curve:
    """One judge's forecast over KL, between the levels linear in sqrt(KL), from 0 on."""

    kl: Any
    estimate: Any  # (B, J)
    se: Any

    def at(self, kl: float) -> tuple[Any, Any, Any]:
        """Gains, their errors and d gain / d KL, (J,) each; NaN past the last level that has an estimate."""
        x = np.sqrt(np.append(0.0, self.kl))
        gains, errors = (np.vstack([np.zeros(a.shape[1]), a]) for a in (self.estimate, self.se))

        def read(table: Any, at: float) -> Any:
            return np.array([np.interp(at, x, column, right=np.nan) for column in table.T])

        step = 0.01 * np.sqrt(kl)
        slope = (read(gains, np.sqrt(kl)) - read(gains, np.sqrt(kl) - step)) / max(step * 2 * np.sqrt(kl), 1e-300)
        return read(gains, np.sqrt(kl)), read(errors, np.sqrt(kl)), slope


def curve_of(held: dict[str, Any], judge: str) -> Curve:
    k, c = held["judges"].index(judge), held["curve"]
    estimate, se = (np.array(c[n][k], np.float64) for n in ("estimate", "se"))
    return Curve(np.array(c["kl"]), estimate, se)


def strength_at(held: dict[str, Any], judge: str, kl: float) -> float:
    """1/beta at which the judge's policy has this KL, between the levels linear in sqrt(KL); 0 where it has none."""
    c = held["curve"]
    betas = np.array(c["beta"][held["judges"].index(judge)], np.float64)
    known = np.isfinite(betas) & (betas > 0)
    x, y = np.sqrt(np.append(0.0, np.array(c["kl"])[known])), np.append(0.0, 1 / betas[known])
    return float(np.interp(np.sqrt(kl), x, y))
