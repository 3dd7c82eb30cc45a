"""Reports whose every section is there, at the size people bring and at the size that hurts."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from typing import Any

import numpy as np

import clinometer as cm
from clinometer.common.results import Result

__all__ = ["dump", "few", "full", "grown"]

JUDGES = 5


def dump(n_prompts: int = 60, n: int = 16, seed: int = 0) -> Any:
    """Three values on the first coordinates, judges that mix them, a length."""
    rng = np.random.default_rng(seed)
    phi = rng.normal(size=(n_prompts * n, 6)) + np.repeat(rng.normal(size=(n_prompts, 6)), n, axis=0)
    mixed = rng.normal(size=(JUDGES, 6)) @ phi.T
    columns = {
        "helpful": phi[:, 0] + 0.5 * rng.normal(size=len(phi)), "harm": -phi[:, 1], "kind": phi[:, 2] - 0.4 * phi[:, 1],
        "n_tokens": 100 + 30 * phi[:, 3], **{f"judge/{i}": row for i, row in enumerate(mixed)},
        "judge/all": phi[:, 0] + phi[:, 1] + phi[:, 2],
    }  # fmt: skip
    ids = np.repeat(np.arange(n_prompts), n)
    return cm.open_dump(phi.astype(np.float32), prompt_ids=ids, columns=columns, policy="on_policy")


def _report(rows: Any, **options: Any) -> Any:
    names = ["judge/all", *(f"judge/{i}" for i in range(JUDGES))]
    return cm.report(rows, constitutions=names, values=["helpful", "-harm", "kind"], **options)


@cache
def full() -> Any:
    """Six judges, texts, and by hand what these rows cannot give: layers, and labels behind half of the judges."""
    rows = dump()
    texts = [{"prompt": f"Prompt {i // 16}?", "response": f"Response {i}.\nA second line."} for i in range(rows.n_rows)]
    report = _report(rows, kl=[0.05, 0.1, 0.25, 0.5, 1.0], texts=texts)
    t, quality = report.tilt, report.encoding_quality
    wide = np.stack([t.gain - 3 * t.gain_se, t.gain + 3 * t.gain_se], axis=-1)
    known = np.arange(len(report.constitutions)) % 2 == 0
    wide[~known] = np.nan
    sites = tuple(
        {
            "site": f"phi_{at}_L{layer}", "layer": layer, "dim": 6, "quality": quality.value * (0.5 + layer / 60),
            "quality_ci": quality.ci * (0.5 + layer / 60), "margin": 0.3 + layer / 100,
            "constitutions": report.constitutions[:1], "gain": t.gain[:1] * layer / 24,
        }
        for at in ("mean", "last") for layer in (8, 16, 24)
    )  # fmt: skip
    needs = ("-harm: four times as many prompts would settle its sign",)
    return replace(report, gain_interval_labels=wide, labels_known=known, layers=sites, needs=needs)


@cache
def few() -> Any:
    """Three responses a prompt: the larger of the levels is past what they can say."""
    return _report(dump(n_prompts=200, n=3), kl=[0.1, 0.5])


def grown(report: Any, K: int, B: int) -> Any:
    """The same report with K constitutions and B levels of KL: its arrays repeated with noise."""
    rng = np.random.default_rng(0)
    k0, b0 = report.tilt.gain.shape[:2]
    ks, bs = np.arange(K) % k0, np.sort(np.arange(B) % b0)
    levels = np.linspace(0.02, 1.0, B)
    names = tuple(f"judge/constitution number {k}" for k in range(K))

    def wide(x: Any) -> Any:
        if isinstance(x, Result):
            return replace(x, **{f.name: wide(getattr(x, f.name)) for f in fields(x) if not f.name.startswith("_")})
        if isinstance(x, tuple) and len(x) == k0 and all(isinstance(v, str) for v in x):
            return names if x == report.constitutions else tuple(x[k] for k in ks)
        if not isinstance(x, np.ndarray) or not x.ndim:
            return x
        if x.shape[0] == k0:
            made = x[np.ix_(ks, bs)] if x.shape[1:2] == (b0,) else x[ks]
        elif x.shape[0] == b0:
            made = x[bs]
        else:
            return x
        return made * rng.normal(1.0, 0.2, made.shape) if made.dtype.kind == "f" else made

    made = wide(report)
    tilts = {n: replace(getattr(made, n), kl=np.tile(levels, (K, 1))) for n in ("tilt", "policy", "net")}
    return replace(made, kl=levels, examples=report.examples, layers=report.layers, **tilts)
