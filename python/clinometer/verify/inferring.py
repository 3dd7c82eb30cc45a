"""Inference on gains: intervals, nulls, gold labels, choices and verdicts in worlds where the answer is known."""

from __future__ import annotations

from functools import cache

import numpy as np

import clinometer as cm
from clinometer.reporting import Report

from .registry import Check, at_least, claim, near
from .worlds import Floats, generator, prompts

G, N = 150, 12


def _gaussian(seed: int, judges: int = 1, noise: float = 1.0, n_prompts: int = G) -> tuple[cm.Dump, Floats]:
    """Unit scores t (N, judges) of prompts of N rows, and a value s = first score + noise."""
    t = generator(seed).standard_normal((n_prompts * N, judges))
    s = t[:, 0] + noise * generator(seed + 10_000).standard_normal(len(t))
    names = {f"j{k}": t[:, k] for k in range(judges)} | {"s": s}
    return cm.open_dump(t, prompt_ids=prompts(n_prompts, N), columns=names), t


@cache
def _policy() -> Floats:
    """Of 150 worlds the estimate of the policy's gain and its bounds, (150, 3)."""
    found = [
        cm.inference.gain_intervals(_gaussian(20_000 + seed)[0], "j0", values="s", kl=[0.125]) for seed in range(150)
    ]
    return np.array([[x.estimate.item(), *x.estimate_interval.ravel()] for x in found])


@claim("SE", "95 % intervals of the policy's gain hold it: t normal, f = t + noise, KL .125, gain .5 (share of 150)")
def _() -> Check:
    _, low, high = _policy().T
    return near(float(np.mean((low < 0.5) & (high > 0.5))), 0.95, 0.045)


@claim("SE", "the estimate of the policy's gain is .5 on average there (mean of 150)")
def _() -> Check:
    found = _policy()[:, 0]
    return near(float(found.mean()), 0.5, 4.0 * float(found.std()) / np.sqrt(150))


@cache
def _gold() -> Floats:
    """Of 300 worlds with a biased label and 40 of 150 prompts of gold: corrected gain less gold's, errors, inside."""
    rows = []
    for seed in range(300):
        dump, t = _gaussian(3000 + seed)
        truth = np.asarray(dump.column("s"))
        label = truth + 0.7 * t[:, 0] ** 2 - 0.4 * t[:, 0] + 0.5 * generator(3500 + seed).standard_normal(len(t))
        gold = np.where(np.asarray(dump.prompt_ids) < 40, truth, np.nan)
        found = cm.inference.ppi_gain(dump, "j0", [2.0], label, gold=gold)
        rows.append([
            found.gain.item(), found.se.item(), found.gain_gold_se.item(), *found.interval.ravel(),
            found.gain_values.item(),
        ])  # fmt: skip
    return np.array(rows)


def _plug_in() -> float:
    """Mean gain of t itself, and so of f = t + noise, at lam = .5 on prompts of N rows."""
    t = generator(36).standard_normal((200_000, N))
    p = np.exp(t / 2)
    return float(((p * t).sum(axis=1) / p.sum(axis=1) - t.mean(axis=1)).mean())


@claim("gold", "gold labels on 40 of 150 prompts correct a biased label: mean of 300 gains against that of the rows")
def _() -> Check:
    gain = _gold()[:, 0]
    return near(float(gain.mean()), _plug_in(), 4.0 * float(gain.std()) / np.sqrt(300))


@claim("gold", "... where the label alone is off by this share of the gain")
def _() -> Check:
    return at_least(abs(float(_gold()[:, 5].mean()) / _plug_in() - 1.0), 0.1)


@claim("gold", "... its 95 % intervals hold the mean of the rows (share of 300), narrower than gold alone in .95")
def _() -> Check:
    _, se, alone, low, high, _ = _gold().T
    held = float(np.mean((low < _plug_in()) & (_plug_in() < high)))
    return near(held if (se < alone).mean() > 0.95 else np.nan, 0.95, 0.04)


@claim("null", "gains of 300 judges without meaning lie in the 95 % band of random directions (share)")
def _() -> Check:
    rng = generator(37)
    phi = rng.standard_normal((960, 6))
    dump = cm.open_dump(phi, prompt_ids=prompts(80, 12), columns={"s": phi[:, 0] + rng.standard_normal(960)})
    band = cm.inference.null_band(dump, "s", kl=[0.2], draws=400)
    gain = cm.tilt(dump, rng.standard_normal((300, 6)), values="s", kl=[0.2], pareto_k=False).gain[:, 0, 0]
    low, high = band.interval[0, 0, 0]
    return near(float(np.mean((low < gain) & (gain < high))), 0.95, 0.05)


@claim("null", "a judge's gain among 199 shufflings of its scores: p of noise is uniform (Kolmogorov-Smirnov of 40)")
def _() -> Check:
    from scipy.stats import kstest

    p = []
    for seed in range(40):
        dump, t = _gaussian(4000 + seed, noise=1.0, n_prompts=30)
        noise = generator(4500 + seed).standard_normal(len(t))
        band = cm.inference.null_band(dump, noise, judges="j0", kl=[0.2], draws=199)
        p.append(band.p_value(cm.tilt(dump, "j0", values=noise, kl=[0.2], pareto_k=False).gain).item())
    return at_least(float(kstest(p, "uniform").pvalue), 0.01)


@claim("choice", "the best of 30 noise judges gains nothing on prompts that did not choose it (mean of 20, in errors)")
def _() -> Check:
    z = [_chosen(5000 + seed) for seed in range(20)]
    return near(float(np.mean([a for a, _ in z])), 0.0, 4.0 / np.sqrt(20))


@claim("choice", "... where the half that chose shows this much more, in errors")
def _() -> Check:
    return at_least(float(np.mean([b for _, b in (_chosen(5000 + seed) for seed in range(20))])), 1.0)


@cache
def _chosen(seed: int) -> tuple[float, float]:
    dump, _ = _gaussian(seed, judges=30, n_prompts=60)
    noise = generator(seed + 500).standard_normal(dump.n_rows)
    found = cm.inference.recommend(dump, [f"j{k}" for k in range(30)], noise, kl=[0.2], splits=30)
    return float(found.gain[0] / found.se[0]), float(found.optimism[0] / found.se[0])


@claim("choice", "a judge that is the value and noise is chosen from 30 in every split (share)")
def _() -> Check:
    dump, _ = _gaussian(38, judges=30)
    found = cm.inference.recommend(dump, [f"j{k}" for k in range(30)], "s", kl=[0.2], splits=50)
    return near(float(found.share[0, 0]) if found.constitution == "j0" else np.nan, 1.0, 1e-12)


def _verdict(seed: int, value: Floats | None = None) -> Report:
    dump, _ = _gaussian(seed, judges=3, n_prompts=60)
    values = {"s": dump.column("s")} if value is None else {"s": value}
    held = cm.open_dump(dump.read(0, dump.n_rows), prompt_ids=dump.prompt_ids, columns={
        **{f"j{k}": dump.column(f"j{k}") for k in range(3)}, **values})  # fmt: skip
    return cm.report(held, constitutions=["j0", "j1", "j2"], values=["s"], kl=[0.1, 0.3])


@claim("verdict", "noise in, cannot tell out: verdicts on three judges without meaning (share of 20)")
def _() -> Check:
    said = [_verdict(6000 + s, generator(6500 + s).standard_normal(60 * N)).verdict() for s in range(20)]
    return at_least(sum(v.startswith("Cannot tell") for v in said) / 20, 0.9)


@claim("verdict", "a judge that raises the value is named, and its check holds where the others' fail (worlds of 5)")
def _() -> Check:
    right = 0
    for seed in range(5):
        page, held = _verdict(7000 + seed), []
        for name in ("j0", "j1", "j2"):
            try:
                page.check(f"s >= 0.1 at kl=0.1 for {name}")
                held.append(name)
            except cm.CheckFailed:
                pass
        right += held == ["j0"] and "j0" in page.verdict()
    return near(right, 5, 0)
