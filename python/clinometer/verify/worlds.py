"""The worlds the claims are measured in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clinometer.dump import Dump, open_dump
from clinometer.engine.passes import moments

Floats = NDArray[np.float64]


def generator(seed: int) -> np.random.Generator:
    """Every claim draws from a seed of its own."""
    return np.random.default_rng(20_240_000 + seed)


@cache
def _nodes(m: int) -> tuple[Floats, Floats]:
    x, w = np.polynomial.hermite_e.hermegauss(m)
    return x, w / w.sum()


def gaussian_grid(sigma: Floats, mean: Floats | None = None, m: int = 40) -> Dump:
    """One prompt of quadrature nodes for phi ~ N(mean, sigma), d <= 2: with base="logprob" sums are integrals."""
    d = len(sigma)
    x, w = _nodes(m)
    grid = np.stack(np.meshgrid(*[x] * d, indexing="ij"), axis=-1).reshape(-1, d)
    mass = np.stack(np.meshgrid(*[np.log(w)] * d, indexing="ij"), axis=-1).reshape(-1, d).sum(axis=1)
    values, vectors = np.linalg.eigh(sigma)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    phi = grid @ root + (0.0 if mean is None else mean)
    return open_dump(phi, prompt_ids=np.zeros(len(phi), int), columns={"logprob": mass})


def covariance(source: Any, **options: Any) -> Floats:
    """The covariance of the moments pass."""
    found = moments(source, **options).covariance
    assert found is not None
    return found


def prompts(n_prompts: int, n: int) -> NDArray[np.int64]:
    """Ids of prompts of n rows each."""
    return np.repeat(np.arange(n_prompts), n)


def random_rows(seed: int, n_prompts: int = 40, n: int = 9, d: int = 4) -> tuple[Floats, NDArray[np.int64]]:
    """Correlated rows with large prompt means."""
    rng = generator(seed)
    ids = prompts(n_prompts, n)
    phi = (
        rng.standard_normal((len(ids), d)) @ rng.standard_normal((d, d))
        + 5.0 * rng.standard_normal((n_prompts, d))[ids]
    )
    return phi, ids


def demeaned(x: Floats, ids: NDArray[np.int64]) -> Floats:
    """Less the mean of its prompt, by definition and not by the package."""
    count = np.bincount(ids)
    if x.ndim == 2:
        return np.stack([demeaned(c, ids) for c in x.T], axis=1)
    return np.asarray(x - (np.bincount(ids, weights=x) / count)[ids])


def tilted(t: Floats, ids: NDArray[np.int64], lam: float) -> Floats:
    """p inside every prompt, proportional to exp(lam t), written out."""
    top = np.full(ids.max() + 1, -np.inf)
    np.maximum.at(top, ids, t)
    e = np.exp(lam * (t - top[ids]))
    return np.asarray(e / np.bincount(ids, weights=e)[ids])


def kl_of(p: Floats, ids: NDArray[np.int64]) -> float:
    """Mean KL of p to the uniform distribution of every prompt, written out."""
    n = np.bincount(ids)[ids]
    terms = np.where(p > 0.0, p * np.log(np.where(p > 0.0, p, 1.0) * n), 0.0)
    return float(terms.sum() / (ids.max() + 1))


class Prompts:
    """Prompts with base weight 1/n inside and 1/G across; rows without a label can be left out."""

    def __init__(self, ids: NDArray[Any], labelled: NDArray[np.bool_] | None = None) -> None:
        seen = np.ones(len(ids), bool) if labelled is None else labelled
        names = list(dict.fromkeys(ids.tolist()))
        self.rows = [np.flatnonzero((ids == g) & seen) for g in names]
        self.rows = [r for r in self.rows if len(r)]
        self.n = len(ids)

    def tilt(self, t: Floats, lam: float) -> Floats:
        """p (N,): exp(lam t) over its sum in the prompt; lam = inf shares the largest."""
        p = np.zeros(self.n)
        for r in self.rows:
            e = np.exp(lam * (t[r] - t[r].max())) if np.isfinite(lam) else (t[r] == t[r].max()) * 1.0
            p[r] = e / e.sum()
        return p

    def each(self, f: Callable[[NDArray[np.int64]], Any]) -> Floats:
        """f of the rows of every prompt, (G, ...)."""
        return np.array([f(r) for r in self.rows])

    def moved(self, p: Floats, f: Floats) -> Floats:
        """Gain of f under p in every prompt."""
        return self.each(lambda r: p[r] @ f[r] - f[r].mean())

    def gain(self, t: Floats, lam: float, f: Floats) -> float:
        return float(self.moved(self.tilt(t, lam), f).mean())

    def kl(self, p: Floats, q: Floats | None = None) -> Floats:
        """KL(p | q) in every prompt; q is even where not given."""

        def one(r: NDArray[np.int64]) -> float:
            to = np.full(len(r), 1 / len(r)) if q is None else q[r]
            return float(sum(a * np.log(a / b) for a, b in zip(p[r], to, strict=True) if a > 0))

        return self.each(one)

    def beta_at(self, t: Floats, kl: float) -> float:
        """The beta whose tilt has this KL."""
        from scipy.optimize import brentq

        def off(x: float) -> float:
            return float(self.kl(self.tilt(t, np.exp(x))).mean()) - kl

        return float(np.exp(-brentq(off, -8.0, 8.0, xtol=1e-14, rtol=1e-14)))

    def cov(self, a: Floats, b: Floats) -> Floats:
        """Covariance inside every prompt, ddof 0."""
        return self.each(lambda r: np.mean((a[r] - a[r].mean()) * (b[r] - b[r].mean())))

    def unbiased(self, a: Floats, b: Floats) -> Floats:
        """The same with ddof 1."""
        return self.each(lambda r: np.cov(a[r], b[r])[0, 1])

    def sd(self, a: Floats) -> float:
        return float(np.sqrt(self.cov(a, a).mean()))

    def r(self, a: Floats, b: Floats) -> float:
        """Correlation inside prompts."""
        return float(self.cov(a, b).mean() / (self.sd(a) * self.sd(b)))

    def without_one(self, t: Floats, lam: float) -> tuple[Floats, Floats, Floats]:
        """Gain of t itself in every prompt, and what leaving one row out at a time says of its and the KL's bias."""

        def one(t: Floats) -> list[float]:
            p = np.exp(lam * (t - t.max())) / np.exp(lam * (t - t.max())).sum()
            return [p @ t - t.mean(), p @ np.log(np.maximum(p, 1e-300) * len(t))]

        def bias(r: NDArray[np.int64]) -> Floats:
            fewer = np.mean([one(np.delete(t[r], i)) for i in range(len(r))], axis=0)
            return np.asarray((len(r) - 1) * (fewer - one(t[r])))

        each = self.each(bias)
        return self.each(lambda r: one(t[r])[0]), each[:, 0], each[:, 1]

    def horizon(self, t: Floats) -> float:
        """Last KL of the even grid in log lam up to which the bias of the score's own gain is below its error."""
        cap, reached = float(np.log(np.median([len(r) for r in self.rows])) / 2), 0.0
        for step in np.geomspace(0.03, 2.0, 32):
            lam = np.sqrt(2 * cap) / self.sd(t) * step
            gain, bias, _ = self.without_one(t, lam)
            kl = float(self.kl(self.tilt(t, lam)).mean())
            if abs(bias.mean()) > error(gain) or kl > cap:
                break
            reached = kl
        return reached


def error(x: Floats) -> Floats:
    """Standard error of the mean over the first axis: prompts are the independent units."""
    return np.asarray(np.std(x, axis=0, ddof=1) / np.sqrt(len(x)))


def furthest(pairs: Sequence[tuple[Any, Any]]) -> float:
    """Largest relative error of arrays beside what each entry should be; NaN where shapes or gaps differ."""
    worst = 0.0
    for found, want in pairs:
        a, b = np.asarray(found, float), np.asarray(want, float)
        if a.shape != b.shape or not np.isfinite(a).all():
            return float("nan")
        worst = max(worst, float((np.abs(a - b) / np.maximum(np.abs(b), 1e-9)).max()))
    return worst
