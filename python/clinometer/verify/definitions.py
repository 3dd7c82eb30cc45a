"""What a pass gives, against its definition summed row by row."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

import clinometer as cm
from clinometer.common.results import TiltResult

from .registry import Check, claim, near
from .worlds import Floats, Prompts, error, furthest, generator, random_rows

U = np.array([[0.2, -0.1, 0.1, 0.3], [0.1, 0.2, -0.3, 0.1]])
BETAS = (4.0, 0.8)


@cache
def rows_of() -> tuple[Floats, Floats, Floats, Prompts]:
    """Rows, scores (N, 2), values (N, 2) with ties, and the prompts of unequal size."""
    phi, ids = random_rows(300, 30, 8)
    kept = generator(300).random(len(ids)) < 0.8
    phi, ids = phi[kept], ids[kept]
    values = np.column_stack([phi[:, 0] + phi[:, 1] ** 2 / 9, np.sin(phi[:, 2]) - phi[:, 3]])
    values = np.rint(10 * values) / 10
    return phi, phi @ U.T, values, Prompts(ids)


def ids_of() -> NDArray[np.int64]:
    prompts = rows_of()[3]
    return np.repeat(np.arange(len(prompts.rows)), [len(r) for r in prompts.rows])


def _cells() -> list[tuple[int, int, Floats]]:
    """k, b and the tilted weights of every direction and beta."""
    _, t, _, prompts = rows_of()
    return [(k, b, prompts.tilt(t[:, k], 1 / beta)) for k in range(2) for b, beta in enumerate(BETAS)]


def gains_of() -> Floats:
    """Gains [K, B, J] by definition."""
    _, _, values, prompts = rows_of()
    return np.array([[prompts.moved(p, f).mean() for f in values.T] for _, _, p in _cells()]).reshape(2, 2, 2)


def _tilt() -> TiltResult:
    phi, _, values, _ = rows_of()
    return cm.tilt(phi, U, list(BETAS), values, prompt_ids=ids_of(), precision="double")


@claim("def", "gains of a tilt, their errors by prompt and their joint covariance (largest relative error)")
def _() -> Check:
    _, _, values, prompts = rows_of()
    found, pairs = _tilt(), []
    for k, b, p in _cells():
        moved = np.stack([prompts.moved(p, f) for f in values.T], axis=1)
        joint = np.cov(moved.T) / len(moved)
        pairs += [(found.gain[k, b], moved.mean(axis=0)), (found.gain_se[k, b], error(moved))]
        pairs += [
            (found.gain_cov(k, b), joint),
            (found.baseline, prompts.each(lambda r: values[r].mean(axis=0)).mean(0)),
        ]
    return near(furthest(pairs), 0.0, 1e-9)


def _divergences(p: Floats, x: Floats) -> dict[str, float]:
    """What one tilt p by scores x = t/beta says of itself."""
    prompts = rows_of()[3]
    square = prompts.each(lambda r: len(r) * (p[r] @ p[r]))
    return {
        "kl": float(prompts.kl(p).mean()), "chi2": square.mean() - 1, "ess": (1 / square).mean(),
        "ess_min": (1 / square).min(), "max_ratio": prompts.each(lambda r: len(r) * p[r].max()).max(),
        "reverse_kl": prompts.each(lambda r: -np.mean(np.log(p[r] * len(r)))).mean(),
        "log_partition": prompts.each(lambda r: np.log(np.mean(np.exp(x[r])))).mean(),
        "log_partition_centred": prompts.each(lambda r: np.log(np.mean(np.exp(x[r] - x[r].mean())))).mean(),
    }  # fmt: skip


@claim("def", "KL, its reverse, chi^2, rows left, largest ratio and partitions of a tilt (largest relative error)")
def _() -> Check:
    t, found = rows_of()[1], _tilt()
    pairs = [
        (getattr(found, name)[k, b], x)
        for k, b, p in _cells()
        for name, x in _divergences(p, t[:, k] / BETAS[b]).items()
    ]
    return near(furthest(pairs), 0.0, 1e-9)


@claim("def", "win rates of a tilt, every pair of a prompt counted and ties as a half (largest relative error)")
def _() -> Check:
    _, _, values, prompts = rows_of()

    def wins(p: Floats, f: Floats) -> Floats:
        return prompts.each(lambda r: p[r] @ [np.mean((x > f[r]) + 0.5 * (x == f[r])) for x in f[r]])

    found = _tilt().win_rate
    want = [(found[k, b, j], wins(p, f).mean()) for k, b, p in _cells() for j, f in enumerate(values.T)]
    return near(furthest(want), 0.0, 1e-9)


def _third(f: Floats, t: Floats) -> float:
    """E f~ t~^2 inside prompts."""
    return float(rows_of()[3].each(lambda r: np.mean((f[r] - f[r].mean()) * (t[r] - t[r].mean()) ** 2)).mean())


@claim("def", "both predictions of a tilt on its rows and the unbiased one with its error (largest relative error)")
def _() -> Check:
    _, t, values, prompts = rows_of()
    found, pairs = _tilt(), []
    for k, a in enumerate(t.T):
        for j, f in enumerate(values.T):
            k2 = prompts.cov(f, a).mean()
            k3 = _third(f, a)
            own = prompts.unbiased(f, a)
            for b, beta in enumerate(BETAS):
                want = {
                    "first_order": k2 / beta, "second_order": k2 / beta + k3 / (2 * beta**2),
                    "first_order_unbiased": own.mean() / beta, "first_order_se": error(own) / beta,
                }  # fmt: skip
                pairs += [(getattr(found, name)[k, b, j], x) for name, x in want.items()]
    return near(furthest(pairs), 0.0, 1e-9)


@claim("def", "beta at a KL: the KL of the rows at the beta solved for, summed row by row (largest relative error)")
def _() -> Check:
    phi, t, _, prompts = rows_of()
    found = cm.tilt(phi, U, kl=[0.05, 0.4], prompt_ids=ids_of(), precision="double")
    reached = [
        [prompts.kl(prompts.tilt(a, 1 / x)).mean() for x in row] for a, row in zip(t.T, found.betas, strict=True)
    ]
    return near(furthest([(found.kl, [[0.05, 0.4]] * 2), (reached, found.kl)]), 0.0, 1e-7)


@claim("def", "means, covariances and variances of the moments pass (largest relative error)")
def _() -> Check:
    phi, _, _, prompts = rows_of()
    found = cm.moments(phi, ddof=1, prompt_ids=ids_of(), precision="double")
    sigma = np.mean([np.cov(phi[r].T) for r in prompts.rows], axis=0)
    mean = np.mean([phi[r].mean(axis=0) for r in prompts.rows], axis=0)
    pairs = [(found.mean, mean), (found.covariance, sigma), (found.variances, np.diagonal(sigma))]
    return near(furthest(pairs), 0.0, 1e-9)


@claim("def", "rows Sigma u of the covariance projection, Sigma formed from the prompts (largest relative error)")
def _() -> Check:
    phi, _, _, prompts = rows_of()
    found = cm.covariance_projection(phi, U, ddof=1, prompt_ids=ids_of(), precision="double")
    return near(furthest([(found, U @ np.mean([np.cov(phi[r].T) for r in prompts.rows], axis=0))]), 0.0, 1e-9)


@claim("def", "covariance of score and value with its error, correlation and joint error (largest relative error)")
def _() -> Check:
    phi, t, values, prompts = rows_of()
    found, pairs = cm.cross_covariance(phi, U, values, prompt_ids=ids_of(), precision="double"), []
    for k, a in enumerate(t.T):
        own = np.stack([prompts.unbiased(a, f) for f in values.T], axis=1)
        sd = np.sqrt([prompts.unbiased(x, x).mean() for x in (a, *values.T)])
        pairs += [(found.value[k], own.mean(axis=0)), (found.se[k], error(own))]
        pairs += [(found.cov(k), np.cov(own.T) / len(own)), (found.correlation[k], own.mean(axis=0) / sd[0] / sd[1:])]
    return near(furthest(pairs), 0.0, 1e-9)


@claim("def", "mean representation under a tilt (largest relative error)")
def _() -> Check:
    phi, _, _, prompts = rows_of()
    found = cm.tilted_mean(phi, U, list(BETAS), prompt_ids=ids_of(), precision="double").mean
    want = [sum(p[r] @ phi[r] for r in prompts.rows) / len(prompts.rows) for _, _, p in _cells()]
    return near(furthest([(found.reshape(4, -1), want)]), 0.0, 1e-9)
